// Invariance-based examples on the way to another class: from a source x along a line to an image t of another class,
// as far as the ball of radius ε around x reaches. The plainest attack of its kind: where the ball holds t itself, the
// example is an image that people labelled otherwise, and no model that is constant in the ball can be right about
// both.
//
//   x* = x + s·(t − x), with the largest s ≤ 1 for which ‖x* − x‖ ≤ ε in linf, l2 or l1
//
// t is the nearest of several: one image of each class that may be aimed at, and of these the one whose distance from x
// in the attack's norm is the least (in whole grey levels, so that equal is equal; then the first). Two paths differ in
// what that image is:
//
//   straight      the class's training image nearest to x
//   transformed   the class's training image nearest to any of the rotations and shifts of x (NeighbourSearch), brought
//                 to x by the negated rotation and shift, as the linf attack brings it
//
// The nearest of a class is the nearest in l2, as for the linf attack, whichever norm the ball is of.
//
// Examples are in the ball as they are stored, in float32, with no tolerance, and what "in the ball" means is what Ball
// says (core/robustness/attack/ball.h): for linf |x* − x| ≤ ε in float32 and in double, for l2 and l1 the norm in
// double, in whatever order a reader adds, x being pixel / 255 in float32. x* is rounded from double once an element,
// so each element lies between x and t, and so between 0 and 1; at s = 1 it is t, to the bit. As all this rises with s,
// the largest s is found by bisection, and a larger ε never gives a smaller s.
//
// Pure functions of an example, the training set and the options; safe on any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/robustness/invariance/linf_attack.h"
#include "core/robustness/invariance/neighbour_search.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

struct InterpolateAttackOptions {
  v1::Norm norm = v1::NORM_L2;  // linf, l2 or l1
  double epsilon = 1;           // above 0, of pixels in [0, 1]
  bool transformed = false;     // the path; else straight
  TargetTable targets = {};     // empty: all other classes
};

struct InterpolatedExample {
  std::vector<float> pixels;  // of the source's shape, in [0, 1]
  ClassNeighbour neighbour;   // the training image that it was moved towards, and by which transform
  double share = 0;           // s: how much of the way to t it went
  double distance = 0;        // from the source, in the attack's norm
};

// x + s·(t − x), as stored. `source` and `target` are of one size; 0 ≤ share ≤ 1.
std::vector<float> PointBetween(absl::Span<const uint8_t> source, absl::Span<const uint8_t> target, double share);

// The example from neighbours and their images t (one each, in the same order).
// Errors: INVALID_ARGUMENT (ε that is not finite or not above 0, another norm, no neighbour of a class that the table
// allows).
absl::StatusOr<InterpolatedExample> InterpolatedExampleFrom(absl::Span<const uint8_t> source, uint8_t label,
                                                            absl::Span<const ClassNeighbour> neighbours,
                                                            absl::Span<const std::vector<uint8_t>> images,
                                                            const InterpolateAttackOptions& options);

// With its neighbours, for the examples [begin, end) of `sources`, in their order. `grid` is what the transformed path
// searches; the straight one does not look at it.
// Errors: as above and as NeighbourSearch::Nearest, naming the example; INVALID_ARGUMENT (an empty or too long range,
// as CheckTargets).
absl::StatusOr<std::vector<InterpolatedExample>> InterpolateAttack(const NeighbourSearch& search,
                                                                   const Dataset& sources, uint64_t begin, uint64_t end,
                                                                   absl::Span<const RotationAndShift> grid,
                                                                   const InterpolateAttackOptions& options);

}  // namespace tightrope
