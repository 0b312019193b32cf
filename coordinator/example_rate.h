// How many examples a second a worker gets through, over the last half minute.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <utility>

#include "absl/time/time.h"

namespace tightrope {

class ExampleRate {
 public:
  void Add(absl::Time now, uint64_t examples) {
    total_ += examples;
    if (!samples_.empty() && now - samples_.back().first < absl::Seconds(1)) return;
    samples_.emplace_back(now, total_);
    while (samples_.size() > 2 && now - samples_.front().first > kWindow) samples_.pop_front();
  }

  double PerSecond(absl::Time now) const {
    if (samples_.empty()) return 0;
    const auto& [since, before] = samples_.front();
    const double seconds = absl::ToDoubleSeconds(now - since);
    return seconds <= 0 ? 0 : static_cast<double>(total_ - before) / std::max(seconds, 1.0);
  }

 private:
  static constexpr absl::Duration kWindow = absl::Seconds(30);
  uint64_t total_ = 0;
  std::deque<std::pair<absl::Time, uint64_t>> samples_;  // (when, total until then)
};

}  // namespace tightrope
