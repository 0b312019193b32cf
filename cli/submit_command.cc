// tightrope submit: hands an experiment to a coordinator that runs somewhere.
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/experiment_argument.h"
#include "cli/number_format.h"
#include "cli/watch_experiment.h"
#include "cli/worker_program.h"

namespace tightrope {
namespace {

struct SubmitOptions {
  ExperimentArgument experiment;
  std::string coordinator;
  bool watch = false;
};

int Submit(const SubmitOptions& options) {
  const absl::StatusOr<ExperimentFile> file = ReadExperiment(options.experiment);
  if (!file.ok()) return ReportUnreadable(file.status(), options.experiment);
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(options.coordinator, absl::Seconds(10));
  if (!client.ok())
    return Report(client.status(), absl::IsUnavailable(client.status())
                                       ? "start one with:  tightrope coordinator --dir DIR --listen HOST:PORT"
                                       : "");
  const absl::StatusOr<v1::SubmitResponse> submitted = (*client)->Submit(
      *file, [](uint64_t size) { std::cerr << "uploading " << Rounded(static_cast<double>(size)) << "B\n"; });
  if (!submitted.ok()) return Report(submitted.status());
  const std::string& name = file->experiment.name();
  std::cout << "submitted " << name << ": " << Grouped(submitted->jobs()) << " jobs in " << Grouped(submitted->shards())
            << " shards, " << Grouped(submitted->cached_jobs()) << " jobs cached" << std::endl;
  if (options.watch) return WatchExperiment(**client, name);
  std::cout << "  progress:  " << ShellLine({"tightrope", "watch", name, "--coordinator", options.coordinator}) << "\n"
            << "  results:   " << ShellLine({"tightrope", "results", name, "--coordinator", options.coordinator})
            << "\n";
  return kExitDone;
}

}  // namespace

Action DefineSubmit(CLI::App& app) {
  const auto options = std::make_shared<SubmitOptions>();
  AddExperimentArgument(app, options->experiment);
  app.add_option("--coordinator", options->coordinator, "Address of the coordinator")
      ->type_name("HOST:PORT")
      ->required();
  app.add_flag("--watch", options->watch, "Show progress until the experiment is finished");
  return [options] { return Submit(*options); };
}

}  // namespace tightrope
