// Makes a shard of a set of invariance-based examples, one of each source, by the method of its job:
//
//   linf         linf_attack.h; the published form's 0 … 255 are divided by 255 in float32
//   l0           l0_attack.h, with transforms drawn by (seed, job digest, number) and NearestNeighbourScore over the
//                candidates
//   interpolate  interpolate_attack.h
//
// What is made of a source does not depend on the other sources of the shard.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/robustness/invariance/invariance_candidates.h"
#include "core/robustness/invariance/invariance_sources.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

struct InvarianceProgress {
  double fraction = 0;
  uint64_t examples_done = 0;
};
// False stops with CANCELLED.
using InvarianceCallback = std::function<bool(const InvarianceProgress&)>;

struct MadeExamples {
  // One a source: position, source, label, target, and as `nearest` the example's distances from its source. Nothing
  // was asked of a model: predictions are -1.
  std::vector<v1::ExampleRecord> records;
  std::vector<float> examples;  // a row a record, C×H×W, in [0, 1]
};

// Of `job` only the set, the targets and the seed are read. `candidates`: of the job's training set, as
// CandidatesOf(job.set()) says. Where there is nothing to move a source towards, the example is the source and its
// target -1: no candidate of a class that it may become, in l0 none that differs from it in black and white, or, in the
// published form of l0, one of its own class, which that search may take. `progress` must not be empty; it is called
// after every source, and in l0 after every transform. Errors: INVALID_ARGUMENT (a set that is not made here, options
// out of range, sources that are no examples or of another shape than the candidates), CANCELLED.
absl::StatusOr<MadeExamples> RunInvariance(const v1::InvarianceJob& job, const std::string& job_digest,
                                           const InvarianceSources& sources, const InvarianceCandidates& candidates,
                                           const InvarianceCallback& progress);

}  // namespace tightrope
