// Classifiers of rule data whose errors are known in closed form: what a measured error can be held against.
// docs/rule-data.md derives the formulas.
//
// A point is a sensitivity example of x where it is at most ε away, has the label of x, and is classified otherwise; an
// invariance example where it is at most ε away, has the other label, and is classified as x is. Both are asked of
// points that are classified right.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "core/oracle/rule_dataset.h"

namespace tightrope {

// Shares of all examples that the data set draws.
struct KnownErrors {
  double clean = 0;        // classified wrong
  double sensitivity = 0;  // classified wrong, or with a sensitivity example within ε: 1 − robust accuracy
  double invariance = 0;   // classified right, with an invariance example within ε
  // Classified wrong, or with any point within ε that is classified unlike x, whatever its label: what an attack
  // measures that takes the ball to keep the label, and what adversarial training lowers.
  double ball = 0;
};

// How far a point that is classified right is from its nearest sensitivity and invariance example, and from the nearest
// point that is classified otherwise; infinite where there is none. For a point that is classified wrong, invariance is
// infinite and the others are 0.
struct KnownDistances {
  bool right = true;
  double sensitivity = 0;
  double invariance = 0;
  double ball = 0;
};

// For concentric spheres, in ℓ2: says 1 where the first `coordinates` features are more than `threshold` away from the
// middle. With fewer than all coordinates it looks at too little and errs in both ways; with all of them it is the rule
// with its radius moved.
struct NormClassifier {
  uint32_t coordinates = 1;  // 1 … dimension
  double threshold = 0;      // above 0, below 0.5
};

// REQUIRES (all): parameters as MakeRuleDataset takes, and what is said of the classifier's.
int32_t Predict(const NormClassifier& classifier, absl::Span<const float> features);
// `features`: a point whose label is the rule's, at most 0.5 from the middle.
KnownDistances DistancesOf(const ConcentricSpheres& spheres, const NormClassifier& classifier,
                           absl::Span<const float> features);
// Of the features as they are drawn, before rounding to grey levels. `epsilon` ≥ 0, in ℓ2. By the share of a sphere's
// squared radius that lies in k of d coordinates, which is Beta(k/2, (d − k)/2).
KnownErrors ErrorsOf(const ConcentricSpheres& spheres, const NormClassifier& classifier, double epsilon);

// For the overly-robust feature, in any ℓp norm: says 1 where feature `feature` is above `threshold`.
struct ThresholdClassifier {
  uint32_t feature = 0;    // 0: what the rule reads; 1: the overly robust one
  double threshold = 0.5;  // above 0, below 1
};

int32_t Predict(const ThresholdClassifier& classifier, absl::Span<const float> features);
KnownDistances DistancesOf(const ThresholdClassifier& classifier, absl::Span<const float> features);
// Exact for ε that no drawn feature is from 1/2 or the threshold: whole grey levels (k/255) are not from 1/2, but 0.1
// is (level 25).
KnownErrors ErrorsOf(const OverlyRobustFeature& parameters, const ThresholdClassifier& classifier, double epsilon);

// The least `ball` error that any classifier of the overly-robust feature can have, in any ℓp norm:
// (1 − agreement)·min(1, max(0, ⌊510·ε⌋ − 2·oracle_nearest) / levels of the first feature).
// REQUIRES: ε below the distance from 1/2 of the robust feature's nearest level.
double LeastBallError(const OverlyRobustFeature& parameters, double epsilon);

}  // namespace tightrope
