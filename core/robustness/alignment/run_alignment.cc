#include "core/robustness/alignment/run_alignment.h"

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// No two grey levels differ by more than 255.
constexpr uint32_t kLargestThreshold = 254;

v1::AlignmentResult ToResult(const Misalignment& measured) {
  v1::AlignmentResult result;
  for (size_t i = 0; i < measured.anchors.size(); ++i) {
    const AnchorRecord& record = measured.anchors[i];
    v1::AnchorAlignment& anchor = *result.add_anchors();
    anchor.set_index(record.index);
    anchor.set_label(record.label);
    anchor.set_triples(record.triples.triples);
    anchor.set_greater(record.triples.greater);
    anchor.set_equal(record.triples.equal);
    anchor.set_nearest_same(record.nearest_same.index);
    anchor.set_distance_same(record.nearest_same.distance);
    anchor.set_nearest_other(record.nearest_other.index);
    anchor.set_distance_other(record.nearest_other.distance);
    const uint32_t* const by_class = measured.nearest_by_class.data() + i * measured.classes;
    anchor.mutable_nearest_by_class()->Add(by_class, by_class + measured.classes);
  }
  for (uint32_t from = 0; from < measured.classes; ++from) {
    for (uint32_t to = 0; to < measured.classes; ++to) {
      const TripleCounts& counts = measured.counts.by_pair[size_t{from} * measured.classes + to];
      v1::PairAlignment& pair = *result.add_pairs();
      pair.set_from(from);
      pair.set_to(to);
      pair.set_triples(counts.triples);
      pair.set_greater(counts.greater);
      pair.set_equal(counts.equal);
    }
  }
  for (const MisalignedTriple& triple : measured.most_misaligned) {
    v1::MisalignedTriple& stored = *result.add_most_misaligned();
    stored.set_anchor(triple.anchor);
    stored.set_same(triple.same);
    stored.set_other(triple.other);
    stored.set_distance_same(triple.distance_same);
    stored.set_distance_other(triple.distance_other);
    stored.set_gap(triple.gap);
  }
  return result;
}

}  // namespace

absl::StatusOr<v1::AlignmentResult> RunAlignment(const v1::AlignmentJob& job, const v1::Shard& range,
                                                 const Dataset& data, const MisalignmentCallback& progress) {
  if (job.threshold() > kLargestThreshold) {
    return absl::InvalidArgumentError(absl::StrCat("the threshold of l0 is in grey levels; give at most ",
                                                   kLargestThreshold, ", not ", job.threshold()));
  }
  const MisalignmentSpec spec = {.distance = {.norm = job.norm(), .threshold = static_cast<uint8_t>(job.threshold())},
                                 .most_misaligned = job.most_misaligned(),
                                 .most_misaligned_per_anchor = 1};
  ABSL_ASSIGN_OR_RETURN(const Misalignment measured, MeasureMisalignment(data, spec, range, progress));
  return ToResult(measured);
}

}  // namespace tightrope
