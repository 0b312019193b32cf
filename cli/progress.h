// What a run looks like while it runs. Pure: statuses and times in, lines out.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/text_layout.h"
#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

// Statuses of one experiment over time, for what a single one does not tell: how fast it goes and when it will end.
class ProgressHistory {
 public:
  // REQUIRES: `now` does not go back; `status` has the one experiment.
  void Add(const v1::StatusResponse& status, absl::Time now);

  bool empty() const { return samples_.empty(); }
  // REQUIRES: !empty().
  const v1::StatusResponse& latest() const { return latest_; }
  const v1::ExperimentStatus& experiment() const { return latest_.experiments(0); }

  absl::Duration Elapsed() const;
  // Over the last seconds; 0 before two statuses have come.
  double ExamplesPerSecond() const;
  // Estimated from the last minutes; nothing while too little has happened to tell.
  std::optional<absl::Duration> TimeLeft() const;

 private:
  struct Sample {
    absl::Time time;
    double progress = 0;
    uint64_t examples = 0;
  };
  // The newest sample that is at least `age` old, or the oldest one.
  const Sample& Before(absl::Duration age) const;

  absl::Time start_;
  std::deque<Sample> samples_;  // ascending; those older than the longest window are dropped
  v1::StatusResponse latest_;
};

// The live view: at most 8 lines, none wider than `style.width`.
std::vector<std::string> RenderProgress(const ProgressHistory& history, const TextStyle& style);

// The same in one line, for logs: "[1:23] quickstart 61 %: jobs 12/28, …".
std::string ProgressLine(const ProgressHistory& history);

// Decides when a log gets a new line: at the first and last status, when progress has grown by 5 % of the whole, when
// something failed, and in any case every 10 seconds.
class ProgressLog {
 public:
  std::optional<std::string> Next(const ProgressHistory& history, absl::Time now);

 private:
  std::optional<absl::Time> last_;
  double progress_ = 0;
  uint32_t failed_ = 0;
  bool finished_ = false;
};

}  // namespace tightrope
