#include "worker/invariance_inputs.h"

#include <algorithm>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/robustness/invariance/invariance_sources.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// From the files that the lease names.
absl::StatusOr<std::vector<float>> ReadLeased(const v1::Lease& lease, const Dataset& data, ArtifactCache& artifacts,
                                              const Cancellation& cancellation) {
  const uint64_t begin = lease.range().begin(), end = lease.range().end();
  std::vector<float> examples;
  uint64_t next = begin;
  for (const v1::LeasedExamples& leased : lease.examples()) {
    const v1::Shard& made = leased.range();
    if (made.begin() > next) break;
    const uint64_t last = std::min(made.end(), end);
    if (last <= next) continue;
    ABSL_ASSIGN_OR_RETURN(const std::string array, artifacts.Read(leased.artifact().sha256(), cancellation));
    ABSL_ASSIGN_OR_RETURN(
        const std::vector<float> rows,
        ExampleRows(array, data,
                    {.rows = made.end() - made.begin(), .begin = next - made.begin(), .end = last - made.begin()}));
    examples.insert(examples.end(), rows.begin(), rows.end());
    next = last;
  }
  if (next >= end) return examples;
  return absl::FailedPreconditionError(
      absl::StrCat("the lease lacks examples that it is about; the coordinator must name the files of all at the "
                   "positions [",
                   begin, ", ", end, "), in ascending order; the first that is missing: ", next));
}

}  // namespace

absl::StatusOr<std::vector<uint64_t>> ReadSources(const v1::Sources& sources, const v1::Shard& range,
                                                  const Dataset& data, ArtifactCache& artifacts,
                                                  const Cancellation& cancellation) {
  std::string array;
  if (!sources.indices_sha256().empty()) {
    ABSL_ASSIGN_OR_RETURN(array, artifacts.Read(sources.indices_sha256(), cancellation));
  }
  return SourceIndices(sources, range, array, data.count);
}

absl::StatusOr<std::vector<float>> ReadExamples(const v1::Lease& lease, const Dataset& data, ArtifactCache& artifacts,
                                                const Cancellation& cancellation) {
  const v1::EvaluateInvarianceJob& job = lease.spec().evaluate_invariance();
  switch (job.examples_case()) {
    case v1::EvaluateInvarianceJob::kBuiltBy:
      return ReadLeased(lease, data, artifacts, cancellation);
    case v1::EvaluateInvarianceJob::kArraySha256: {
      ABSL_ASSIGN_OR_RETURN(const std::string array, artifacts.Read(job.array_sha256(), cancellation));
      return ExampleRows(array, data,
                         {.rows = job.sources().count(), .begin = lease.range().begin(), .end = lease.range().end()});
    }
    case v1::EvaluateInvarianceJob::EXAMPLES_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("the job names neither the job that made its examples nor an array of them");
}

}  // namespace tightrope
