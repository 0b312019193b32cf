#include "core/statistics/proportion.h"

#include <algorithm>
#include <boost/math/policies/policy.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <cassert>
#include <cmath>
#include <numeric>

namespace tightrope {
namespace {

// Boost.Math throws by default; arguments that are in range, as ours are, need none of that.
namespace policies = boost::math::policies;
constexpr policies::policy<policies::domain_error<policies::errno_on_error>,
                           policies::overflow_error<policies::errno_on_error>,
                           policies::evaluation_error<policies::errno_on_error>>
    kNoThrow{};

// The p for which `successes` or more of `n` have probability `alpha`: the alpha quantile of Beta(k, n − k + 1).
double LowerBound(uint64_t successes, uint64_t n, double alpha) {
  if (successes == 0) return 0;
  const auto k = static_cast<double>(successes);
  return boost::math::ibeta_inv(k, static_cast<double>(n - successes) + 1, alpha, kNoThrow);
}

// The p for which `successes` or fewer of `n` have probability `alpha`: the 1 − alpha quantile of Beta(k + 1, n − k).
double UpperBound(uint64_t successes, uint64_t n, double alpha) {
  if (successes == n) return 1;
  const auto k = static_cast<double>(successes);
  return boost::math::ibetac_inv(k + 1, static_cast<double>(n - successes), alpha, kNoThrow);
}

}  // namespace

Interval ClopperPearson(uint64_t successes, uint64_t n, double confidence) {
  assert(successes <= n && confidence > 0 && confidence < 1);
  const double tail = (1 - confidence) / 2;
  return {LowerBound(successes, n, tail), UpperBound(successes, n, tail)};
}

double ClopperPearsonLower(uint64_t successes, uint64_t n, double alpha) {
  assert(successes <= n && alpha > 0 && alpha < 1);
  return LowerBound(successes, n, alpha);
}

double Mean(absl::Span<const double> values) {
  assert(!values.empty());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
  // Rounding must not put the mean of equal values outside of them.
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return std::clamp(mean, *least, *most);
}

double SampleStandardDeviation(absl::Span<const double> values) {
  if (values.size() < 2) return 0;
  const double mean = Mean(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

}  // namespace tightrope
