// Real processes for tests: start, wait, kill, read what they printed. A process dies with the test that started it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace tightrope {

struct ProcessResult {
  int exit_code = -1;  // -1 when a signal ended it
  int signal = 0;
  std::string out;
  std::string err;
};

class Process {
 public:
  struct Options {
    std::vector<std::string> arguments;    // the first is the binary's path
    std::vector<std::string> environment;  // "NAME=value", added to the test's own
    std::string directory;                 // working directory, and where its output is kept
  };

  explicit Process(const Options& options);
  ~Process();  // kills what still runs
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void Signal(int signal) const;
  // Waits for its end.
  ProcessResult Wait();
  // Waits until its standard output holds `text`; false when it ended without.
  bool WaitForOutput(const std::string& text) const;
  std::string Output() const;

 private:
  std::string out_path_;
  std::string err_path_;
  pid_t pid_ = -1;
};

// Starts and waits.
ProcessResult RunProcess(const Process::Options& options);

}  // namespace tightrope
