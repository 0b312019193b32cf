#include "tests/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace tightrope {
namespace {

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

}  // namespace

Process::Process(const Options& options) {
  static std::atomic<int> counter{0};
  const std::string stem = options.directory + "/process-" + std::to_string(counter++);
  out_path_ = stem + ".out";
  err_path_ = stem + ".err";

  std::vector<char*> arguments;
  for (const std::string& argument : options.arguments) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ != 0) return;

  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  for (const std::string& variable : options.environment) putenv(const_cast<char*>(variable.c_str()));
  const int out = open(out_path_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  const int err = open(err_path_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
  const int in = open("/dev/null", O_RDONLY);
  if (in < 0 || out < 0 || err < 0 || chdir(options.directory.c_str()) != 0) _exit(127);
  dup2(in, 0);
  dup2(out, 1);
  dup2(err, 2);
  execv(arguments[0], arguments.data());
  _exit(127);
}

Process::~Process() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void Process::Signal(int signal) const {
  if (pid_ > 0) kill(pid_, signal);
}

ProcessResult Process::Wait() {
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  ProcessResult result;
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  result.out = ReadAll(out_path_);
  result.err = ReadAll(err_path_);
  return result;
}

bool Process::WaitForOutput(const std::string& text) const {
  // Another process is waited for: there is nothing to wait on but its output. CTest bounds the test's time.
  while (Output().find(text) == std::string::npos) {
    siginfo_t info{};
    if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid_) {
      return Output().find(text) != std::string::npos;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

std::string Process::Output() const { return ReadAll(out_path_); }

ProcessResult RunProcess(const Process::Options& options) { return Process(options).Wait(); }

}  // namespace tightrope
