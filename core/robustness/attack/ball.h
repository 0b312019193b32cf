// Where an adversarial example may be: the norm ball around each example, cut with the valid range [0, 1]. Steps and
// projections of attacks and of adversarial training; both use these and no others.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "core/random/random_stream.h"
#include "core/robustness/torch.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// The feasible sets of N examples, one radius each. Feasible means with no tolerance, as a reader of the stored float32
// values would check it: for linf |x* - x| ≤ ε in float32 and in double, for l2 and l1 ‖x* - x‖ ≤ ε in double, for l0
// at most ε elements differ; always 0 ≤ x* ≤ 1. Of the spatial threat model only the box is kept here: which inputs are
// rotations of the center, the attack knows. Points and gradients are N×C×H×W float32 on the device of the centers. Not
// thread-safe.
class Ball {
 public:
  // `centers`: N×C×H×W float32 in [0, 1]; `epsilon`: N radii, float64.
  Ball(v1::Norm norm, const torch::Tensor& centers, const torch::Tensor& epsilon);

  v1::Norm norm() const { return norm_; }
  const torch::Tensor& centers() const { return centers_; }
  const torch::Tensor& epsilon() const { return epsilon_; }  // N×1×1×1 float64, on the device

  // The feasible box, N×C×H×W. REQUIRES: linf.
  const torch::Tensor& lower() const { return lower_; }
  const torch::Tensor& upper() const { return upper_; }

  // One uniform draw in each norm ball, then clipped to [0, 1]: linf in the box; l2 by a normal direction and the
  // radius u^(1/d); l1 by exponential coordinates of random sign and the radius u^(1/d); l0 uniform values for ⌊ε⌋
  // random elements. Row i is the draw of `stream` at (examples[i], restarts[i]). REQUIRES, here and below where a norm
  // is not named: it is not spatial.
  torch::Tensor RandomPoints(const RandomStream& stream, absl::Span<const uint32_t> examples,
                             absl::Span<const uint32_t> restarts) const;
  // As AutoPGD starts (Croce and Hein 2020, 2021): linf a uniform offset scaled to length ε, l2 a normal offset scaled
  // to length ε, l1 a normal offset projected to the ball; then clipped. REQUIRES: linf, l2 or l1.
  torch::Tensor SurfacePoints(const RandomStream& stream, absl::Span<const uint32_t> examples,
                              absl::Span<const uint32_t> restarts) const;

  // Each row a point of ⌊ε⌋ random elements, all others as in the example: `values` (N×C×H×W) there. REQUIRES: l0.
  torch::Tensor WithRandomElements(const RandomStream& stream, absl::Span<const uint32_t> examples,
                                   absl::Span<const uint32_t> restarts, const torch::Tensor& values) const;

  // points += step · direction, projected, in place. `step`: N×1×1×1 float32. The direction is that of steepest ascent,
  // of norm 1: the gradient's sign (linf), the gradient over its l2 norm (l2), the signs of its largest twentieth of
  // elements over their number (l1; Tramèr and Boneh 2019). Elements that are NaN, and for l2 and l1 infinite ones,
  // count as 0; a row without direction stays. `gradient` is used up. REQUIRES: linf, l2 or l1.
  void Ascend(torch::Tensor& points, torch::Tensor gradient, const torch::Tensor& step) const;
  // AutoPGD's step (Croce and Hein 2020, algorithm 1, lines 7 and 8): z = Ascend(points), returned is the projection of
  // points + a·(z − points) + (1 − a)·(points − before).
  torch::Tensor AscendWithMomentum(const torch::Tensor& points, const torch::Tensor& before,
                                   const torch::Tensor& gradient, const torch::Tensor& step, double a) const;
  // The direction alone, in place of the gradient.
  torch::Tensor Direction(torch::Tensor gradient) const;

  // To the nearest feasible point (linf, l1; for l0 those of the largest changes stay, the first of several alike), or
  // by scaling towards the center and clipping (l2), in place. For l2 and l1 the last bits may be left to MakeFeasible.
  void Project(torch::Tensor& points) const;

  // Moves every row that lies outside the l2 or l1 ball inside it, in place; returns the indices of the rows that
  // moved. For rounding errors, not for far points. For linf there are none: Project is exact.
  torch::Tensor MakeFeasible(torch::Tensor& points) const;

  // ε, 2ε … : a ball of other radii around the same centers.
  Ball Scaled(double factor) const { return Ball(norm_, centers_, epsilon_ * factor); }
  // The ball of these rows only. `rows`: int64 on the device.
  Ball Select(const torch::Tensor& rows) const;

 private:
  Ball() = default;
  torch::Tensor LinfMomentumStep(const torch::Tensor& points, const torch::Tensor& before,
                                 const torch::Tensor& gradient, const torch::Tensor& step, double a) const;

  v1::Norm norm_ = v1::NORM_UNSPECIFIED;
  torch::Tensor centers_;
  torch::Tensor epsilon_;        // N×1×1×1 float64, on the device
  torch::Tensor lower_, upper_;  // linf: the feasible box in float32
};

// N values as N×1×1×1, to stand beside points.
inline torch::Tensor PerRow(const torch::Tensor& values) { return values.view({-1, 1, 1, 1}); }

// into[i] = from[i] for the rows i of `rows` (N bool); others are not touched.
void CopyRows(const torch::Tensor& rows, const torch::Tensor& from, torch::Tensor& into);

// The signs of each row's elements of largest size, over their number: of each row the `share` (N, in (0, 1]) of its d
// elements, at least one, ties included; zeros, NaN and infinities count for nothing. `gradient`: N×C×H×W; used up.
torch::Tensor SparseSigns(torch::Tensor gradient, const torch::Tensor& share);

// The distances that the four threat models speak of, N×4 float64 in the order linf, l2, l1, l0 (elements that differ),
// on the points' device, computed in double.
torch::Tensor Distances(const torch::Tensor& from, const torch::Tensor& to);
// Where `norm` stands among them.
int64_t DistanceColumn(v1::Norm norm);

// How long each row is in linf, l2 or l1: N float32 of N×….
torch::Tensor RowLengths(v1::Norm norm, const torch::Tensor& rows);
// The norm that measures gradients where `norm`, one of these, measures points.
v1::Norm DualOf(v1::Norm norm);

}  // namespace tightrope
