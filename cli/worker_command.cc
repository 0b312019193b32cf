// tightrope worker: becomes tightrope-worker, so that there is one program to remember.
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/worker_program.h"

namespace tightrope {
namespace {

int BecomeWorker(const std::vector<std::string>& arguments) {
  const absl::StatusOr<std::string> program = FindWorkerProgram();
  if (!program.ok()) return Report(program.status());
  std::vector<char*> words = {const_cast<char*>(program->c_str())};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  execv(program->c_str(), words.data());
  return Report(absl::UnavailableError(absl::StrCat("cannot start ", *program, ": ", strerror(errno))));
}

}  // namespace

Action DefineWorker(CLI::App& app) {
  // Every argument, --help included, is the worker's own.
  app.set_help_flag();
  app.prefix_command();
  return [&app] { return BecomeWorker(app.remaining()); };
}

}  // namespace tightrope
