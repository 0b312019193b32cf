#include "cli/run_summary.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/number_format.h"
#include "cli/state_counts.h"

namespace tightrope {

std::string JobsSentence(const v1::StateCounts& jobs) {
  const uint32_t waiting = jobs.blocked() + jobs.pending();
  const uint32_t total = Total(jobs);
  const std::string head = absl::StrCat(Grouped(total), total == 1 ? " job: " : " jobs: ");
  if (total > 0 && jobs.cached() == total) return absl::StrCat(head, "all cached; nothing had to run");
  std::vector<std::string> parts;
  const auto add = [&](uint32_t count, const char* word) {
    if (count > 0) parts.push_back(absl::StrCat(Grouped(count), " ", word));
  };
  add(jobs.committed(), "done");
  add(jobs.cached(), "cached");
  add(jobs.leased(), "running");
  add(waiting, "waiting");
  add(jobs.failed(), "failed");
  add(jobs.cancelled(), "cancelled");
  return absl::StrCat(head, parts.empty() ? "nothing to do" : absl::StrJoin(parts, ", "));
}

std::string FailuresText(const v1::ExperimentStatus& experiment) {
  std::string text;
  for (const v1::JobFailure& failure : experiment.failures()) {
    absl::StrAppend(&text, "failed: ", failure.description(), " (job ", failure.job_digest().substr(0, 12), ")\n    ",
                    absl::StrReplaceAll(failure.message(), {{"\n", "\n    "}}), "\n");
  }
  const uint32_t listed = static_cast<uint32_t>(experiment.failures_size());
  if (experiment.jobs().failed() > listed && listed > 0) {
    absl::StrAppend(&text, "and ", experiment.jobs().failed() - listed, " more failed jobs\n");
  }
  return text;
}

std::string NondeterminismText(const v1::ExperimentStatus& experiment) {
  const uint32_t shards = experiment.nondeterministic_shards();
  if (shards == 0) return "";
  return absl::StrCat("warning: ", shards, shards == 1 ? " shard" : " shards",
                      " ran twice and gave different results; the first result of each was kept\n");
}

}  // namespace tightrope
