// Results of alignments. Their counts are exact, so what contradicts itself is wrong, not imprecise.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <vector>

#include "coordinator/result_checks.h"
#include "core/robustness/alignment/distance_rows.h"
#include "core/robustness/alignment/misalignment.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// Gaps are differences of distances in double precision.
constexpr double kRounding = 1e-9;

template <typename Message>
TripleCounts CountsOf(const Message& message) {
  return {.triples = message.triples(), .greater = message.greater(), .equal = message.equal()};
}

bool CountsMoreThanThereIs(const TripleCounts& counts) {
  return counts.greater > counts.triples || counts.equal > counts.triples - counts.greater;
}

absl::Status CheckDistances(const v1::AnchorAlignment& anchor, const v1::DatasetRef& data) {
  if (static_cast<uint32_t>(anchor.nearest_by_class_size()) != data.classes()) {
    return Wrong("an anchor has not a distance to each class: anchor ", anchor.index(), ", wanted ", data.classes(),
                 ", got ", anchor.nearest_by_class_size());
  }
  uint32_t other = kNoDistance;
  for (uint32_t c = 0; c < data.classes(); ++c) {
    if (c != anchor.label()) other = std::min(other, anchor.nearest_by_class(static_cast<int>(c)));
  }
  if (anchor.nearest_by_class(static_cast<int>(anchor.label())) != anchor.distance_same() ||
      other != anchor.distance_other()) {
    return Wrong("an anchor's nearest distances are not the least of those by class: anchor ", anchor.index());
  }
  const struct {
    uint32_t index, distance;
  } neighbours[] = {{anchor.nearest_same(), anchor.distance_same()}, {anchor.nearest_other(), anchor.distance_other()}};
  for (const auto& [index, distance] : neighbours) {
    if (distance != kNoDistance && (index >= data.count() || index == anchor.index())) {
      return Wrong("an anchor's nearest example is none of the others: anchor ", anchor.index(), ", ", index);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckAnchor(const v1::AnchorAlignment& anchor, uint64_t index, const v1::DatasetRef& data) {
  if (anchor.index() != index) return Wrong("an anchor is another one: wanted ", index, ", got ", anchor.index());
  if (anchor.label() >= data.classes()) {
    return Wrong("a label is out of range: anchor ", index, ", ", anchor.label());
  }
  ABSL_RETURN_IF_ERROR(CheckDistances(anchor, data));
  const TripleCounts counts = CountsOf(anchor);
  if (CountsMoreThanThereIs(counts) || counts.triples > data.count() * data.count()) {
    return Wrong("an anchor counts more triples than there are: anchor ", index);
  }
  const uint32_t same = anchor.distance_same(), other = anchor.distance_other();
  const bool has_triples = same != kNoDistance && other != kNoDistance;
  // The nearest two are a triple.
  if (has_triples != (counts.triples > 0) || (has_triples && same > other && counts.greater == 0) ||
      (has_triples && same == other && counts.equal == 0)) {
    return Wrong("an anchor's triples contradict its nearest examples: anchor ", index);
  }
  return absl::OkStatus();
}

// `of_class`: sums over the anchors of each class.
absl::Status CheckPairs(const v1::AlignmentResult& alignment, const std::vector<TripleCounts>& of_class) {
  const auto classes = static_cast<uint32_t>(of_class.size());
  std::vector<TripleCounts> sums(classes);
  int64_t last = -1;
  for (const v1::PairAlignment& pair : alignment.pairs()) {
    if (pair.from() >= classes || pair.to() >= classes) {
      return Wrong("a pair is of classes that the data set lacks: ", pair.from(), " to ", pair.to());
    }
    const int64_t place = int64_t{pair.from()} * classes + pair.to();
    if (place <= last) return Wrong("the pairs are not in order: ", pair.from(), " to ", pair.to());
    last = place;
    const TripleCounts counts = CountsOf(pair);
    if (CountsMoreThanThereIs(counts) || (pair.from() == pair.to() && counts.triples > 0)) {
      return Wrong("a pair counts more triples than there are: ", pair.from(), " to ", pair.to());
    }
    sums[pair.from()] += counts;
  }
  for (uint32_t c = 0; c < classes; ++c) {
    if (!(sums[c] == of_class[c])) return Wrong("the pairs do not add up to the anchors: class ", c);
  }
  return absl::OkStatus();
}

absl::Status CheckMostMisaligned(const v1::AlignmentJob& job, const v1::Shard& range,
                                 const v1::AlignmentResult& alignment) {
  if (static_cast<uint32_t>(alignment.most_misaligned_size()) > job.most_misaligned()) {
    return Wrong("more of the most misaligned triples than were asked for: wanted ", job.most_misaligned(), ", got ",
                 alignment.most_misaligned_size());
  }
  std::set<uint32_t> anchors;
  double last = std::numeric_limits<double>::infinity();
  for (const v1::MisalignedTriple& triple : alignment.most_misaligned()) {
    if (triple.anchor() < range.begin() || triple.anchor() >= range.end() || !anchors.insert(triple.anchor()).second) {
      return Wrong("a misaligned triple is not of an anchor of this shard, or the anchor's second: anchor ",
                   triple.anchor());
    }
    if (std::max(triple.same(), triple.other()) >= job.data().count() || triple.same() == triple.anchor() ||
        triple.other() == triple.anchor() || triple.same() == triple.other()) {
      return Wrong("a misaligned triple is not of three examples: anchor ", triple.anchor());
    }
    // The farthest of the anchor's class and the nearest of another one.
    const v1::AnchorAlignment& anchor = alignment.anchors(static_cast<int>(triple.anchor() - range.begin()));
    if (triple.distance_same() == kNoDistance || triple.distance_same() < anchor.distance_same() ||
        triple.distance_other() != anchor.distance_other() || triple.distance_same() < triple.distance_other()) {
      return Wrong("a misaligned triple's distances are not its anchor's: anchor ", triple.anchor());
    }
    const double gap = DistanceOfModelInputs(job.norm(), triple.distance_same()) -
                       DistanceOfModelInputs(job.norm(), triple.distance_other());
    if (!(std::abs(triple.gap() - gap) <= kRounding) || triple.gap() > last) {
      return Wrong("a misaligned triple's gap is not that of its distances, or not in order: anchor ", triple.anchor());
    }
    last = triple.gap();
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAlignment(const v1::AlignmentJob& job, const v1::Shard& range, const v1::ShardResult& result) {
  if (!result.records().empty() || !result.artifacts().empty() || !result.epochs().empty() ||
      result.has_diagnostics()) {
    return Wrong("an alignment has no records, files, epochs or diagnostics");
  }
  const v1::AlignmentResult& alignment = result.alignment();
  if (static_cast<uint64_t>(alignment.anchors_size()) != range.end() - range.begin()) {
    return Wrong("the number of anchors differs: wanted ", range.end() - range.begin(), ", got ",
                 alignment.anchors_size());
  }
  std::vector<TripleCounts> of_class(job.data().classes());
  for (int i = 0; i < alignment.anchors_size(); ++i) {
    const v1::AnchorAlignment& anchor = alignment.anchors(i);
    ABSL_RETURN_IF_ERROR(CheckAnchor(anchor, range.begin() + static_cast<uint64_t>(i), job.data()));
    of_class[anchor.label()] += CountsOf(anchor);
  }
  ABSL_RETURN_IF_ERROR(CheckPairs(alignment, of_class));
  return CheckMostMisaligned(job, range, alignment);
}

}  // namespace tightrope
