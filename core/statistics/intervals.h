// What the intervals of rows are called, and shares with theirs.
#pragma once

#include <cstdint>

#include "core/statistics/proportion.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

inline constexpr double kConfidence = 0.95;
inline constexpr char kOfProportion[] = "clopper-pearson 95%";
inline constexpr char kOverSeeds[] = "min-max over seeds";
// Exact figures, of which nothing was left out.
inline constexpr char kOfAllTriples[] = "all triples";
inline constexpr char kOfAllAnchors[] = "all anchors";

// Makes the row's figure successes / n, with its Clopper-Pearson interval. REQUIRES: successes ≤ n, n > 0.
inline void SetShare(uint64_t successes, uint64_t n, v1::MetricRow& row) {
  const Interval interval = ClopperPearson(successes, n, kConfidence);
  row.set_value(static_cast<double>(successes) / static_cast<double>(n));
  row.set_lower(interval.lower);
  row.set_upper(interval.upper);
  row.set_n(n);
  row.set_interval(kOfProportion);
}

// Makes the row's figure one that is exact for the n things it is taken over.
inline void SetExact(double value, uint64_t n, const char* of_all, v1::MetricRow& row) {
  row.set_value(value);
  row.set_lower(value);
  row.set_upper(value);
  row.set_n(n);
  row.set_interval(of_all);
}

}  // namespace tightrope
