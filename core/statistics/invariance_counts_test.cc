#include "core/statistics/invariance_counts.h"

#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

InvarianceCounts CountsOf(const std::vector<JudgedExample>& outcomes, double tolerance = 0) {
  InvarianceCounts counts;
  for (const JudgedExample& outcome : outcomes) Count(outcome, tolerance, counts);
  return counts;
}

InvarianceShare ShareNamed(const InvarianceCounts& counts, const std::string& metric) {
  for (const InvarianceShare& share : SharesOf(counts, 0.95)) {
    if (share.metric == metric) return share;
  }
  ADD_FAILURE() << "no share " << metric;
  return {};
}

// Source of class 3, which the model knows.
JudgedExample Outcome(int32_t oracle_label, int32_t prediction, int32_t source_prediction = 3) {
  return {.source_label = 3,
          .oracle_label = oracle_label,
          .source_prediction = source_prediction,
          .prediction = prediction};
}

TEST(InvarianceCountsTest, ThePredictionOfAChangedExampleIsTheOraclesTheSourcesOrAThird) {
  const InvarianceCounts counts = CountsOf({Outcome(8, 8), Outcome(8, 3), Outcome(8, 3), Outcome(8, 5)});
  EXPECT_EQ(counts.changed, 4u);
  EXPECT_EQ(counts.changed_agree, 1u);
  EXPECT_EQ(counts.changed_source_label, 2u);
  EXPECT_EQ(counts.changed_third_class, 1u);
  EXPECT_EQ(ShareNamed(counts, "keep_rate").value, 0.5);
  EXPECT_EQ(ShareNamed(counts, "invariance_error").value, 0.5);
  EXPECT_EQ(ShareNamed(counts, "third_class_rate").value, 0.25);
  EXPECT_EQ(ShareNamed(counts, "agreement").value, 0.25);
}

TEST(InvarianceCountsTest, UnlabelledExamplesEnterNoShareOfLabelledOnes) {
  const InvarianceCounts counts =
      CountsOf({Outcome(kNoneOfThese, 3), Outcome(kUndecided, 3), Outcome(3, 3), Outcome(3, 8), Outcome(8, 8)});
  EXPECT_EQ(counts.n, 5u);
  EXPECT_EQ(ShareNamed(counts, "none_of_these").successes, 1u);
  EXPECT_EQ(ShareNamed(counts, "undecided").successes, 1u);
  EXPECT_EQ(ShareNamed(counts, "changed").n, 5u) << "an attack that makes garbage has not succeeded";
  EXPECT_EQ(ShareNamed(counts, "agreement").n, 3u);
  EXPECT_EQ(ShareNamed(counts, "agreement").successes, 2u);
  EXPECT_EQ(ShareNamed(counts, "agreement_unchanged").n, 2u);
  EXPECT_EQ(ShareNamed(counts, "agreement_unchanged").successes, 1u);
}

TEST(InvarianceCountsTest, AModelWrongOnTheSource_KeepsItsPrediction_ButIsNotCalledInvariant) {
  // Takes the 3 for an 8, as it takes the example for, which is one.
  const InvarianceCounts lucky = CountsOf({Outcome(8, 8, /*source_prediction=*/8)});
  EXPECT_EQ(lucky.changed_kept, 1u);
  EXPECT_EQ(lucky.changed_source_label, 0u);
  EXPECT_EQ(lucky.changed_agree, 1u);
  EXPECT_EQ(ShareNamed(lucky, "invariance_error").n, 0u);
  // Takes the 3 for a 5, and the example for a 3.
  const InvarianceCounts moved = CountsOf({Outcome(8, 3, /*source_prediction=*/5)});
  EXPECT_EQ(moved.changed_kept, 0u);
  EXPECT_EQ(moved.changed_source_label, 1u);
  EXPECT_EQ(ShareNamed(moved, "keep_rate").value, 1);
  EXPECT_EQ(ShareNamed(moved, "prediction_kept").value, 0);
}

TEST(InvarianceCountsTest, LogitsThatAreNotFiniteAgreeWithNothing) {
  const InvarianceCounts counts = CountsOf({Outcome(8, -1, -1), Outcome(3, -1, -1), Outcome(kNoneOfThese, -1, -1)});
  EXPECT_EQ(counts.changed_agree + counts.changed_source_label + counts.changed_third_class + counts.changed_kept, 0u);
  EXPECT_EQ(counts.unchanged_agree, 0u);
  EXPECT_EQ(ShareNamed(counts, "agreement").n, 2u);
}

JudgedExample At(double distance, std::optional<double> robust, std::optional<double> certified,
                 int32_t prediction = 3) {
  JudgedExample outcome = Outcome(8, prediction);
  outcome.distance = distance;
  outcome.robust_radius = robust;
  outcome.certified_radius = certified;
  return outcome;
}

TEST(InvarianceCountsTest, ExamplesInsideTheRadiusAtWhichTheModelIsRobust) {
  const InvarianceCounts counts = CountsOf({At(0.3, 0.3, 0.2), At(0.3, 0.25, std::nullopt), At(0.1, 0.4, 0.1),
                                            At(0.1, std::nullopt, std::nullopt), At(0.1, 0.0, 0.0)});
  EXPECT_EQ(counts.robust, (RadiusCounts{.known = 4, .inside = 2, .inside_moved = 0}));
  EXPECT_EQ(counts.certified, (RadiusCounts{.known = 3, .inside = 1, .inside_moved = 0}));
  EXPECT_EQ(ShareNamed(counts, "inside_robust_radius").value, 0.5);
  EXPECT_EQ(ShareNamed(counts, "inside_certified_radius").n, 3u);
}

TEST(InvarianceCountsTest, AnExampleThatMovedThePredictionInsideACertificateIsSeen) {
  const InvarianceCounts counts = CountsOf({At(0.1, 0.2, 0.2, 8), At(0.1, 0.2, 0.05, 8), At(0.1, 0.2, 0.2, 3)});
  EXPECT_EQ(counts.certified, (RadiusCounts{.known = 3, .inside = 2, .inside_moved = 1}));
  EXPECT_EQ(counts.robust, (RadiusCounts{.known = 3, .inside = 3, .inside_moved = 2}));
}

TEST(InvarianceCountsTest, AGreyLevelOfToleranceLetsThePublishedSetIn) {
  const std::vector<JudgedExample> overstepping = {At(103.0 / 255, 0.4, 0.4)};
  EXPECT_EQ(CountsOf(overstepping).robust.inside, 0u);
  EXPECT_EQ(CountsOf(overstepping, 1.0 / 255).robust.inside, 1u);
  EXPECT_EQ(CountsOf({At(std::nan(""), 0.4, 0.4)}, 1).robust.inside, 0u);
}

TEST(InvarianceCountsTest, UnchangedExamplesAreNoInvarianceExamples_WhateverTheRadius) {
  JudgedExample unchanged = At(0.1, 0.4, 0.4);
  unchanged.oracle_label = 3;
  EXPECT_EQ(CountsOf({unchanged}).robust.known, 0u);
}

TEST(InvarianceCountsTest, CountsOfPartsAddUp_AndThreeWaysOfBeingWrongPartition) {
  std::mt19937_64 random(1);
  const auto label = [&](int32_t lowest) { return static_cast<int32_t>(random() % 6) + lowest; };
  const auto radius = [&]() -> std::optional<double> {
    if (random() % 3 == 0) return std::nullopt;
    return static_cast<double>(random() % 5) / 10;
  };
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<JudgedExample> outcomes(random() % 100);
    for (JudgedExample& outcome : outcomes) {
      outcome = {.source_label = label(0),
                 .oracle_label = label(-3),
                 .source_prediction = label(-1),
                 .prediction = label(-1),
                 .distance = static_cast<double>(random() % 5) / 10,
                 .robust_radius = radius(),
                 .certified_radius = radius()};
    }
    const auto middle = outcomes.begin() + static_cast<std::ptrdiff_t>(outcomes.size() / 3);
    InvarianceCounts parts = CountsOf({middle, outcomes.end()}, 0.05);
    parts += CountsOf({outcomes.begin(), middle}, 0.05);
    const InvarianceCounts whole = CountsOf(outcomes, 0.05);
    EXPECT_EQ(parts, whole);
    EXPECT_EQ(whole.n, whole.none_of_these + whole.undecided + whole.changed + whole.unchanged);
    EXPECT_LE(whole.changed_agree + whole.changed_source_label + whole.changed_third_class, whole.changed);
    EXPECT_LE(whole.changed_source_right_kept, whole.changed_kept);
    for (const InvarianceShare& share : SharesOf(whole, 0.95)) {
      EXPECT_LE(share.successes, share.n) << share.metric;
      EXPECT_LE(share.interval.lower, share.value) << share.metric;
      EXPECT_GE(share.interval.upper, share.value) << share.metric;
    }
  }
}

TEST(InvarianceCountsTest, SharesCarryExactIntervals_AndOneOfNothingKnowsNothing) {
  std::vector<JudgedExample> outcomes(21, Outcome(8, 3));
  for (size_t i = 0; i < 3; ++i) outcomes[i].prediction = 8;
  const InvarianceShare share = ShareNamed(CountsOf(outcomes), "agreement_changed");
  EXPECT_EQ(share.successes, 3u);
  EXPECT_EQ(share.n, 21u);
  EXPECT_DOUBLE_EQ(share.value, 3.0 / 21);
  EXPECT_NEAR(share.interval.lower, 0.0305, 0.0001);
  EXPECT_NEAR(share.interval.upper, 0.3634, 0.0001);
  const InvarianceShare nothing = ShareNamed({}, "agreement");
  EXPECT_EQ(nothing.value, 0);
  EXPECT_EQ(nothing.interval.lower, 0);
  EXPECT_EQ(nothing.interval.upper, 1);
}

}  // namespace
}  // namespace tightrope
