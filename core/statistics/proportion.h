// Proportions with exact intervals, and spread across seeds.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace tightrope {

struct Interval {
  double lower = 0;
  double upper = 1;
};

// Two-sided Clopper-Pearson interval for `successes` of `n` at `confidence` (0.95): exact coverage, never narrower than
// it says. (Clopper & Pearson, Biometrika 1934; bounds are beta quantiles.) n = 0 gives [0, 1]. REQUIRES: successes ≤
// n, 0 < confidence < 1.
Interval ClopperPearson(uint64_t successes, uint64_t n, double confidence);

// One-sided lower bound at level 1 − alpha; 0 where there are no successes. REQUIRES: successes ≤ n, 0 < alpha < 1.
double ClopperPearsonLower(uint64_t successes, uint64_t n, double alpha);

// REQUIRES: at least one value. Never outside the range of the values.
double Mean(absl::Span<const double> values);

// Sample standard deviation (n − 1); 0 for fewer than two values.
double SampleStandardDeviation(absl::Span<const double> values);

}  // namespace tightrope
