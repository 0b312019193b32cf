// Invariance-based examples by gradients: a point in the ball around a source that an oracle model says is something
// else, while the attacked model says what it says of the source. Where no person is at hand, the oracle is a model
// that is trusted more than the attacked one, such as one that was trained without its invariance.
//
// With the source x, its label y, the attacked model f, what it says of the source c = argmax f(x), the oracle o, and
// ℓ a loss of o's logits that is large where o leaves y (cross-entropy, or max_{k≠y} o_k − o_y):
//
//   maximise ℓ(o(x'), y)   where argmax f(x') = c,   ‖x' − x‖ ≤ ε,   0 ≤ x' ≤ 1
//
// m(x') = max_{k≠c} f_k(x') − f_c(x') is negative where the prediction is kept. Two forms, which differ in what they
// ascend at a point that violates m(x') + κ ≤ 0:
//
//   penalty     the gradient of  L(x') = ℓ(o(x'), y) − λ·max(0, m(x') + κ)  everywhere. An exact penalty: its maximum
//               is the constrained one where λ is at least the constraint's multiplier (how much ℓ a unit of m is
//               worth), and outside the constraint where it is less, so that little that is found counts. A far too
//               large λ does as `projected`.
//   projected   constraint first, as switching subgradient methods (Polyak 1967):
//                 ∇ℓ(o(x'), y)   where argmax f(x') = c and m(x') + κ ≤ 0
//                 −∇m(x')        elsewhere, back to where f says c
//               It has no λ, and does not care how the two models' logits are scaled.
//
// A step goes along the gradient over its l2 norm and then back into the ball, in every norm, and steps shrink along
// half a cosine to nothing. Steps of steepest ascent, the signs of PGD in linf, are for a loss alone: under a
// constraint they forget which pixels gain much for little, and on random linear models in linf they end at about two
// thirds of the constrained maximum, these at 93 % and more.
//
// Every point that is looked at is judged. Kept is, of those with f's prediction c, first of all one that o says is not
// y, and then the one with the largest oracle margin max_{k≠y} o_k − o_y; the source itself is the first of them, so
// there always is one. κ says where the search turns back, not what counts. Logits that are not finite count for
// nothing: neither as kept nor as changed.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "core/random/random_stream.h"
#include "core/robustness/model/classifier.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

enum class OracleGuidedForm { kPenalty, kProjected };

struct OracleGuidedOptions {
  v1::Norm norm = v1::NORM_LINF;  // linf, l2 or l1
  double epsilon = 0.3;           // above 0, of pixels in [0, 1]
  OracleGuidedForm form = OracleGuidedForm::kProjected;
  v1::AttackLoss loss = v1::ATTACK_LOSS_MARGIN;  // ℓ: MARGIN or CE, whose gradient fades where the oracle is sure of y
  double penalty = 10;                           // λ, of the penalty form
  double turning_margin = 0;                     // κ
  uint32_t steps = 100;
  double travel = 20;  // how far all steps of a run lead together, about, in radii of the ball
  uint32_t restarts = 1;
  bool random_start = true;  // else the first run starts at the source
};

// What the attack runs on; must outlive it. The models are on one device and give logits for the data set's classes
// (the oracle no fewer, the attacked model at least two).
struct OracleGuidedRun {
  Classifier& model;
  Classifier& oracle;
  const RandomStream& stream;                 // starts are its draws at (index of the example, restart)
  std::function<absl::Status()> looked = {};  // after every step; an error (CANCELLED) ends the attack
};

struct OracleGuidedExample {
  std::vector<float> pixels;  // C×H×W, in the ball as Ball has it: stored, in float32, with no tolerance
  // f says c and o does not say y, when both are asked once more about what is stored.
  bool success = false;
  int32_t kept_prediction = -1;   // c; -1: f's logits at the source were not finite, and the example is the source
  int32_t model_prediction = -1;  // f's and o's of the example; -1: logits that are not finite
  int32_t oracle_prediction = -1;
  double oracle_margin = 0;  // of the example; means nothing where the oracle's prediction is -1
};

// One a source, in the order of `indices` (of examples of `data`). A source that the oracle itself gets wrong is a
// success as it is. A function of (models, sources, options, stream), but for the last bits of logits, which may
// depend on what shares a batch.
// Errors: INVALID_ARGUMENT (options out of their range, an index that is no example, arrays that do not match the data
// set's shape, models that do not take the data or lack classes), and what `looked` returns.
absl::StatusOr<std::vector<OracleGuidedExample>> OracleGuidedAttack(const OracleGuidedRun& run, const Dataset& data,
                                                                    absl::Span<const uint32_t> indices,
                                                                    const OracleGuidedOptions& options);

}  // namespace tightrope
