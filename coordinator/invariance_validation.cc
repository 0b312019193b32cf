// Results of jobs that make invariance-based examples, and of models on them.
#include <cstdint>

#include "coordinator/result_checks.h"
#include "core/oracle/oracle_label.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// What both kinds have in common. `range` are positions in `sources`.
absl::Status CheckRecords(const v1::DatasetRef& data, const v1::Sources& sources, const v1::Shard& range,
                          const v1::ShardResult& result) {
  if (static_cast<uint64_t>(result.records_size()) != range.end() - range.begin()) {
    return Wrong("the number of records differs: wanted ", range.end() - range.begin(), ", got ",
                 result.records_size());
  }
  if (!result.epochs().empty()) return Wrong("training metrics of something that is no training");
  if (result.has_diagnostics()) return Wrong("diagnostics of an attack of something that is no attack");
  for (int i = 0; i < result.records_size(); ++i) {
    const v1::ExampleRecord& record = result.records(i);
    const uint64_t position = range.begin() + static_cast<uint64_t>(i);
    if (record.index() != position) {
      return Wrong("a record is of another example: wanted ", position, ", got ", record.index());
    }
    if (!record.has_source() || record.source() >= data.count()) {
      return Wrong("an example has no source in the test split: example ", position);
    }
    if (sources.indices_sha256().empty() && record.source() != sources.first() + position) {
      return Wrong("an example has another's source: example ", position, ", wanted ", sources.first() + position,
                   ", got ", record.source());
    }
    if (record.label() < 0 || record.label() >= static_cast<int64_t>(data.classes())) {
      return Wrong("a label is out of range: example ", position, ", ", record.label());
    }
    if (SpeaksOfAnAttack(record)) return Wrong("a verdict of something that is no attack: example ", position);
    if (!record.has_nearest()) return Wrong("an example has no distances from its source: example ", position);
    ABSL_RETURN_IF_ERROR(CheckNearestDistances(record));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckInvariance(const v1::InvarianceJob& job, const v1::Shard& range, const v1::ShardResult& result) {
  ABSL_RETURN_IF_ERROR(CheckRecords(job.data(), job.sources(), range, result));
  for (const v1::ExampleRecord& record : result.records()) {
    if (!record.has_target() || record.target() < -1 || record.target() >= static_cast<int64_t>(job.data().classes()) ||
        record.target() == record.label()) {
      return Wrong("an example was not moved towards another class: example ", record.index(), ", ", record.target());
    }
    if (record.has_oracle_label()) {
      return Wrong("an oracle was asked before there was a model: example ", record.index());
    }
  }
  if (result.artifacts_size() != 1 || result.artifacts(0).role() != "examples") {
    return Wrong("a set gives one artifact a shard, its examples; got ", result.artifacts_size());
  }
  return absl::OkStatus();
}

absl::Status CheckEvaluateInvariance(const v1::EvaluateInvarianceJob& job, const v1::Shard& range,
                                     const v1::ShardResult& result) {
  ABSL_RETURN_IF_ERROR(CheckRecords(job.data(), job.sources(), range, result));
  const auto classes = static_cast<int64_t>(job.data().classes());
  for (const v1::ExampleRecord& record : result.records()) {
    if (record.clean_prediction() < -1 || record.clean_prediction() >= classes ||
        record.adversarial_prediction() < -1 || record.adversarial_prediction() >= classes) {
      return Wrong("a prediction is out of range: example ", record.index());
    }
    const int32_t label = record.oracle_label();
    if (!record.has_oracle_label() || label >= classes || (label < 0 && label != kNoneOfThese && label != kUndecided)) {
      return Wrong("an oracle's label is neither a class, nor none of these (", kNoneOfThese, "), nor undecided (",
                   kUndecided, "): example ", record.index(), ", ", label);
    }
    if (record.has_target()) return Wrong("an evaluation moves nothing towards a class: example ", record.index());
  }
  if (!result.artifacts().empty()) return Wrong("an artifact was not asked for: ", result.artifacts(0).role());
  return absl::OkStatus();
}

}  // namespace tightrope
