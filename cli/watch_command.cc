// tightrope watch: progress of an experiment until it is finished.
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/progress_display.h"
#include "cli/run_summary.h"
#include "cli/session.h"
#include "cli/watch_experiment.h"
#include "cli/worker_program.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// For a coordinator that is started again; it opens its store and listens before that.
constexpr absl::Duration kPatience = absl::Seconds(60);

struct WatchOptions {
  std::string experiment;
  Target target;
};

// The experiment meant by "watch" alone: the only one that is not finished, or the only one.
absl::StatusOr<std::string> OnlyExperiment(const v1::StatusResponse& status) {
  std::vector<std::string> all, unfinished;
  for (const v1::ExperimentStatus& experiment : status.experiments()) {
    all.push_back(experiment.name());
    if (!experiment.finished()) unfinished.push_back(experiment.name());
  }
  if (unfinished.size() == 1) return unfinished[0];
  if (unfinished.empty() && all.size() == 1) return all[0];
  if (all.empty()) return absl::NotFoundError("there is no experiment to watch");
  return absl::InvalidArgumentError(
      absl::StrCat("say which experiment to watch: ", absl::StrJoin(unfinished.empty() ? all : unfinished, ", ")));
}

int Watch(const WatchOptions& options) {
  const absl::StatusOr<std::unique_ptr<Session>> session = Session::Open(options.target);
  if (!session.ok()) return Report(session.status());
  Client& client = (*session)->client();
  const absl::StatusOr<v1::StatusResponse> status = client.Status(options.experiment);
  if (!status.ok()) return Report(status.status());
  const absl::StatusOr<std::string> name =
      options.experiment.empty() ? OnlyExperiment(*status) : absl::StatusOr<std::string>(options.experiment);
  if (!name.ok()) return Report(name.status());
  for (const v1::ExperimentStatus& experiment : status->experiments()) {
    if (experiment.name() == *name && !experiment.finished() && (*session)->embedded()) {
      return Report(
          absl::UnavailableError(absl::StrCat("no coordinator is running on the directory ", options.target.directory,
                                              ", and ", *name, " is not finished")),
          absl::StrCat("to go on:  tightrope run EXPERIMENT.yaml ", ShellLine({"--dir", options.target.directory})));
    }
  }
  return WatchExperiment(client, *name);
}

}  // namespace

int WatchExperiment(Client& client, const std::string& experiment) {
  ProgressDisplay display(&absl::Now);
  const absl::StatusOr<v1::ExperimentStatus> end = Follow(
      client, experiment, display, [](const v1::StatusResponse&) { return absl::OkStatus(); }, {.patience = kPatience});
  display.Close();
  if (absl::IsCancelled(end.status())) {
    std::cerr << "tightrope: stopped watching; the experiment goes on\n";
    return kExitInterrupted;
  }
  if (!end.ok()) return Report(end.status());
  std::cout << experiment << ": " << JobsSentence(end->jobs()) << "\n"
            << FailuresText(*end) << NondeterminismText(*end);
  return end->jobs().failed() + end->jobs().cancelled() > 0 ? kExitJobsFailed : kExitDone;
}

Action DefineWatch(CLI::App& app) {
  const auto options = std::make_shared<WatchOptions>();
  app.add_option("EXPERIMENT", options->experiment, "Name of the experiment; may be left out where one is unfinished");
  AddTargetOptions(app, options->target);
  return [options] { return Watch(*options); };
}

}  // namespace tightrope
