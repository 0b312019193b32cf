#include "cli/worker_processes.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace tightrope {
namespace {

// A worker that lived at least this long did not die of how it was started.
constexpr absl::Duration kLongLife = absl::Seconds(60);

std::string DescribeEnd(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const int signal = WTERMSIG(wait_status);
    return absl::StrCat("was killed by signal ", signal, " (", strsignal(signal), ")");
  }
  return absl::StrCat("exited with code ", WEXITSTATUS(wait_status));
}

// The last line of a log that is not blank.
std::string LastLine(const std::string& path) {
  constexpr std::streamoff kTail = 4096;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : 0;
  file.seekg(std::max<std::streamoff>(0, size - kTail));
  std::string line, last;
  while (std::getline(file, line)) {
    absl::StripAsciiWhitespace(&line);
    if (!line.empty()) last = line;
  }
  return last;
}

}  // namespace

WorkerProcesses::WorkerProcesses(WorkerProcessesOptions options, std::function<absl::Time()> now)
    : options_(std::move(options)), now_(std::move(now)) {
  for (const std::string& log : options_.logs) workers_.emplace_back().log = log;
}

WorkerProcesses::~WorkerProcesses() {
  Signal(SIGKILL);
  for (Worker& worker : workers_) {
    if (worker.pid != 0) waitpid(worker.pid, nullptr, 0);
  }
}

absl::Status WorkerProcesses::Start() {
  for (Worker& worker : workers_) {
    if (absl::Status status = Spawn(worker); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status WorkerProcesses::Spawn(Worker& worker) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, worker.log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  // Nothing else of ours is theirs: not the store, and above all not the lock of the data directory.
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) sigaddset(&defaults, signal);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::vector<char*> arguments;
  for (const std::string& argument : options_.command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const int error = posix_spawn(&worker.pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    worker.pid = 0;
    return absl::UnavailableError(absl::StrCat("cannot start a worker: ", options_.command[0], ", which logs to ",
                                               worker.log, ": ", strerror(error)));
  }
  worker.started = now_();
  worker.at_work = false;
  return absl::OkStatus();
}

bool WorkerProcesses::GivenUp(const Worker& worker) const {
  return worker.pid == 0 && worker.deaths >= (worker.at_work ? options_.max_deaths_at_work : options_.max_deaths);
}

absl::Status WorkerProcesses::Watch(std::vector<std::string>& events) {
  const Worker* last_dead = nullptr;
  bool any_left = false;
  for (size_t i = 0; i < workers_.size(); ++i) {
    Worker& worker = workers_[i];
    int wait_status = 0;
    if (worker.pid != 0 && waitpid(worker.pid, &wait_status, WNOHANG) == worker.pid) {
      worker.pid = 0;
      worker.last_end = DescribeEnd(wait_status);
      ++worker.deaths;
      worker.short_lives = now_() - worker.started >= kLongLife ? 1 : worker.short_lives + 1;
      const int doublings = std::min(worker.short_lives - 1, 16);
      worker.due = now_() + std::min(options_.longest_delay, options_.first_delay * (1 << doublings));
      events.push_back(absl::StrCat("worker ", i, " ", worker.last_end, GivenUp(worker) ? "" : "; it is started again",
                                    " (log: ", worker.log, ")"));
    }
    if (worker.pid == 0 && !GivenUp(worker) && now_() >= worker.due) {
      if (absl::Status status = Spawn(worker); !status.ok()) return status;
    }
    if (GivenUp(worker)) {
      last_dead = &worker;
    } else {
      any_left = true;
    }
  }
  if (any_left || last_dead == nullptr) return absl::OkStatus();
  const std::string last_line = LastLine(last_dead->log);
  return absl::UnavailableError(absl::StrCat(
      "workers keep dying: gave up after ", last_dead->deaths, " deaths in a row without progress; the last one ",
      last_dead->last_end, last_line.empty() ? "" : absl::StrCat(", after it printed \"", last_line, "\""),
      "; log: ", last_dead->log));
}

void WorkerProcesses::NoteProgress() {
  for (Worker& worker : workers_) worker.deaths = 0;
}

void WorkerProcesses::NoteAtWork(pid_t pid) {
  for (Worker& worker : workers_) {
    if (pid != 0 && worker.pid == pid) worker.at_work = true;
  }
}

void WorkerProcesses::Stop(absl::Duration grace) {
  if (!AwaitEnd(grace)) Terminate(grace);
}

void WorkerProcesses::Terminate(absl::Duration grace) {
  Signal(SIGTERM);
  if (AwaitEnd(grace)) return;
  Signal(SIGKILL);
  AwaitEnd(absl::InfiniteDuration());
}

bool WorkerProcesses::AwaitEnd(absl::Duration limit) {
  const absl::Time end = now_() + limit;
  while (true) {
    for (Worker& worker : workers_) {
      if (worker.pid != 0 && waitpid(worker.pid, nullptr, WNOHANG) == worker.pid) worker.pid = 0;
    }
    if (running().empty()) return true;
    if (now_() >= end) return false;
    absl::SleepFor(absl::Milliseconds(10));
  }
}

void WorkerProcesses::Signal(int signal) {
  for (const Worker& worker : workers_) {
    if (worker.pid != 0) kill(worker.pid, signal);
  }
}

std::vector<pid_t> WorkerProcesses::running() const {
  std::vector<pid_t> pids;
  for (const Worker& worker : workers_) {
    if (worker.pid != 0) pids.push_back(worker.pid);
  }
  return pids;
}

}  // namespace tightrope
