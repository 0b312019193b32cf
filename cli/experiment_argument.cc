#include "cli/experiment_argument.h"

#include <iostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "core/dataset/dataset.h"

namespace tightrope {

void AddExperimentArgument(CLI::App& app, ExperimentArgument& argument) {
  app.add_option("EXPERIMENT.yaml", argument.path, "The experiment file (docs/experiment-file.md)")->required();
  app.add_option("--data", argument.data,
                 "Where data sets are looked for, before $TIGHTROPE_DATA and /usr/share/datasets")
      ->type_name("DIR");
}

absl::StatusOr<ExperimentFile> ReadExperiment(const ExperimentArgument& argument) {
  return ReadExperimentFile(argument.path, {.dataset_search_path = DatasetSearchPath(argument.data)});
}

ExitCode ReportUnreadable(const absl::Status& status, const ExperimentArgument& argument) {
  if (!absl::IsInvalidArgument(status)) return Report(status);
  const std::vector<std::string> mistakes = absl::StrSplit(status.message(), '\n', absl::SkipWhitespace());
  std::cerr << absl::StrJoin(mistakes, "\n") << "\n";
  return Report(absl::InvalidArgumentError(
      absl::StrCat(mistakes.size() == 1 ? "1 mistake" : absl::StrCat(mistakes.size(), " mistakes"), " in ",
                   argument.path, "; nothing was started")));
}

}  // namespace tightrope
