// What a lease on invariance-based examples says to read, through the artifact cache: which examples of the data their
// sources are, and the examples. Errors, besides those that are named: as ArtifactCache::Read.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/dataset/dataset.h"
#include "tightrope/v1/coordinator.pb.h"
#include "worker/artifact_cache.h"
#include "worker/cancellation.h"

namespace tightrope {

// The indices in `data` of the sources at the positions of `range`. Errors: INVALID_ARGUMENT (as SourceIndices).
absl::StatusOr<std::vector<uint64_t>> ReadSources(const v1::Sources& sources, const v1::Shard& range,
                                                  const Dataset& data, ArtifactCache& artifacts,
                                                  const Cancellation& cancellation);

// The examples of the lease's range, one after another, each of the shape of `data`: rows of the array that its job
// names, or of the files that the lease names. REQUIRES: the lease is of an EvaluateInvarianceJob, and ReadSources
// takes its range. Errors: INVALID_ARGUMENT (as ExampleRows), FAILED_PRECONDITION (the lease's files leave an example
// out).
absl::StatusOr<std::vector<float>> ReadExamples(const v1::Lease& lease, const Dataset& data, ArtifactCache& artifacts,
                                                const Cancellation& cancellation);

}  // namespace tightrope
