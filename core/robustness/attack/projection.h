// Nearest points within the valid range [0, 1]: of an l1 ball, which APGD in l1 projects onto, and of a hyperplane,
// which FAB steps to. Both come down to one scalar equation a row, in a multiplier that moves every element until its
// end of the range stops it.
//
// Points, centers, weights and results are N×d float32, on one device; radii and offsets are N float64 or float32, on
// any. All arithmetic, sums above all, is float64. A row's result depends on no other row: on the CPU bit for bit; a
// GPU may sum a row in another order when N differs. Nothing is modified. Safe to call from any thread; runs in the
// caller's.
//
// On the CPU a loop over the rows does the work, about ten times as fast as the tensor operations that other devices
// use. Those are declared as well, for the tests that compare the two.
#pragma once

#include "core/robustness/torch.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// The Euclidean projection of each point onto {z : ‖z - center‖₁ ≤ radius, 0 ≤ z ≤ 1}, the intersection itself and not
// one set after the other (Croce & Hein, "Mind the box", ICML 2021, Proposition 1): each element comes nearer to its
// center by one λ ≥ 0 a row, but not past it, and is clipped. λ solves Σ min(max(|x - c| - λ, 0), room) = radius, with
// room the distance from the center to the end of the range on the point's side; by Newton's method, kept in a bracket
// by bisection, instead of the paper's sort.
//
// Points in the set are returned as they are. The result is in [0, 1] with no tolerance; its l1 distance may be above
// the radius by the rounding of d elements to float32. A radius of 0, below 0 or NaN gives the center.
// REQUIRES: finite points, centers in [0, 1].
torch::Tensor ProjectToL1Ball(const torch::Tensor& points, const torch::Tensor& centers, const torch::Tensor& radius);

// The smallest step to a hyperplane inside the box (Croce & Hein, "Minimally distorted adversarial examples with a fast
// adaptive boundary attack", ICML 2020, eq. 5): argmin ‖δ‖_p over w·(x + δ) = b, 0 ≤ x + δ ≤ 1. With
// v = w·sign(b - w·x), element i moves to the side of vᵢ, where it has room mᵢ, by
//   linf  min(λ, mᵢ)
//   l2    min(λ|wᵢ|, mᵢ)
//   l1    mᵢ where |wᵢ| > λ; elements with |wᵢ| = λ share what is left, each the same part of its mᵢ; the others stay.
// Σ |wᵢδᵢ| = |b - w·x| gives λ. For linf and l2 the left side is concave and piecewise linear in λ, so that Newton's
// method from 0 rises to the solution in finitely many passes (about 5) and never overshoots; for l1 it is the
// continuous knapsack, solved by selection instead of a sort.
//
// Where the plane does not meet the box, every element with a weight moves to the end of the box that is nearer to the
// plane. A row whose weights are all 0, or whose offset is NaN, stays; a weight that is NaN or infinite counts as 0.
// Always finite. x + δ may leave [0, 1] by rounding: clamp it.
// REQUIRES: norm is linf, l2 or l1; points in [0, 1].
torch::Tensor StepToHyperplane(v1::Norm norm, const torch::Tensor& points, const torch::Tensor& weights,
                               const torch::Tensor& offsets);

// The same two by tensor operations, on any device.
torch::Tensor ProjectToL1BallByTensors(const torch::Tensor& points, const torch::Tensor& centers,
                                       const torch::Tensor& radius);
torch::Tensor StepToHyperplaneByTensors(v1::Norm norm, const torch::Tensor& points, const torch::Tensor& weights,
                                        const torch::Tensor& offsets);

}  // namespace tightrope
