#include "cli/worker_processes.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/exit_code.h"

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

// The child between fork and exec; async-signal-safe throughout, since other threads may have held any lock.
[[noreturn]] void BecomeWorker(char* const* arguments, const char* log, pid_t parent, int failure) {
  // Before the program is loaded, which may take seconds, so that there is no moment in which it could be left behind.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  setpgid(0, 0);
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(signal_number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int input = open("/dev/null", O_RDONLY);
  const int output = open(log, O_WRONLY | O_CREAT | O_APPEND, 0644);
  if (input >= 0 && output >= 0 && dup2(input, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
      dup2(output, STDERR_FILENO) >= 0) {
    // Nothing else of ours is theirs: not the store, and above all not the lock of the data directory.
    close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    execv(arguments[0], arguments);
  }
  const int error = errno;
  [[maybe_unused]] const ssize_t written = write(failure, &error, sizeof(error));
  _exit(127);
}

// The last line of a log that is not blank, and where the log is, to stand behind how a worker died.
std::string LastWords(const std::string& path) {
  constexpr std::streamoff kTail = 4096;
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  const std::streamoff size = file ? static_cast<std::streamoff>(file.tellg()) : 0;
  file.seekg(std::max<std::streamoff>(0, size - kTail));
  std::string line, last;
  while (std::getline(file, line)) {
    absl::StripAsciiWhitespace(&line);
    if (!line.empty()) last = line;
  }
  return absl::StrCat(last.empty() ? "" : absl::StrCat(", after it printed \"", last, "\""), "; log: ", path);
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
  std::vector<char*> arguments;
  for (const std::string& argument : options_.command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::array<int, 2> failure;  // the child writes errno where it fails; closed without a word by a successful exec
  if (pipe2(failure.data(), O_CLOEXEC) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot start a worker: ", strerror(errno)));
  }
  const pid_t parent = getpid();
  const pid_t pid = _Fork();
  if (pid == 0) BecomeWorker(arguments.data(), worker.log.c_str(), parent, failure[1]);
  int error = pid < 0 ? errno : 0;
  close(failure[1]);
  if (pid > 0 && read(failure[0], &error, sizeof(error)) != static_cast<ssize_t>(sizeof(error))) error = 0;
  close(failure[0]);
  if (error != 0) {
    if (pid > 0) waitpid(pid, nullptr, 0);
    return absl::UnavailableError(absl::StrCat("cannot start a worker: ", options_.command[0], ", which logs to ",
                                               worker.log, ": ", strerror(error)));
  }
  worker.pid = pid;
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
      if (!worker.ever_at_work && WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == kExitWrongInput) {
        return absl::InvalidArgumentError(absl::StrCat("worker ", i, " refused its input", LastWords(worker.log)));
      }
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
  return absl::UnavailableError(absl::StrCat("workers keep dying: gave up after ", last_dead->deaths,
                                             " deaths in a row without progress; the last one ", last_dead->last_end,
                                             LastWords(last_dead->log)));
}

void WorkerProcesses::NoteProgress() {
  for (Worker& worker : workers_) worker.deaths = 0;
}

void WorkerProcesses::NoteAtWork(pid_t pid) {
  for (Worker& worker : workers_) {
    if (pid != 0 && worker.pid == pid) worker.at_work = worker.ever_at_work = true;
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
