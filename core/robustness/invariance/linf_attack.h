// The l-inf attack by invariance-based examples of "Fundamental Tradeoffs between Invariance and Sensitivity to
// Adversarial Perturbations" (Tramèr, Behrmann, Carlini, Papernot, Jacobsen, ICML 2020), after the notebook that the
// authors published: an image x is moved within the ball of radius ε towards one of another class, such that a person
// sees that class, while a model that is robust in the ball does not change its prediction.
//
//   1. For every other class, the training image that is nearest (l2) to any of 775 rotations and shifts of x
//      (NeighbourSearch). It is brought to x by the negated rotation and then the negated shift: the target t.
//   2. Pixel by pixel: x* = t where t is within ε of x and x > 0; x* = x ± ε, towards t, where t is farther away;
//      x* = x where x = 0 and t is within ε. So the background stays black unless the target is clearly not.
//   3. Of the classes that the table allows for x's, the one for which the least is taken away, Σ max(x − x*, 0):
//      what is missing is noticed more than what is new. Of several alike, the first.
//
// Two forms. The default works on pixel / 255 in float32, as models see images, and keeps |x* − x| ≤ ε and 0 ≤ x* ≤ 1
// with no tolerance: the feasible box is that of Ball (core/robustness/attack/ball.h), to the bit. The published form
// computes as the notebook does with numpy, in float32 on 0 … 255; divided by 255 its examples may leave the ball by a
// rounding error. Both choose the same targets but for such errors.
//
// Pure functions of an example, the training set and the options; safe on any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/robustness/invariance/neighbour_search.h"

namespace tightrope {

// For each class of sources, the classes that they may be turned into. A class that has no row, or an empty one, may be
// turned into every other. core/experiment/target_table.h has the authors' choice for digits.
using TargetTable = std::vector<std::vector<uint8_t>>;

// Errors: INVALID_ARGUMENT (more rows than classes, a class that does not exist, a class as its own target, one named
// twice), naming the row.
absl::Status CheckTargets(const TargetTable& targets, uint32_t classes);

// Whether the table lets an example of class `from` be turned into `to`.
bool MayBecome(const TargetTable& targets, uint8_t from, uint8_t to);

struct LinfAttackOptions {
  double epsilon = 0.3;         // in (0, 1], of pixels in [0, 1]
  TargetTable targets = {};     // empty: all other classes
  bool published_form = false;  // the notebook's arithmetic, on 0 … 255
};

struct LinfExample {
  std::vector<float> pixels;  // of the source's shape: in [0, 1], or in the published form in 0 … 255
  ClassNeighbour neighbour;   // the training image that it was moved towards, and by which transform
  double removed = 0;         // Σ max(x − x*, 0), of pixels in [0, 1]
};

// A neighbour as the target: both steps of `move`, negated, of its image. `move` is the point of the grid at which it
// was found.
std::vector<uint8_t> AlignedNeighbour(const NeighbourSearch& search, const ClassNeighbour& neighbour,
                                      const RotationAndShift& move);

// Step 2 in each form. `source` and `target` are of one size.
std::vector<float> MovedTowards(absl::Span<const uint8_t> source, absl::Span<const uint8_t> target, double epsilon);
std::vector<float> MovedTowardsAsPublished(absl::Span<const uint8_t> source, absl::Span<const uint8_t> target,
                                           double epsilon);

// Steps 2 and 3, from neighbours and their targets (one each, in the same order).
// Errors: INVALID_ARGUMENT (ε outside (0, 1], no neighbour of a class that the table allows).
absl::StatusOr<LinfExample> LinfExampleFrom(absl::Span<const uint8_t> source, uint8_t label,
                                            absl::Span<const ClassNeighbour> neighbours,
                                            absl::Span<const std::vector<uint8_t>> targets,
                                            const LinfAttackOptions& options);

// All three, over `grid`, for the examples [begin, end) of `sources`, in their order.
// Errors: as above and as NeighbourSearch::Nearest, naming the example; INVALID_ARGUMENT (an empty or too long range,
// as CheckTargets).
absl::StatusOr<std::vector<LinfExample>> LinfAttack(const NeighbourSearch& search, const Dataset& sources,
                                                    uint64_t begin, uint64_t end,
                                                    absl::Span<const RotationAndShift> grid,
                                                    const LinfAttackOptions& options);

// What the authors published as their set for ε = 0.4: not a run of the attack, but each pixel's change in the set for
// ε = 0.3 (`example`, 0 … 255), times 4/3, in float32 and cut to an integer. It moves pixels by up to 103/255 = 0.404.
// For the comparison with published results; it respects no ball.
std::vector<uint8_t> PublishedScalingOfEps03ToEps04(absl::Span<const uint8_t> source, absl::Span<const float> example);

}  // namespace tightrope
