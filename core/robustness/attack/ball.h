// Where an adversarial example may be: the norm ball around each example, cut with the valid range [0, 1]. Steps and
// projections of attacks and of adversarial training; both use these and no others.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "core/robustness/random_stream.h"
#include "core/robustness/torch.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// The feasible sets of N examples, one radius each. Feasible means with no tolerance, as a reader of the stored float32
// values would check it: for linf |x* - x| ≤ ε in float32 and in double, for l2 ‖x* - x‖₂ ≤ ε in double; always 0 ≤ x*
// ≤ 1. Points and gradients are N×C×H×W float32 on the device of the centers. Not thread-safe.
class Ball {
 public:
  // `centers`: N×C×H×W float32 in [0, 1]; `epsilon`: N radii, float64, on the CPU. REQUIRES: norm is linf or l2.
  Ball(v1::Norm norm, torch::Tensor centers, const torch::Tensor& epsilon);

  const torch::Tensor& centers() const { return centers_; }

  // One uniform draw in each norm ball, then clipped to [0, 1]: linf in the box; l2 by a normal direction and the
  // radius u^(1/d). Row i is the draw of `stream` at (examples[i], restart).
  torch::Tensor RandomPoints(const RandomStream& stream, absl::Span<const uint32_t> examples, uint32_t restart) const;

  // points += step_size · direction, projected, in place. The direction is the gradient's sign (linf) or the gradient
  // over its l2 norm (l2), where elements that are NaN, and for l2 infinite ones, count as 0; a row that has no
  // direction then stays. `gradient` is used up.
  void Ascend(torch::Tensor& points, torch::Tensor gradient, double step_size) const;

  // To the nearest feasible point (linf), or by scaling towards the center and clipping (l2), in place. For l2 the last
  // bits may be left to MakeFeasible.
  void Project(torch::Tensor& points) const;

  // Moves every row that rounding left outside the l2 ball inside it, in place; returns the indices of the rows that
  // moved. For linf there are none: Project is exact.
  torch::Tensor MakeFeasible(torch::Tensor& points) const;

  // The ball of these rows only. `rows`: int64 on the device.
  Ball Select(const torch::Tensor& rows) const;

 private:
  Ball() = default;

  v1::Norm norm_ = v1::NORM_UNSPECIFIED;
  torch::Tensor centers_;
  torch::Tensor epsilon_;        // N×1×1×1 float64, on the device
  torch::Tensor lower_, upper_;  // linf: the feasible box in float32
};

// The distance that a threat model speaks of, between two arrays of one size, computed in double.
double Distance(v1::Norm norm, absl::Span<const float> from, absl::Span<const float> to);

}  // namespace tightrope
