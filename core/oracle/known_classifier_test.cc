#include "core/oracle/known_classifier.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/oracle/rule_dataset_test_support.h"
#include "core/statistics/proportion.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr double kConfidence = 0.9999;  // hundreds of checks are made

// A point of the box, and what the rule and a classifier say of it.
struct Probe {
  std::vector<float> features;
  int32_t label = 0;
  int32_t prediction = 0;
};

// Every point of a grid on the box, with `steps` points a side.
template <typename Classifier>
std::vector<Probe> Grid(const RuleDataset& rule, const Classifier& classifier, uint32_t steps) {
  std::vector<Probe> grid;
  std::vector<uint32_t> at(rule.features(), 0);
  while (true) {
    Probe probe;
    for (const uint32_t i : at) probe.features.push_back(static_cast<float>(i) / static_cast<float>(steps - 1));
    probe.label = rule.Label(probe.features);
    probe.prediction = Predict(classifier, probe.features);
    grid.push_back(std::move(probe));
    size_t axis = 0;
    while (axis < at.size() && ++at[axis] == steps) at[axis++] = 0;
    if (axis == at.size()) return grid;
  }
}

using Norm = std::function<double(absl::Span<const float>, absl::Span<const float>)>;

double L2(absl::Span<const float> a, absl::Span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return std::sqrt(sum);
}
double L1(absl::Span<const float> a, absl::Span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
  return sum;
}
double Linf(absl::Span<const float> a, absl::Span<const float> b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return largest;
}

// By the definitions, over the grid.
KnownDistances SlowDistances(const std::vector<Probe>& grid, const Probe& x, const Norm& norm) {
  if (x.label != x.prediction) return {false, 0, kNever, 0};
  KnownDistances distances{true, kNever, kNever, kNever};
  for (const Probe& probe : grid) {
    const bool same_label = probe.label == x.label, same_prediction = probe.prediction == x.prediction;
    if (same_label && same_prediction) continue;
    const double distance = norm(probe.features, x.features);
    if (!same_prediction) distances.ball = std::min(distances.ball, distance);
    if (!same_prediction && same_label) distances.sensitivity = std::min(distances.sensitivity, distance);
    if (same_prediction && !same_label) distances.invariance = std::min(distances.invariance, distance);
  }
  return distances;
}

// The grid's nearest point is no nearer than the nearest, and not much farther.
void ExpectNear(double slow, double fast, double slack, const std::string& what) {
  if (std::isinf(fast)) {
    EXPECT_EQ(slow, fast) << what;
  } else {
    EXPECT_GE(slow, fast - 1e-6) << what;
    EXPECT_LE(slow, fast + slack) << what;
  }
}

void ExpectNear(const KnownDistances& slow, const KnownDistances& fast, double slack, const std::string& what) {
  EXPECT_EQ(slow.right, fast.right) << what;
  ExpectNear(slow.sensitivity, fast.sensitivity, slack, what + ", sensitivity");
  ExpectNear(slow.invariance, fast.invariance, slack, what + ", invariance");
  ExpectNear(slow.ball, fast.ball, slack, what + ", ball");
}

void CheckSpheres(const ConcentricSpheres& spheres, const NormClassifier& classifier, uint32_t steps, uint64_t points) {
  const auto rule = Rule(spheres);
  const std::vector<Probe> grid = Grid(*rule, classifier, steps);
  // Between the circle and the line there are wedges that a grid fills only so well.
  const double slack = 4 * std::sqrt(spheres.dimension) / (steps - 1);
  for (uint64_t i = 0; i < points; ++i) {
    Probe x{Drawn(*rule, i)};
    x.label = rule->Label(x.features);
    x.prediction = Predict(classifier, x.features);
    ExpectNear(SlowDistances(grid, x, L2), DistancesOf(spheres, classifier, x.features), slack,
               absl::StrCat("dimension ", spheres.dimension, ", coordinates ", classifier.coordinates, ", threshold ",
                            classifier.threshold, ", point ", i));
  }
}

TEST(KnownClassifierTest, DistancesOnSpheresEqualASearchOfTheBox_TwoDimensions) {
  for (const double threshold : {0.05, 0.2, 0.33, 0.36, 0.45}) {
    for (const uint32_t coordinates : {1u, 2u}) {
      CheckSpheres({2, 0.3, 0.45, 0.35}, {coordinates, threshold}, 401, 25);
    }
  }
}

TEST(KnownClassifierTest, DistancesOnSpheresEqualASearchOfTheBox_ThreeDimensions) {
  for (const double threshold : {0.15, 0.32}) {
    for (const uint32_t coordinates : {1u, 2u}) {
      CheckSpheres({3, 0.25, 0.5, 0.35}, {coordinates, threshold}, 61, 15);
    }
  }
}

struct Measured {
  uint64_t n = 0, clean = 0, sensitivity = 0, invariance = 0, ball = 0;
};

void Count(const KnownDistances& distances, double epsilon, Measured& measured) {
  ++measured.n;
  measured.clean += !distances.right;
  measured.sensitivity += distances.sensitivity <= epsilon;
  measured.invariance += distances.invariance <= epsilon;
  measured.ball += distances.ball <= epsilon;
}

void ExpectInside(uint64_t successes, uint64_t n, double want, const std::string& what) {
  const Interval interval = ClopperPearson(successes, n, kConfidence);
  EXPECT_LE(interval.lower, want) << what << ": " << successes << "/" << n;
  EXPECT_GE(interval.upper, want - 1e-12) << what << ": " << successes << "/" << n;
}

void ExpectInside(const Measured& measured, const KnownErrors& errors, const std::string& what) {
  ExpectInside(measured.clean, measured.n, errors.clean, what + ", clean");
  ExpectInside(measured.sensitivity, measured.n, errors.sensitivity, what + ", sensitivity");
  ExpectInside(measured.invariance, measured.n, errors.invariance, what + ", invariance");
  ExpectInside(measured.ball, measured.n, errors.ball, what + ", ball");
}

const std::vector<double> kEpsilons = {0, 0.02, 0.05, 0.08, 0.12, 0.2, 0.4};

// `rounded`: of the examples in grey levels.
void CheckMeasured(const ConcentricSpheres& spheres, const NormClassifier& classifier, uint64_t n, bool rounded) {
  const auto rule = Rule(spheres, /*seed=*/classifier.coordinates);
  std::vector<Measured> measured(kEpsilons.size());
  for (uint64_t i = 0; i < n; ++i) {
    std::vector<float> features = Drawn(*rule, i);
    if (rounded) {
      const std::vector<uint8_t> pixels = ToPixels(features);
      for (size_t j = 0; j < features.size(); ++j) features[j] = static_cast<float>(pixels[j]) / 255;
    }
    const KnownDistances distances = DistancesOf(spheres, classifier, features);
    EXPECT_EQ(distances.right, Predict(classifier, features) == rule->Label(features));
    for (size_t e = 0; e < kEpsilons.size(); ++e) Count(distances, kEpsilons[e], measured[e]);
  }
  for (size_t e = 0; e < kEpsilons.size(); ++e) {
    ExpectInside(measured[e], ErrorsOf(spheres, classifier, kEpsilons[e]),
                 absl::StrCat("coordinates ", classifier.coordinates, ", threshold ", classifier.threshold,
                              ", epsilon ", kEpsilons[e]));
  }
}

TEST(KnownClassifierTest, MeasuredErrorsOnSpheresAreTheClosedForm) {
  const ConcentricSpheres spheres{.dimension = 20};
  for (const uint32_t coordinates : {1u, 5u, 15u, 19u}) {
    for (const double share : {0.5, 0.8, 1.0, 1.05}) {
      CheckMeasured(spheres, {coordinates, share * 0.44 * std::sqrt(coordinates / 20.0)}, 4000, /*rounded=*/false);
    }
  }
  CheckMeasured({.dimension = 500}, {450, 0.42}, 2000, false);
  CheckMeasured({.dimension = 500}, {499, 0.44}, 2000, false);
  CheckMeasured({2, 0.2, 0.4, 0.3}, {1, 0.15}, 4000, false);
  CheckMeasured({2, 0.2, 0.4, 0.3}, {1, 0.35}, 4000, false);
}

TEST(KnownClassifierTest, InGreyLevelsTheyAreTheSameWhereThereAreFewDimensions) {
  for (const double threshold : {0.21, 0.31, 0.37})
    CheckMeasured({8, 0.3, 0.5}, {6, threshold}, 4000, /*rounded=*/true);
}

// A radius moved to one side of the rule's: all of one class are invariance examples away from being wrong, all of the
// other sensitivity examples.
TEST(KnownClassifierTest, ARadiusMovedInwards) {
  const ConcentricSpheres spheres{10, 0.3, 0.5, 0.4};
  const NormClassifier moved = {10, 0.35};
  const auto errors = [&](double epsilon) { return ErrorsOf(spheres, moved, epsilon); };
  EXPECT_EQ(errors(0.3).clean, 0);
  EXPECT_EQ(errors(0.049).sensitivity, 0);
  EXPECT_EQ(errors(0.051).sensitivity, 0.5) << "class 0 reaches the ring between the radii";
  EXPECT_EQ(errors(0.099).invariance, 0);
  EXPECT_EQ(errors(0.101).invariance, 0.5) << "class 1 reaches the ring from outside";
  EXPECT_EQ(errors(0.149).ball, 0.5);
  EXPECT_EQ(errors(0.151).ball, 1);
  // Away from every ε that is looked at: all points of a sphere are alike.
  CheckMeasured(spheres, {10, 0.36}, 200, false);
  CheckMeasured(spheres, {10, 0.44}, 200, false);
  EXPECT_EQ(ErrorsOf(spheres, {10, 0.25}, 0).clean, 0.5);
}

TEST(KnownClassifierTest, ErrorsGrowWithEpsilon_AndABallErrorIsNoLessThanTheSensitivityError) {
  const ConcentricSpheres spheres{.dimension = 30};
  for (const uint32_t coordinates : {1u, 20u, 29u, 30u}) {
    for (const double threshold : {0.1, 0.3, 0.4, 0.43, 0.46}) {
      KnownErrors before;
      for (double epsilon = 0; epsilon < 0.6; epsilon += 0.003) {
        const KnownErrors errors = ErrorsOf(spheres, {coordinates, threshold}, epsilon);
        EXPECT_GE(errors.sensitivity, std::max(errors.clean, before.sensitivity) - 1e-12);
        EXPECT_GE(errors.invariance, before.invariance - 1e-12);
        EXPECT_GE(errors.ball, std::max(errors.sensitivity, before.ball) - 1e-12);
        EXPECT_LE(errors.clean + errors.invariance, 1 + 1e-12);
        before = errors;
      }
    }
  }
}

TEST(KnownClassifierTest, DistancesOfThresholdsEqualASearchOfTheBox_InEveryNorm) {
  const auto rule = Rule(OverlyRobustFeature{.agreement = 0.6, .oracle_nearest = 2, .oracle_farthest = 60});
  for (const uint32_t feature : {0u, 1u}) {
    for (const double threshold : {0.2, 0.41, 0.5, 0.63}) {
      const ThresholdClassifier classifier = {feature, threshold};
      const std::vector<Probe> grid = Grid(*rule, classifier, 256);
      for (uint64_t i = 0; i < 20; ++i) {
        Probe x{Drawn(*rule, i)};
        x.label = rule->Label(x.features);
        x.prediction = Predict(classifier, x.features);
        for (const Norm& norm : {Norm(L1), Norm(L2), Norm(Linf)}) {
          ExpectNear(SlowDistances(grid, x, norm), DistancesOf(classifier, x.features), 1.0 / 255,
                     absl::StrCat("feature ", feature, ", threshold ", threshold, ", point ", i));
        }
      }
    }
  }
}

TEST(KnownClassifierTest, MeasuredErrorsOfThresholdsAreTheClosedForm) {
  const OverlyRobustFeature parameters{
      .agreement = 0.85, .oracle_nearest = 5, .oracle_farthest = 40, .robust_nearest = 60, .robust_farthest = 115};
  const auto rule = Rule(parameters);
  for (const uint32_t feature : {0u, 1u}) {
    for (const double threshold : {0.3, 0.45, 0.5, 0.52, 0.8}) {
      const ThresholdClassifier classifier = {feature, threshold};
      std::vector<Measured> measured(kEpsilons.size());
      for (uint64_t i = 0; i < 4000; ++i) {
        const std::vector<float> features = Drawn(*rule, i);
        const KnownDistances distances = DistancesOf(classifier, features);
        EXPECT_EQ(distances.right, Predict(classifier, features) == rule->Label(features));
        for (size_t e = 0; e < kEpsilons.size(); ++e) Count(distances, kEpsilons[e], measured[e]);
      }
      for (size_t e = 0; e < kEpsilons.size(); ++e) {
        ExpectInside(measured[e], ErrorsOf(parameters, classifier, kEpsilons[e]),
                     absl::StrCat("feature ", feature, ", threshold ", threshold, ", epsilon ", kEpsilons[e]));
      }
    }
  }
}

// The formulas of docs/rule-data.md; the share of levels of the first feature within ε of 1/2 is P.
TEST(KnownClassifierTest, TheDocumentedFormulas) {
  const OverlyRobustFeature parameters;  // 0.9; levels 5 … 26 and 90 … 115
  const auto within = [](double epsilon) {
    double levels = 0;
    for (uint32_t j = 5; j <= 26; ++j) levels += (j + 0.5) / 255 <= epsilon;
    return levels / 22;
  };
  for (const double epsilon : {8.0 / 255, 16.0 / 255, 64.0 / 255}) {
    const KnownErrors oracles = ErrorsOf(parameters, {0, 0.5}, epsilon);
    EXPECT_NEAR(oracles.clean, 0, 1e-12);
    EXPECT_NEAR(oracles.sensitivity, 0, 1e-12);
    EXPECT_NEAR(oracles.invariance, 0, 1e-12);
    EXPECT_NEAR(oracles.ball, within(epsilon), 1e-12);
    const KnownErrors robust = ErrorsOf(parameters, {1, 0.5}, epsilon);
    EXPECT_NEAR(robust.clean, 0.1, 1e-12);
    EXPECT_NEAR(robust.sensitivity, 0.1, 1e-12);
    EXPECT_NEAR(robust.ball, 0.1, 1e-12);
    EXPECT_NEAR(robust.invariance, 0.9 * within(epsilon), 1e-12);
    const double moved_by = 10.0 / 255;
    const KnownErrors moved = ErrorsOf(parameters, {0, 0.5 + moved_by}, epsilon);
    EXPECT_NEAR(moved.clean, within(moved_by) / 2, 1e-12);
    EXPECT_NEAR(moved.sensitivity, within(moved_by + epsilon) / 2, 1e-12);
    EXPECT_NEAR(moved.invariance, within(epsilon) / 2, 1e-12);
  }
}

// No classifier can be right on two points of different classes whose balls meet. Of the examples that share the side
// and the level of the second feature, those whose label it contradicts weigh 1 − p, the others p; how much of the
// former can be paired off with neighbours among the latter is given by Hall's theorem, here over all subsets.
double SlowLeastBallError(const OverlyRobustFeature& parameters, double epsilon) {
  const uint32_t levels = parameters.oracle_farthest - parameters.oracle_nearest + 1;
  const auto margin = [&](uint32_t i) { return (parameters.oracle_nearest + i + 0.5) / 255; };
  double unpaired = 0;
  for (uint32_t subset = 0; subset < (1u << levels); ++subset) {
    uint32_t members = 0, neighbours = 0;
    for (uint32_t i = 0; i < levels; ++i) members += subset >> i & 1;
    for (uint32_t j = 0; j < levels; ++j) {
      bool meets = false;
      for (uint32_t i = 0; i < levels; ++i) meets |= (subset >> i & 1) && margin(i) + margin(j) <= 2 * epsilon;
      neighbours += meets;
    }
    unpaired = std::max(unpaired, ((1 - parameters.agreement) * members - parameters.agreement * neighbours) / levels);
  }
  return 1 - parameters.agreement - unpaired;
}

// Says what the first feature says where that is more than `margin` from 1/2, and what the second says elsewhere.
// Whether all points at most `epsilon` (ℓ∞) from the example, whose second feature is robust at it, get `label`.
bool RightInTheBall(double first, double second, bool label, double margin, double epsilon) {
  const double toward = label ? first - 0.5 : 0.5 - first;  // how far on the label's side
  const bool second_says = (second > 0.5) == label;
  return second_says ? toward - epsilon >= -margin : toward - epsilon > margin;
}

TEST(KnownClassifierTest, TheLeastBallErrorIsTheBoundOfEveryClassifier_AndIsReached) {
  for (const double agreement : {0.5, 0.8, 0.95, 1.0}) {
    for (const uint32_t nearest : {0u, 3u, 20u}) {
      const OverlyRobustFeature parameters{
          .agreement = agreement, .oracle_nearest = nearest, .oracle_farthest = nearest + 7};
      for (double levels = 0.75; levels < 60; levels += 0.5) {  // twice ε falls on no sum of two margins
        const double epsilon = levels / 255;
        const double least = LeastBallError(parameters, epsilon);
        EXPECT_NEAR(least, SlowLeastBallError(parameters, epsilon), 1e-12) << nearest << " " << levels;
        const double margin = std::max(0.0, epsilon - (nearest + 0.5) / 255) + 1e-9;
        double wrong = 0;
        for (const bool label : {false, true}) {
          for (const bool agrees : {false, true}) {
            for (uint32_t j = nearest; j <= nearest + 7; ++j) {
              const double first = (label ? 128.0 + j : 127.0 - j) / 255;
              const bool right = RightInTheBall(first, label == agrees ? 0.9 : 0.1, label, margin, epsilon);
              wrong += right ? 0 : (agrees ? agreement : 1 - agreement) / 16;
            }
          }
        }
        EXPECT_NEAR(wrong, least, 1e-12) << agreement << " " << nearest << " " << levels;
      }
    }
  }
}

// What adversarial training is drawn to: past the first feature's margins the robust feature alone is optimal for the
// ball, and it is wrong about every invariance example that it can be.
TEST(KnownClassifierTest, PastTheMarginsTheOptimumForTheBallIsOverlyRobust) {
  const OverlyRobustFeature parameters;
  const double epsilon = 0.3;
  const KnownErrors robust = ErrorsOf(parameters, {1, 0.5}, epsilon);
  EXPECT_NEAR(robust.ball, LeastBallError(parameters, epsilon), 1e-12);
  EXPECT_NEAR(robust.invariance, parameters.agreement, 1e-12);
  EXPECT_NEAR(ErrorsOf(parameters, {0, 0.5}, epsilon).ball, 1, 1e-12);
  EXPECT_NEAR(ErrorsOf(parameters, {0, 0.5}, epsilon).invariance, 0, 1e-12);
}

}  // namespace
}  // namespace tightrope
