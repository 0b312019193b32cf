// From an alignment job and a block of its anchors to the result that is stored.
#pragma once

#include "absl/status/statusor.h"
#include "core/dataset/dataset.h"
#include "core/robustness/alignment/misalignment.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// What MeasureMisalignment finds, to the last triple; the sums that it leaves out follow from the anchors. `pairs` has
// classes² rows, that of (from, to) at from · classes + to; a class with itself has no triples. `range` is in examples
// of `data`; of `job` the norm, the threshold and the number of triples are read, of which an anchor has at most one.
// `progress` must not be empty. Errors: INVALID_ARGUMENT (a threshold beyond 254 grey levels, as MeasureMisalignment),
// CANCELLED.
absl::StatusOr<v1::AlignmentResult> RunAlignment(const v1::AlignmentJob& job, const v1::Shard& range,
                                                 const Dataset& data, const MisalignmentCallback& progress);

}  // namespace tightrope
