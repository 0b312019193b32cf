// Distance-oracle misalignment, exactly, over all triples of a labelled set.
//
// A triple (x, x1, x2) has an anchor x, another example x1 of x's class and an example x2 of another class. It is
// misaligned where d(x, x1) ≥ d(x, x2): whoever trusts the distance d would sooner give x2 the label of x than x1.
// (Tramèr et al., "Fundamental Tradeoffs between Invariance and Sensitivity to Adversarial Perturbations", ICML 2020.)
// Whether equality counts is left open there, and it is frequent with linf on images, so > and = are counted apart. A
// distance without misaligned triples would be an oracle: its nearest neighbour would always have the right label. How
// far that is from true is the leave-one-out error. And the distance from an anchor to the nearest example of another
// class bounds, by the data alone, the radius in which robustness is not yet excess.
//
// Nothing is sampled: of n examples there are some n³ triples, told from n² distances by ranks (RankTable). All numbers
// are integers, and the order of equal distances is that of the indices, so that any division of the anchors into
// blocks gives the same bits after Merge.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/dataset/dataset.h"
#include "core/robustness/alignment/distance_rows.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// In place of a distance where there is no such example: larger than any distance.
inline constexpr uint32_t kNoDistance = std::numeric_limits<uint32_t>::max();

struct TripleCounts {
  uint64_t triples = 0;
  uint64_t greater = 0;  // d(x, x1) > d(x, x2)
  uint64_t equal = 0;    // so that greater + equal is the number of misaligned triples

  TripleCounts& operator+=(const TripleCounts& other);
  bool operator==(const TripleCounts&) const = default;
};

// An example as a neighbour: of several at the same distance, the one with the lowest index.
struct Neighbour {
  uint32_t index = 0;
  uint32_t distance = kNoDistance;

  bool exists() const { return distance != kNoDistance; }
  bool operator==(const Neighbour&) const = default;
};

struct AnchorRecord {
  uint32_t index = 0;  // in the data set
  uint8_t label = 0;
  TripleCounts triples = {};
  Neighbour nearest_same = {};   // of the anchor's class, the anchor itself left out
  Neighbour nearest_other = {};  // of any other class

  // The label of the nearest neighbour is wrong; among neighbours at the same distance the lowest index decides. False
  // where the anchor is the only example.
  bool NearestIsOfAnotherClass() const;
  // Neighbours at the least distance are of the anchor's class and of another: the label rests on the order of the
  // data.
  bool NearestTiesAcrossClasses() const;
  bool operator==(const AnchorRecord&) const = default;
};

struct MisalignedTriple {
  uint32_t anchor = 0, same = 0, other = 0;  // indices of x, x1 and x2
  uint32_t distance_same = 0, distance_other = 0;
  double gap = 0;  // d(x, x1) − d(x, x2) ≥ 0 as DistanceOfModelInputs

  bool operator==(const MisalignedTriple&) const = default;
};

struct MisalignmentSpec {
  PixelDistance distance = {};
  // How many of the most misaligned triples are kept, at most `most_misaligned_per_anchor` of one anchor (a single odd
  // image would otherwise fill the list). The largest gap goes first, then the largest distance_same, the least
  // distance_other, and the lowest indices: anchor, same, other.
  uint32_t most_misaligned = 0;
  uint32_t most_misaligned_per_anchor = 1;

  bool operator==(const MisalignmentSpec&) const = default;
};

// Sums over anchors.
struct MisalignmentCounts {
  std::vector<TripleCounts> by_pair = {};  // [class of x · classes + class of x2]
  uint64_t anchors = 0;
  uint64_t with_triples = 0;         // the others are alone in their class, or no other class is there
  uint64_t misaligned = 0;           // anchors with a triple d(x, x1) ≥ d(x, x2)
  uint64_t strictly_misaligned = 0;  // … with a triple d(x, x1) > d(x, x2)
  uint64_t with_neighbour = 0;       // all, but for a single example
  uint64_t nearest_of_another_class = 0;
  uint64_t nearest_ties_across_classes = 0;

  TripleCounts Total() const;
  bool operator==(const MisalignmentCounts&) const = default;
};

struct Misalignment {
  MisalignmentSpec spec = {};
  uint32_t classes = 0;
  uint64_t begin = 0, end = 0;  // the anchors
  MisalignmentCounts counts = {};
  std::vector<AnchorRecord> anchors = {};  // end − begin, ascending
  // [(anchor − begin) · classes + class]: distance to the nearest example of that class, the anchor left out;
  // kNoDistance where there is none. Histograms, quantiles by pair of classes and shares of balls follow from it.
  std::vector<uint32_t> nearest_by_class = {};
  std::vector<MisalignedTriple> most_misaligned = {};

  bool operator==(const Misalignment&) const = default;
};

// Appends the anchors that follow. Associative: any order of merging neighbours gives the same. `into` is unchanged on
// error. Errors: INVALID_ARGUMENT (`next` does not begin where `into` ends, or was measured otherwise).
absl::Status Merge(Misalignment& into, const Misalignment& next);

struct MisalignmentProgress {
  double fraction = 0;
  uint64_t anchors_done = 0;
};
// False stops with CANCELLED.
using MisalignmentCallback = std::function<bool(const MisalignmentProgress&)>;

// What the result does not depend on.
struct MisalignmentExecution {
  uint32_t anchors_per_block = 32;  // progress is reported after each; memory: 4 bytes · images · this
  InstructionSet instructions = UsableInstructionSets().back();
};

// The examples [range.begin, range.end) as anchors against all of `data`. Memory: a second copy of the images, the rows
// of one block, and the result, 4·classes + 64 bytes an anchor. `progress` must not be empty. Errors: INVALID_ARGUMENT
// (a range or a label outside of the data, blocks of no anchors, and those of DistanceRows::Create), CANCELLED.
absl::StatusOr<Misalignment> MeasureMisalignment(const Dataset& data, const MisalignmentSpec& spec,
                                                 const v1::Shard& range, const MisalignmentCallback& progress,
                                                 const MisalignmentExecution& execution = {});

}  // namespace tightrope
