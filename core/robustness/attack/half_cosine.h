// How step sizes and thresholds shrink over an attack's steps.
#pragma once

#include <cmath>
#include <cstdint>

namespace tightrope {

// From `first` at step 0 along half a cosine to `last`, which step `steps` would have (Loshchilov and Hutter 2017,
// eq. 5, without restarts).
inline double HalfCosine(double first, double last, uint64_t step, uint64_t steps) {
  const double share = static_cast<double>(step) / static_cast<double>(steps);
  return last + (first - last) * (1 + std::cos(std::acos(-1.0) * share)) / 2;
}

}  // namespace tightrope
