#include "cli/progress.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/number_format.h"
#include "cli/state_counts.h"

namespace tightrope {
namespace {

constexpr absl::Duration kSpeedWindow = absl::Seconds(10);
constexpr absl::Duration kEstimateWindow = absl::Minutes(3);
// Too little to tell the time left from.
constexpr absl::Duration kShortestEstimate = absl::Seconds(5);
constexpr double kSmallestProgress = 0.01;

constexpr double kLogStep = 0.05;
constexpr absl::Duration kLogInterval = absl::Seconds(10);

// "12 of 28 done, 4 of them cached, 2 running, 14 waiting, 1 failed", without what is zero.
std::string CountsText(const v1::StateCounts& counts) {
  std::vector<std::string> parts = {absl::StrCat(Grouped(Done(counts)), " of ", Grouped(Total(counts)), " done")};
  const auto add = [&](uint32_t count, const char* word) {
    if (count > 0) parts.push_back(absl::StrCat(Grouped(count), " ", word));
  };
  add(counts.cached(), "of them cached");
  add(counts.leased(), "running");
  add(counts.pending() + counts.blocked(), "waiting");
  add(counts.failed(), "failed");
  add(counts.cancelled(), "cancelled");
  return absl::StrJoin(parts, ", ");
}

std::string Bar(double share, size_t width, const TextStyle& style) {
  share = std::clamp(share, 0.0, 1.0);
  if (!style.unicode) {
    const size_t full = static_cast<size_t>(share * static_cast<double>(width));
    return std::string(full, '#') + std::string(width - full, '-');
  }
  // Half characters: ╸ fills the left half.
  const size_t halves = static_cast<size_t>(share * 2 * static_cast<double>(width));
  std::string filled, rest;
  for (size_t i = 0; i < halves / 2; ++i) filled += "━";
  if (halves % 2 == 1) filled += "╸";
  for (size_t i = (halves + 1) / 2; i < width; ++i) rest += style.color ? "━" : "─";
  return style.color ? absl::StrCat("\x1b[32m", filled, "\x1b[90m", rest, "\x1b[0m") : filled + rest;
}

// Whole percents, rounded down: 100 % is said when all is done, not before.
std::string WholePercent(double share) {
  return absl::StrFormat("%d %%", static_cast<int>(std::floor(100 * std::clamp(share, 0.0, 1.0))));
}

// "2 on node1 (cpu ×4, cuda:0): 8 leases". Workers come and go by the hundred, so they are counted by host.
std::string WorkersText(const v1::StatusResponse& status, const TextStyle& style) {
  struct Host {
    int workers = 0;
    std::map<std::string, int> devices;
  };
  std::map<std::string, Host> hosts;
  uint32_t leases = 0;
  for (const v1::WorkerStatus& worker : status.workers()) {
    Host& host = hosts[worker.host()];
    ++host.workers;
    for (const std::string& device : worker.devices()) ++host.devices[device];
    leases += worker.leases();
  }
  if (hosts.empty()) return "none yet";
  const auto describe = [&](const auto& entry) {
    std::vector<std::string> devices;
    for (const auto& [device, count] : entry.second.devices) {
      devices.push_back(count == 1 ? device : absl::StrCat(device, style.unicode ? " ×" : " x", count));
    }
    return absl::StrCat(entry.second.workers, " on ", entry.first,
                        devices.empty() ? "" : absl::StrCat(" (", absl::StrJoin(devices, ", "), ")"));
  };
  std::vector<std::string> described;
  for (const auto& entry : hosts) {
    if (described.size() == 3) {
      described.push_back(absl::StrCat("and ", hosts.size() - 3, " more hosts"));
      break;
    }
    described.push_back(describe(entry));
  }
  return absl::StrCat(status.workers_size() > 1 && hosts.size() > 1 ? absl::StrCat(status.workers_size(), ": ") : "",
                      absl::StrJoin(described, ", "), "; ", leases, leases == 1 ? " lease" : " leases");
}

std::string SpeedText(const ProgressHistory& history) {
  const double speed = history.ExamplesPerSecond();
  return speed < 0.5 ? "" : absl::StrCat(Grouped(static_cast<uint64_t>(std::llround(speed))), " examples/s");
}

std::string LeftText(const ProgressHistory& history) {
  const std::optional<absl::Duration> left = history.TimeLeft();
  return left.has_value() ? absl::StrCat("about ", Clock(*left), " left") : "";
}

}  // namespace

void ProgressHistory::Add(const v1::StatusResponse& status, absl::Time now) {
  if (samples_.empty()) start_ = now;
  latest_ = status;
  samples_.push_back({now, experiment().progress(), experiment().examples_done()});
  // The front stays until the next one is old enough to take its place.
  while (samples_.size() > 2 && now - samples_[1].time >= kEstimateWindow) samples_.pop_front();
}

absl::Duration ProgressHistory::Elapsed() const { return samples_.back().time - start_; }

const ProgressHistory::Sample& ProgressHistory::Before(absl::Duration age) const {
  const absl::Time limit = samples_.back().time - age;
  const Sample* best = &samples_.front();
  for (const Sample& sample : samples_) {
    if (sample.time <= limit) best = &sample;
  }
  return *best;
}

double ProgressHistory::ExamplesPerSecond() const {
  if (samples_.empty()) return 0;
  const Sample& now = samples_.back();
  const Sample& before = Before(kSpeedWindow);
  const double seconds = absl::ToDoubleSeconds(now.time - before.time);
  if (seconds <= 0 || now.examples <= before.examples) return 0;
  return static_cast<double>(now.examples - before.examples) / seconds;
}

std::optional<absl::Duration> ProgressHistory::TimeLeft() const {
  if (samples_.empty()) return std::nullopt;
  const Sample& now = samples_.back();
  const Sample& before = Before(kEstimateWindow);
  const double gained = now.progress - before.progress;
  if (now.time - before.time < kShortestEstimate || gained < kSmallestProgress) return std::nullopt;
  return (now.time - before.time) * ((1 - now.progress) / gained);
}

std::vector<std::string> RenderProgress(const ProgressHistory& history, const TextStyle& style) {
  const v1::ExperimentStatus& experiment = history.experiment();
  const size_t width = std::max<size_t>(style.width, 20);

  // The first line: name, bar, percent, times. The bar takes what is left; what does not fit is left out, times first.
  std::string tail = WholePercent(experiment.progress());
  const std::string times = absl::StrCat("  ", Clock(history.Elapsed()), " elapsed",
                                         history.TimeLeft().has_value() ? absl::StrCat(", ", LeftText(history)) : "");
  const std::string name = Clip(experiment.name(), width / 3, style.unicode);
  const size_t fixed = DisplayWidth(name) + 2 + 2 + tail.size();
  const size_t shortest_bar = 10;
  if (fixed + times.size() + shortest_bar <= width) tail += times;
  const size_t taken = DisplayWidth(name) + 2 + 2 + tail.size();
  const size_t bar = taken < width ? std::min<size_t>(40, width - taken) : 0;

  std::vector<std::string> lines = {absl::StrCat(name, "  ", Bar(experiment.progress(), bar, style), "  ", tail)};
  const auto add = [&](const char* label, const std::string& text) {
    lines.push_back(Clip(absl::StrFormat("  %-9s %s", label, text), width, style.unicode));
  };
  add("jobs", CountsText(experiment.jobs()));
  add("shards", CountsText(experiment.shards()));
  const std::string speed = SpeedText(history);
  add("examples", absl::StrCat(Grouped(experiment.examples_done()), " of ", Grouped(experiment.examples_total()),
                               speed.empty() ? "" : ", ", speed));
  add("workers", WorkersText(history.latest(), style));
  if (experiment.failures_size() > 0) {
    const v1::JobFailure& failure = *experiment.failures().rbegin();
    const std::string first_line = std::vector<std::string>(absl::StrSplit(failure.message(), '\n')).front();
    add("failed", absl::StrCat(failure.description(), ": ", first_line));
  }
  if (experiment.nondeterministic_shards() > 0) {
    add("warning", absl::StrCat(experiment.nondeterministic_shards(), " shards gave two different results"));
  }
  return lines;
}

std::string ProgressLine(const ProgressHistory& history) {
  const v1::ExperimentStatus& experiment = history.experiment();
  const auto counts = [](const v1::StateCounts& state) {
    std::string text = absl::StrCat(Done(state), "/", Total(state));
    if (state.cached() > 0) absl::StrAppend(&text, " (", state.cached(), " cached)");
    if (state.failed() > 0) absl::StrAppend(&text, " (", state.failed(), " failed)");
    return text;
  };
  std::vector<std::string> parts = {absl::StrCat("jobs ", counts(experiment.jobs())),
                                    absl::StrCat("shards ", counts(experiment.shards()))};
  for (std::string part : {SpeedText(history), LeftText(history)}) {
    if (!part.empty() && !experiment.finished()) parts.push_back(std::move(part));
  }
  const int workers = history.latest().workers_size();
  if (!experiment.finished()) parts.push_back(absl::StrCat(workers, workers == 1 ? " worker" : " workers"));
  return absl::StrCat("[", Clock(history.Elapsed()), "] ", experiment.name(), " ", WholePercent(experiment.progress()),
                      ": ", absl::StrJoin(parts, ", "));
}

std::optional<std::string> ProgressLog::Next(const ProgressHistory& history, absl::Time now) {
  const v1::ExperimentStatus& experiment = history.experiment();
  const bool due = !last_.has_value() || now - *last_ >= kLogInterval ||
                   experiment.progress() - progress_ >= kLogStep || experiment.jobs().failed() > failed_ ||
                   (experiment.finished() && !finished_);
  if (!due || finished_) return std::nullopt;
  last_ = now;
  progress_ = experiment.progress();
  failed_ = experiment.jobs().failed();
  finished_ = experiment.finished();
  return ProgressLine(history);
}

}  // namespace tightrope
