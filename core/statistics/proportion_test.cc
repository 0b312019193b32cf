#include "core/statistics/proportion.h"

#include <cmath>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::DoubleNear;

// log of the probability of `k` successes of `n`, computed another way than the code under test.
double LogBinomial(uint64_t k, uint64_t n, double p) {
  const auto a = static_cast<double>(k);
  const auto b = static_cast<double>(n - k);
  return std::lgamma(a + b + 1) - std::lgamma(a + 1) - std::lgamma(b + 1) + a * std::log(p) + b * std::log1p(-p);
}

double AtLeast(uint64_t k, uint64_t n, double p) {
  double sum = 0;
  for (uint64_t i = k; i <= n; ++i) sum += std::exp(LogBinomial(i, n, p));
  return sum;
}

double AtMost(uint64_t k, uint64_t n, double p) {
  double sum = 0;
  for (uint64_t i = 0; i <= k; ++i) sum += std::exp(LogBinomial(i, n, p));
  return sum;
}

// Published with randomized smoothing (one-sided, alpha = 0.001), to the eight digits given there.
TEST(ProportionTest, ClopperPearsonLowerGoldenValues) {
  const struct {
    uint64_t successes, n;
    double lower;
  } golden[] = {
      {100, 100, .93325430},      {99, 100, .91137311},       {990, 1000, .97603619},      {1000, 1000, .99311605},
      {99000, 100000, .98898934}, {60000, 100000, .59520105}, {100000, 100000, .99993092},
  };
  for (const auto& g : golden) {
    EXPECT_THAT(ClopperPearsonLower(g.successes, g.n, .001), DoubleNear(g.lower, 5e-9)) << g.successes << "/" << g.n;
  }
}

TEST(ProportionTest, AllAndNoneHaveClosedForms) {
  for (const uint64_t n : {1, 2, 10, 1000, 60000, 100000000}) {
    const auto root = [&](double tail) { return std::exp(std::log(tail) / static_cast<double>(n)); };
    EXPECT_DOUBLE_EQ(ClopperPearsonLower(n, n, .05), root(.05));
    EXPECT_EQ(ClopperPearsonLower(0, n, .05), 0);
    const Interval all = ClopperPearson(n, n, .95);
    EXPECT_NEAR(all.lower, root(.025), 1e-14);
    EXPECT_EQ(all.upper, 1);
    const Interval none = ClopperPearson(0, n, .95);
    EXPECT_EQ(none.lower, 0);
    EXPECT_NEAR(none.upper, 1 - root(.025), 1e-14);
  }
}

TEST(ProportionTest, NothingSeen_NothingKnown) {
  const Interval interval = ClopperPearson(0, 0, .95);
  EXPECT_EQ(interval.lower, 0);
  EXPECT_EQ(interval.upper, 1);
  EXPECT_EQ(ClopperPearsonLower(0, 0, .001), 0);
}

TEST(ProportionTest, BoundsAreWhereTheTailsOfTheBinomialAreHalfOfWhatIsLeft) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 300; ++trial) {
    const uint64_t n = 1 + random() % 2000;
    const uint64_t k = random() % (n + 1);
    const double confidence = trial % 2 == 0 ? .95 : .999;
    const Interval interval = ClopperPearson(k, n, confidence);
    const double tail = (1 - confidence) / 2;
    EXPECT_NEAR(k == 0 ? tail : AtLeast(k, n, interval.lower), tail, 1e-8) << k << "/" << n;
    EXPECT_NEAR(k == n ? tail : AtMost(k, n, interval.upper), tail, 1e-8) << k << "/" << n;
  }
}

TEST(ProportionTest, IntervalHoldsTheProportion_IsSymmetric_AndNarrowsWithConfidence) {
  std::mt19937_64 random(2);
  for (int trial = 0; trial < 1000; ++trial) {
    const uint64_t n = 1 + random() % 100000;
    const uint64_t k = random() % (n + 1);
    const double proportion = static_cast<double>(k) / static_cast<double>(n);
    const Interval wide = ClopperPearson(k, n, .99);
    const Interval narrow = ClopperPearson(k, n, .95);
    EXPECT_LE(0, wide.lower);
    EXPECT_LE(wide.lower, narrow.lower);
    EXPECT_LE(narrow.lower, proportion);
    EXPECT_LE(proportion, narrow.upper);
    EXPECT_LE(narrow.upper, wide.upper);
    EXPECT_LE(wide.upper, 1);
    const Interval mirrored = ClopperPearson(n - k, n, .95);
    EXPECT_NEAR(mirrored.lower, 1 - narrow.upper, 1e-13);
    EXPECT_NEAR(mirrored.upper, 1 - narrow.lower, 1e-13);
    EXPECT_NEAR(ClopperPearsonLower(k, n, .025), narrow.lower, 1e-13);
  }
}

TEST(ProportionTest, BoundsRiseWithEverySuccess) {
  for (const uint64_t n : {1, 7, 100, 1000}) {
    for (uint64_t k = 1; k <= n; ++k) {
      EXPECT_LT(ClopperPearson(k - 1, n, .95).lower, ClopperPearson(k, n, .95).lower);
      EXPECT_LT(ClopperPearson(k - 1, n, .95).upper, ClopperPearson(k, n, .95).upper);
    }
  }
}

TEST(ProportionTest, CoverageIsNeverLessThanPromised) {
  for (const uint64_t n : {5, 30, 100}) {
    std::vector<Interval> intervals;
    for (uint64_t k = 0; k <= n; ++k) intervals.push_back(ClopperPearson(k, n, .95));
    for (double p = .005; p < 1; p += .005) {
      double coverage = 0;
      for (uint64_t k = 0; k <= n; ++k) {
        if (intervals[k].lower <= p && p <= intervals[k].upper) coverage += std::exp(LogBinomial(k, n, p));
      }
      EXPECT_GE(coverage, .95 - 1e-12) << "n " << n << ", p " << p;
    }
  }
}

TEST(ProportionTest, SampleStandardDeviation) {
  EXPECT_EQ(SampleStandardDeviation({}), 0);
  EXPECT_EQ(SampleStandardDeviation({.7}), 0);
  EXPECT_EQ(SampleStandardDeviation({.1, .1, .1}), 0);
  EXPECT_DOUBLE_EQ(SampleStandardDeviation({2, 4, 4, 4, 5, 5, 7, 9}), std::sqrt(32.0 / 7));
  // Far from zero nothing cancels.
  EXPECT_DOUBLE_EQ(SampleStandardDeviation({1e9 + 1, 1e9 + 2, 1e9 + 3}), 1);
}

TEST(ProportionTest, MeanIsNeverOutsideOfTheValues) {
  EXPECT_EQ(Mean({.25, .75}), .5);
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 1000; ++trial) {
    const double value = std::uniform_real_distribution<double>()(random);
    EXPECT_EQ(Mean(std::vector<double>(2 + trial % 9, value)), value);
  }
}

}  // namespace
}  // namespace tightrope
