// tightrope results: the figures, for people and for scripts.
#include <unistd.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/results_format.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

struct ResultsOptions {
  std::string experiment;
  Target target;
  std::string format = "table";
  bool each_seed = false;
};

int ShowResults(const ResultsOptions& options) {
  std::vector<v1::MetricRow> rows;
  const absl::Status status = WithSession(options.target, [&](Session& session) -> absl::Status {
    ABSL_ASSIGN_OR_RETURN(rows, session.client().Results(options.experiment));
    return absl::OkStatus();
  });
  if (!status.ok()) return Report(status);
  if (options.format == "table") {
    std::cout << ResultsTable(rows, {.style = Terminal(STDOUT_FILENO).Style(), .each_seed = options.each_seed});
  } else {
    WriteResults(rows, options.format == "csv" ? RecordFormat::kCsv : RecordFormat::kJson, std::cout);
  }
  return kExitDone;
}

}  // namespace

Action DefineResults(CLI::App& app) {
  const auto options = std::make_shared<ResultsOptions>();
  app.add_option("EXPERIMENT", options->experiment, "Name of an experiment; all where it is left out");
  AddTargetOptions(app, options->target);
  app.add_option("--format", options->format, "table, csv or json; csv and json have every row and column")
      ->check(CLI::IsMember({"table", "csv", "json"}))
      ->capture_default_str();
  app.add_flag("--each-seed", options->each_seed, "In the table: also the rows of single seeds");
  return [options] { return ShowResults(*options); };
}

}  // namespace tightrope
