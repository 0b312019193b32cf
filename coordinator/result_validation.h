// Is what a worker reports what its lease asked for? A worker with a bug, or of another version, must not spoil the
// store.
#pragma once

#include "absl/status/status.h"
#include "coordinator/scheduler_events.h"
#include "core/artifact/blob_store.h"
#include "tightrope/v1/coordinator.pb.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// Checks the result of the shard `range` of a job: records cover exactly the range, ascending, with labels,
// predictions, verdicts, radii and distances that this kind of job can have; a training has all its epochs and one
// "weights", what makes invariance-based examples one "examples"; an alignment's counts agree with each other; every
// artifact is in `blobs` with the size that is said. INVALID_ARGUMENT says what is wrong. Looks at files.
absl::Status ValidateResult(const v1::JobSpec& spec, const v1::Shard& range, const v1::ShardResult& result,
                            const BlobStore& blobs);

// Checks epochs of a running training that follow `stored` stored ones (or redo some). Looks at no file: whether their
// checkpoint is there is ValidateArtifact's to say. Errors: INVALID_ARGUMENT.
absl::Status ValidateEpochs(const v1::TrainJob& train, size_t stored, const v1::RunningAttempt& attempt);

// Checks that an artifact is in `blobs` with the size that is said. Errors: INVALID_ARGUMENT.
absl::Status ValidateArtifact(const v1::Artifact& artifact, const BlobStore& blobs);

}  // namespace tightrope
