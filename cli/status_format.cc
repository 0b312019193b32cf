#include "cli/status_format.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/number_format.h"
#include "cli/run_summary.h"
#include "cli/state_counts.h"

namespace tightrope {
namespace {

std::string StateOf(const v1::ExperimentStatus& experiment, bool stopped) {
  if (experiment.finished()) return experiment.jobs().failed() > 0 ? "failed" : "done";
  if (stopped) return "stopped";
  return experiment.jobs().leased() > 0 ? "running" : "waiting";
}

std::string DoneOf(const v1::StateCounts& counts) {
  return absl::StrCat(Grouped(Done(counts)), " of ", Grouped(Total(counts)));
}

}  // namespace

std::string StatusTable(const v1::StatusResponse& status, bool stopped, const TextStyle& style) {
  if (status.experiments_size() == 0) return "no experiments\n";
  const auto left = TextTable::Align::kLeft;
  const auto right = TextTable::Align::kRight;
  TextTable experiments({{"experiment", left, true},
                         {"state"},
                         {"progress", right},
                         {"jobs done", right},
                         {"cached", right},
                         {"failed", right},
                         {"shards done", right}});
  std::string failures;
  for (const v1::ExperimentStatus& experiment : status.experiments()) {
    experiments.AddRow({experiment.name(), StateOf(experiment, stopped),
                        absl::StrFormat("%.0f %%", std::floor(100 * experiment.progress())), DoneOf(experiment.jobs()),
                        Grouped(experiment.jobs().cached()), Grouped(experiment.jobs().failed()),
                        DoneOf(experiment.shards())});
    absl::StrAppend(&failures, FailuresText(experiment), NondeterminismText(experiment));
  }
  std::string text = experiments.Render(style);

  if (status.workers_size() > 0) {
    TextTable workers({{"worker", left, true},
                       {"pid", right},
                       {"devices", left, true},
                       {"leases", right},
                       {"examples/s", right},
                       {"seen", right}});
    for (const v1::WorkerStatus& worker : status.workers()) {
      workers.AddRow({worker.host(), absl::StrCat(worker.pid()), absl::StrJoin(worker.devices(), " "),
                      Grouped(worker.leases()), Rounded(worker.examples_per_second()),
                      absl::StrFormat("%.0f s ago", worker.seconds_since_seen())});
    }
    absl::StrAppend(&text, "\n", workers.Render(style));
  } else if (!stopped) {
    absl::StrAppend(&text, "\nno workers\n");
  }
  if (!failures.empty()) absl::StrAppend(&text, "\n", failures);
  return text;
}

}  // namespace tightrope
