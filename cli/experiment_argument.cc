#include "cli/experiment_argument.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "cli/number_format.h"
#include "core/dataset/dataset.h"
#include "core/experiment/mistake.h"

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
  const size_t mistakes = CountMistakes(status);
  if (mistakes == 0) return Report(status);
  std::cerr << status.message() << "\n";
  return Report(absl::InvalidArgumentError(absl::StrCat(Grouped(mistakes), mistakes == 1 ? " mistake" : " mistakes",
                                                        " in ", argument.path, "; nothing was started")));
}

}  // namespace tightrope
