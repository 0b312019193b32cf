// Private to *_validation.cc: what is wrong with results of one kind. Looks at no file.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

template <typename... Parts>
absl::Status Wrong(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("the result is not what the shard asked for: ", parts...));
}

// Whether the record says anything that only an attack can.
bool SpeaksOfAnAttack(const v1::ExampleRecord& record);

// The distances of `nearest` are finite and not negative.
absl::Status CheckNearestDistances(const v1::ExampleRecord& record);

// Anchors are those of the range; counts and distances of anchors, pairs of classes and triples do not contradict each
// other.
absl::Status CheckAlignment(const v1::AlignmentJob& job, const v1::Shard& range, const v1::ShardResult& result);

// Records have the positions of the range, each with its source; there is one artifact, "examples".
absl::Status CheckInvariance(const v1::InvarianceJob& job, const v1::Shard& range, const v1::ShardResult& result);

// Likewise, with predictions and the oracle's label, and without an artifact.
absl::Status CheckEvaluateInvariance(const v1::EvaluateInvarianceJob& job, const v1::Shard& range,
                                     const v1::ShardResult& result);

}  // namespace tightrope
