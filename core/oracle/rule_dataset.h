// Data whose label is a rule: both kinds of adversarial examples then have a ground truth, at any scale, without
// people. docs/rule-data.md derives what the best classifiers can reach on them; known_classifier.h has classifiers
// whose errors are known in closed form.
//
// An example is a vector of features in [0, 1]. Image pipelines take it as pixels: 1 × 1 × features grey levels. The
// rule is defined on both, and agrees on them: an image in grey levels has one label, whether it comes as bytes or as
// byte / 255 in float32. Two classes, 0 and 1, equally likely.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "core/oracle/oracle.h"

namespace tightrope {

// Two spheres around the middle of the box, with a threshold between them (Gilmer et al. 2018, "Adversarial Spheres",
// section 2, where the radii are 1 and 1.3 and d is 500; scaled into the box here). A point is drawn uniformly from one
// of the two; its label is 1 where its ℓ2 distance from the middle is more than the threshold.
struct ConcentricSpheres {
  uint32_t dimension = 500;  // 2 … 65536
  double inner = 0.5 / 1.3;  // radius of class 0, above 0
  double outer = 0.5;        // radius of class 1, at most 0.5: the box ends there
  double threshold = 0;      // of the rule, between the two; 0: halfway
};

// A feature that decides and one that merely goes with it. The rule reads the first alone: label 1 where it is above
// 1/2. On the data that feature stands close to 1/2, so it is not robust; the second stands far from it, on the label's
// side with probability `agreement`, so it is robust, predictive, and not what the rule means: an overly-robust
// predictive feature. (The construction is this project's own, in the spirit of Tramèr et al. 2020, section 5.)
//
// Level j is the pixel 128 + j above 1/2 and 127 − j below it: (j + 1/2)/255 from the middle. The level of each feature
// is uniform in its range, and independent of all else. Features are pixel / 255.
struct OverlyRobustFeature {
  double agreement = 0.9;                               // 0.5 … 1
  uint32_t oracle_nearest = 5, oracle_farthest = 26;    // levels of the first feature, 0 … 127
  uint32_t robust_nearest = 90, robust_farthest = 115;  // levels of the second feature, 0 … 127
};

// Immutable, so safe to share between threads.
class RuleDataset {
 public:
  virtual ~RuleDataset() = default;

  virtual uint32_t features() const = 0;
  // Example `index`, a pure function of (parameters, seed, index): the same bits on every machine, because only
  // operations that IEEE 754 rounds exactly are used. Training and test data are disjoint ranges of one seed.
  // REQUIRES: features() floats.
  virtual void Draw(uint64_t index, absl::Span<float> features) const = 0;
  // The rule. REQUIRES: features() values; NaN is in no class, kNoneOfThese.
  virtual int32_t Label(absl::Span<const float> features) const = 0;
  virtual int32_t LabelOfPixels(absl::Span<const uint8_t> pixels) const = 0;
};

// Errors: INVALID_ARGUMENT (a parameter outside its range, with the range; spheres so close that rounding to grey
// levels could carry a point over the threshold, with the largest dimension that would do).
absl::StatusOr<std::unique_ptr<RuleDataset>> MakeRuleDataset(const ConcentricSpheres& spheres, uint64_t seed);
absl::StatusOr<std::unique_ptr<RuleDataset>> MakeRuleDataset(const OverlyRobustFeature& parameters, uint64_t seed);

// The radius at which the label changes: `threshold` (or halfway), moved by less than 1e-5/threshold to the middle
// between two radii that images in grey levels can have, so that none lies on it. Parameters as MakeRuleDataset takes.
double LabelRadius(const ConcentricSpheres& spheres);

// The nearest grey level of each feature; a half goes up.
std::vector<uint8_t> ToPixels(absl::Span<const float> features);

// Examples [begin, end) as 1 × 1 × features images with the rule's labels. Errors: INVALID_ARGUMENT (an empty range, or
// more than 2^30 pixels).
absl::StatusOr<Dataset> DrawDataset(const RuleDataset& rule, uint64_t begin, uint64_t end);

// `data` as the two IDX files by which a data set is identified; ParseIdx reads them. REQUIRES: one channel.
struct IdxFiles {
  std::string images;
  std::string labels;
};
IdxFiles ToIdx(const Dataset& data);

// The rule as an oracle. REQUIRES: `rule` lives as long as the oracle.
std::unique_ptr<Oracle> MakeRuleOracle(const RuleDataset& rule);

}  // namespace tightrope
