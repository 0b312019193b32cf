// tightrope run: a coordinator in this process, workers as children, the same gRPC between them as on a cluster.
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/experiment_argument.h"
#include "cli/interrupt.h"
#include "cli/number_format.h"
#include "cli/progress_display.h"
#include "cli/results_format.h"
#include "cli/run_summary.h"
#include "cli/session.h"
#include "cli/terminal.h"
#include "cli/worker_processes.h"
#include "cli/worker_program.h"
#include "coordinator/server.h"
#include "core/artifact/data_directory.h"
#include "core/device_list.h"
#include "core/status_macros.h"
#include "core/usable_cores.h"

namespace tightrope {
namespace {

// Everything is on one machine, so a worker that is silent for this long is dead.
constexpr absl::Duration kLease = absl::Seconds(10);
constexpr absl::Duration kPoll = absl::Seconds(3);
// For workers to end: they finish a step of work, which takes a while where many share few cores.
constexpr absl::Duration kGrace = absl::Seconds(5);

struct RunOptions {
  ExperimentArgument experiment;
  int workers = 1;
  std::string directory = kDefaultDirectory;
  std::string devices = "auto";
};

class Run {
 public:
  explicit Run(const RunOptions& options) : options_(options), directory_(options.directory), display_(&absl::Now) {}

  int Execute() {
    absl::StatusOr<ExperimentFile> file = ReadExperiment(options_.experiment);
    if (!file.ok()) return ReportUnreadable(file.status(), options_.experiment);
    name_ = file->experiment.name();

    absl::StatusOr<v1::ExperimentStatus> end = Compute(*std::move(file));
    display_.Close();
    if (absl::IsCancelled(end.status())) {
      SayInterrupted();
      return kExitInterrupted;
    }
    return end.ok() ? Summarise(*end) : Report(end.status(), RemedyFor(end.status()));
  }

 private:
  absl::StatusOr<v1::ExperimentStatus> Compute(ExperimentFile file) {
    ABSL_ASSIGN_OR_RETURN(const std::string program, FindWorkerProgram());
    ABSL_ASSIGN_OR_RETURN(server_, StartOwnServer({.directory = options_.directory,
                                                   .listen = "127.0.0.1:0",
                                                   .insecure = false,
                                                   .resume_experiments = false,
                                                   .lease = kLease,
                                                   .poll = kPoll}));
    ABSL_ASSIGN_OR_RETURN(client_, Client::Connect(server_->address(), absl::Seconds(10)));
    ABSL_ASSIGN_OR_RETURN(const v1::SubmitResponse submitted, client_->Submit(file, [](uint64_t) {}));
    file = {};  // the data set is in the store now; its bytes need not stay in memory for the whole run
    submitted_ = true;
    ABSL_RETURN_IF_ERROR(CheckInterrupted());
    display_.Say(absl::StrCat(name_, ": ", Grouped(submitted.jobs()), " jobs in ", Grouped(submitted.shards()),
                              " shards, ", Grouped(submitted.cached_jobs()), " jobs cached; data in ",
                              options_.directory));

    WorkerProcesses workers(WorkersFor(program, submitted), &absl::Now);
    ABSL_RETURN_IF_ERROR(workers.Start());
    uint32_t best = 0;
    absl::StatusOr<v1::ExperimentStatus> end = Follow(*client_, name_, display_, [&](const v1::StatusResponse& status) {
      for (const v1::WorkerStatus& worker : status.workers()) {
        if (worker.leases() > 0) workers.NoteAtWork(static_cast<pid_t>(worker.pid()));
      }
      if (status.experiments_size() == 1 && status.experiments(0).shards().committed() > best) {
        best = status.experiments(0).shards().committed();
        workers.NoteProgress();
      }
      std::vector<std::string> events;
      const absl::Status watched = workers.Watch(events);
      for (const std::string& event : events) display_.Say(event);
      return watched;
    });
    display_.Close();
    if (end.ok()) {
      server_->ReleaseWorkers();
      workers.Stop(kGrace);
    } else {
      // Said before workers are waited for: a second ^C ends this process at once.
      if (absl::IsCancelled(end.status())) SayInterrupted();
      workers.Terminate(kGrace);
    }
    return end;
  }

  std::string RemedyFor(const absl::Status& status) const {
    if (server_ == nullptr && absl::IsUnavailable(status)) {
      const absl::StatusOr<std::string> running = directory_.RunningAddress();
      if (!running.ok()) return "";
      return absl::StrCat("hand the experiment to it:  ", ShellLine({"tightrope", "submit", options_.experiment.path,
                                                                     "--coordinator", *running, "--watch"}));
    }
    // The same command would come to the same end where the input is wrong.
    if (!submitted_ || absl::IsInvalidArgument(status)) return "";
    return absl::StrCat("what was finished is kept; to go on:  ", ResumeLine());
  }

  WorkerProcessesOptions WorkersFor(const std::string& program, const v1::SubmitResponse& submitted) const {
    const int executors = std::max(1, UsableCores() / options_.workers);
    WorkerProcessesOptions workers;
    workers.command = {program,
                       "--coordinator",
                       server_->address(),
                       "--cache",
                       directory_.CachePath(),
                       "--devices",
                       options_.devices,
                       "--executors",
                       absl::StrCat(executors),
                       "--exit-with-parent"};
    // Where everything is cached nobody is needed; where little is left, not everybody.
    const uint32_t shards_left = submitted.shards() - submitted.cached_shards();
    const int count = static_cast<int>(std::min<uint32_t>(static_cast<uint32_t>(options_.workers), shards_left));
    for (int i = 0; i < count; ++i) workers.logs.push_back(directory_.WorkerLogPath(i));
    return workers;
  }

  int Summarise(const v1::ExperimentStatus& end) {
    const absl::StatusOr<std::vector<v1::MetricRow>> rows = client_->Results(name_);
    if (!rows.ok()) return Report(rows.status());
    std::cout << ResultsTable(*rows, {.style = Terminal(STDOUT_FILENO).Style(), .each_seed = false}) << "\n"
              << JobsSentence(end.jobs()) << "\n"
              << FailuresText(end) << NondeterminismText(end) << "\n";
    const auto line = [&](const char* what, const std::string& text) {
      std::string label = what;
      label.resize(12, ' ');
      std::cout << "  " << label << text << "\n";
    };
    line("results", ShellLine({"tightrope", "results", name_, "--dir", options_.directory}));
    line("examples", ShellLine({"tightrope", "export", name_, "--dir", options_.directory, "--what", "examples", "-o",
                                "examples.csv"}));
    line("store", directory_.StorePath());
    line("logs", directory_.WorkerLogPath(0));
    return end.jobs().failed() + end.jobs().cancelled() > 0 ? kExitJobsFailed : kExitDone;
  }

  void SayInterrupted() {
    if (std::exchange(said_interrupted_, true)) return;
    std::cerr << "tightrope: interrupted; everything that was finished is kept in " << options_.directory << "\n"
              << "  to go on:  " << ResumeLine() << std::endl;
  }

  std::string ResumeLine() const {
    std::vector<std::string> words = {"tightrope",        "run",       options_.experiment.path,      "--dir",
                                      options_.directory, "--workers", absl::StrCat(options_.workers)};
    if (!options_.experiment.data.empty()) words.insert(words.end(), {"--data", options_.experiment.data});
    if (options_.devices != "auto") words.insert(words.end(), {"--devices", options_.devices});
    return ShellLine(words);
  }

  const RunOptions options_;
  const DataDirectory directory_;
  ProgressDisplay display_;
  std::string name_;
  bool submitted_ = false;
  bool said_interrupted_ = false;
  std::unique_ptr<CoordinatorServer> server_;
  std::unique_ptr<Client> client_;  // goes before the server
};

}  // namespace

Action DefineRun(CLI::App& app) {
  const auto options = std::make_shared<RunOptions>();
  AddExperimentArgument(app, options->experiment);
  app.add_option("--workers", options->workers, "Worker processes; the machine's cores are shared out among them")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--dir", options->directory, "Data directory for the store, the artifacts and the logs")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--devices", options->devices, "What workers compute on: auto, cpu, cuda:0,cuda:1 …")
      ->type_name("DEVICES")
      ->check([](const std::string& devices) { return std::string(ParseDeviceList(devices).status().message()); })
      ->capture_default_str();
  app.footer(
      "\nRuns until everything is done; ^C keeps what is finished and prints the line that goes on. Jobs that are "
      "already in\n"
      "the store are not run again.");
  return [options] { return Run(*options).Execute(); };
}

}  // namespace tightrope
