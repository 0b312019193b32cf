// The argument EXPERIMENT.yaml of run, plan and submit.
#pragma once

#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "cli/exit_code.h"
#include "core/experiment/experiment_file.h"

namespace tightrope {

struct ExperimentArgument {
  std::string path;
  std::string data;  // --data
};

// Declares EXPERIMENT.yaml and --data. `argument` must outlive the parse.
void AddExperimentArgument(CLI::App& app, ExperimentArgument& argument);

// Errors: INVALID_ARGUMENT (mistakes, one a line), NOT_FOUND (no such file).
absl::StatusOr<ExperimentFile> ReadExperiment(const ExperimentArgument& argument);

// Prints why an experiment could not be read: the mistakes as FILE:LINE:COLUMN: message, then how many there are; or
// that there is no file to read.
ExitCode ReportUnreadable(const absl::Status& status, const ExperimentArgument& argument);

}  // namespace tightrope
