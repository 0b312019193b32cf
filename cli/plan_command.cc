// tightrope plan: what would run. Creates nothing; asks the store, where there is one, what is cached.
#include <unistd.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/experiment_argument.h"
#include "cli/plan_format.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "core/artifact/data_directory.h"
#include "core/plan/plan.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

struct PlanOptions {
  ExperimentArgument experiment;
  Target target;
  std::string format = "table";
};

absl::Status FindCommitted(const Target& target, PlanReport& report) {
  if (target.coordinator.empty() && !DataDirectory(target.directory).HasStore()) return absl::OkStatus();
  std::vector<std::string> digests;
  for (const v1::Job& job : report.plan.jobs()) digests.push_back(job.digest());
  return WithSession(target, [&](Session& session) -> absl::Status {
    ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> committed, session.client().FindCommitted(digests));
    report.store_asked = true;
    report.committed = {committed.begin(), committed.end()};
    return absl::OkStatus();
  });
}

int ShowPlan(const PlanOptions& options) {
  const absl::StatusOr<ExperimentFile> file = ReadExperiment(options.experiment);
  if (!file.ok()) return ReportUnreadable(file.status(), options.experiment);
  const v1::Plan plan = MakePlan(file->experiment, file->inputs);
  PlanReport report{
      .experiment = file->experiment, .inputs = file->inputs, .plan = plan, .store_asked = false, .committed = {}};
  if (absl::Status status = FindCommitted(options.target, report); !status.ok()) return Report(status);
  if (options.format == "json") {
    WritePlanJson(report, std::cout);
  } else {
    std::cout << PlanTable(report, Terminal(STDOUT_FILENO).Style());
  }
  return kExitDone;
}

}  // namespace

Action DefinePlan(CLI::App& app) {
  const auto options = std::make_shared<PlanOptions>();
  AddExperimentArgument(app, options->experiment);
  AddTargetOptions(app, options->target);
  app.add_option("--format", options->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  return [options] { return ShowPlan(*options); };
}

}  // namespace tightrope
