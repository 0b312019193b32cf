// The subcommands. Each declares its options on its own CLI::App and returns what to do once they are parsed; main.cc
// has the table. One file a subcommand: run_command.cc has DefineRun, and so on.
#pragma once

#include <functional>
#include <string>

#include "CLI/CLI.hpp"

namespace tightrope {

// Does the work and returns the exit code of the process.
using Action = std::function<int()>;

Action DefineRun(CLI::App& app);
Action DefinePlan(CLI::App& app);
Action DefineAttacks(CLI::App& app);
Action DefineCoordinator(CLI::App& app);
Action DefineWorker(CLI::App& app);
Action DefineSubmit(CLI::App& app);
Action DefineStatus(CLI::App& app);
Action DefineWatch(CLI::App& app);
Action DefineResults(CLI::App& app);
Action DefineExport(CLI::App& app);

}  // namespace tightrope
