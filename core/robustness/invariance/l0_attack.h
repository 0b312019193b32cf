// The l0 attack by invariance-based examples of "Fundamental Tradeoffs between Invariance and Sensitivity to
// Adversarial Perturbations" (Tramèr, Behrmann, Carlini, Papernot, Jacobsen, ICML 2020), after the authors'
// l0/invariant_l0_attack.py: a few pixels of an image are replaced by those of one of another class, such that a person
// sees that class.
//
//   1. The affine transform of a training image of another class that differs from the source in the fewest pixels
//      (AffineSearch).
//   2. The pixels that differ, as groups of neighbours (DBSCAN), and every way to replace some of these: composites.
//   3. The composite that is changed least among those that are convincing, as a score says; the most convincing one
//      where none is. The published code ends before this: its authors looked at them, and the published examples are
//      their choice.
//
// The published form keeps what the source does and its paper does not say: the matrix and the measure of AffineSearch;
// the composite takes the transformed image without its darkening, though it was chosen for its darkened form; pixels
// differ where |candidate − source| > ½; pixels that belong to no group (DBSCAN's noise) are never replaced. By default
// the composite takes the darkened pixels that the search compared, pixels differ where they are on two sides of ½, and
// noise is a group of its own. In both, the changed pixels are those of the chosen groups and no others change by a
// bit.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "core/random/random_stream.h"
#include "core/robustness/invariance/affine_search.h"
#include "core/robustness/invariance/neighbour_search.h"
#include "core/robustness/invariance/pixel_clusters.h"

namespace tightrope {

// A source some of whose pixels are those of a candidate.
struct L0Composite {
  std::vector<float> pixels = {};   // in [0, 1], of the source's shape
  std::vector<float> aligned = {};  // the same, transformed back to where the candidate was: as its class is written
  int64_t changed = 0;              // pixels that are the candidate's
};

// How convincing composites are. Thread-safe.
class CompositeScore {
 public:
  virtual ~CompositeScore() = default;
  // One number for each composite: the lower the more it looks like an example of `target` and not of `source`; at most
  // 0 where it is convincing. Errors are passed on.
  virtual absl::StatusOr<std::vector<double>> Scores(absl::Span<const L0Composite> composites, uint8_t source,
                                                     uint8_t target) const = 0;
};

// The squared l2 distance to the nearest image of the target class less that to the nearest of any other (pixels
// rounded to 0 … 255): at most 0 where 1-NN says so. Images that the attack did not use give the fairer judge. A class
// without images is infinitely far away.
class NearestNeighbourScore : public CompositeScore {
 public:
  // `images` must outlive the score.
  explicit NearestNeighbourScore(const NeighbourSearch& images) : images_(images) {}
  absl::StatusOr<std::vector<double>> Scores(absl::Span<const L0Composite> composites, uint8_t source,
                                             uint8_t target) const override;

 private:
  const NeighbourSearch& images_;
};

struct L0AttackOptions {
  AffineSearchOptions search = {};  // its published_form is the attack's
  uint32_t transforms = 1000;       // the published search tries up to 10,000,000
  ClusterOptions clusters = {};
  int32_t most_groups = 8;  // in 1 … 16; smaller groups beyond them are replaced together
};

// Errors: INVALID_ARGUMENT (most_groups out of range, a cluster radius that is not in [0, 64]).
absl::Status CheckL0Options(const L0AttackOptions& options);

struct L0Example {
  std::vector<float> pixels = {};  // in [0, 1]; the source's where there is no candidate
  std::optional<AffineCandidate> candidate = {};
  int64_t changed = 0;
  double score = 0;  // of the chosen composite
  bool convincing = false;
  uint32_t composites = 0;  // that were scored
};

// Step 2: one composite for every non-empty choice of groups, in the order of binary numbers whose lowest bit is the
// first group. None where no pixel differs.
std::vector<L0Composite> Composites(absl::Span<const uint8_t> source, const BitImages& training,
                                    const AffineCandidate& candidate, const L0AttackOptions& options);

// All three, for the examples [begin, end) of `sources`, in their order.
// Errors: INVALID_ARGUMENT (as AffineSearch::Create and CheckL0Options), and those of the score, naming the example.
absl::StatusOr<std::vector<L0Example>> L0Attack(const BitImages& training, const Dataset& sources, uint64_t begin,
                                                uint64_t end, const L0AttackOptions& options,
                                                const CompositeScore& score, const RandomStream& stream);

// Steps 2 and 3 for one source and what the search found for it.
absl::StatusOr<L0Example> L0ExampleFrom(absl::Span<const uint8_t> source, uint8_t label, const BitImages& training,
                                        const std::optional<AffineCandidate>& candidate, const L0AttackOptions& options,
                                        const CompositeScore& score);

}  // namespace tightrope
