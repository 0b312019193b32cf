#include "coordinator/result_validation.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "coordinator/result_checks.h"
#include "core/plan/plan.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

absl::Status CheckEpoch(const v1::EpochMetrics& epoch) {
  for (const double value : {epoch.loss(), epoch.accuracy(), epoch.learning_rate(), epoch.epsilon()}) {
    if (!std::isfinite(value)) return Wrong("a metric is not finite: epoch ", epoch.epoch());
  }
  if (epoch.accuracy() < 0 || epoch.accuracy() > 1) {
    return Wrong("an accuracy is not a share: epoch ", epoch.epoch(), ", ", epoch.accuracy());
  }
  return absl::OkStatus();
}

constexpr size_t kLongestBrokenBy = 40;

// Distances are recomputed in float32 from stored examples, so that they may exceed the radius by rounding.
double LargestDistance(double radius) { return radius * (1 + 1e-5) + 1e-6; }

absl::Status CheckNearest(const v1::ExampleRecord& record) {
  if (record.verdict() == v1::VERDICT_BROKEN && !record.has_nearest()) {
    return Wrong("a broken example has no nearest distances: example ", record.index());
  }
  return CheckNearestDistances(record);
}

// What broke the example, from which radius on, after how many passes.
absl::Status CheckBreaking(const v1::ExampleRecord& record, absl::Span<const double> radii) {
  if (!record.has_broken_at()) return Wrong("a broken example has no radius at which it is: example ", record.index());
  const bool misclassified = record.clean_prediction() != record.label();
  if (misclassified && record.broken_at() != 0) {
    return Wrong("an example that is misclassified as it is, is broken at 0: example ", record.index(), ", ",
                 record.broken_at());
  }
  if (!misclassified && std::find(radii.begin(), radii.end(), record.broken_at()) == radii.end()) {
    return Wrong("an example is broken at a radius that its job does not have: example ", record.index(), ", ",
                 record.broken_at());
  }
  if (record.distance() > LargestDistance(record.broken_at())) {
    return Wrong("a witness lies outside the ball: example ", record.index(), ", distance ", record.distance(),
                 ", epsilon ", record.broken_at());
  }
  if (!misclassified && (record.first_success() == 0 || record.broken_by().empty())) {
    return Wrong("a broken example lacks what broke it, or when: example ", record.index());
  }
  return absl::OkStatus();
}

absl::Status CheckWitness(const v1::ExampleRecord& record, absl::Span<const double> radii) {
  if (!std::isfinite(record.distance()) || record.distance() < 0) {
    return Wrong("a distance is negative or not finite: example ", record.index(), ", ", record.distance());
  }
  if (record.first_success() > record.forward_passes()) {
    return Wrong("a first success comes after all passes: example ", record.index(), ", ", record.first_success(),
                 " of ", record.forward_passes());
  }
  const std::string& broken_by = record.broken_by();
  const bool printable =
      std::all_of(broken_by.begin(), broken_by.end(), [](unsigned char letter) { return absl::ascii_isgraph(letter); });
  if (broken_by.size() > kLongestBrokenBy || !printable) {
    return Wrong("what broke an example is no word of up to ", kLongestBrokenBy, " ASCII letters: example ",
                 record.index());
  }
  ABSL_RETURN_IF_ERROR(CheckNearest(record));
  switch (record.verdict()) {
    case v1::VERDICT_BROKEN:
      if (record.adversarial_prediction() < 0) {
        return Wrong("a broken example has no adversarial prediction: example ", record.index());
      }
      if (record.adversarial_prediction() == record.label()) {
        return Wrong("a broken example is classified correctly: example ", record.index());
      }
      // One that is misclassified as it is, is its own witness; any other has one that was found.
      if ((record.witness_row() >= 0) != (record.clean_prediction() == record.label())) {
        return Wrong("a broken example has a witness too many or too few: example ", record.index());
      }
      return CheckBreaking(record, radii);
    case v1::VERDICT_UNDECIDED:
      if (record.witness_row() != -1 || record.adversarial_prediction() != -1 || record.distance() != 0 ||
          record.has_broken_at() || record.first_success() != 0 || !broken_by.empty()) {
        return Wrong("an undecided example has a witness: example ", record.index());
      }
      if (record.clean_prediction() != record.label()) {
        return Wrong("an undecided example is misclassified as it is: example ", record.index());
      }
      return absl::OkStatus();
    default:
      return Wrong("an attack has given a verdict that it cannot give: example ", record.index(), ", ",
                   record.verdict());
  }
}

// `radii` are those of an attack; none: a clean evaluation.
absl::Status CheckRecords(const v1::DatasetRef& data, absl::Span<const double> radii, const v1::Shard& range,
                          const v1::ShardResult& result) {
  if (static_cast<uint64_t>(result.records_size()) != range.end() - range.begin()) {
    return Wrong("the number of records differs: wanted ", range.end() - range.begin(), ", got ",
                 result.records_size());
  }
  const auto classes = static_cast<int64_t>(data.classes());
  bool witnesses = false;
  for (int i = 0; i < result.records_size(); ++i) {
    const v1::ExampleRecord& record = result.records(i);
    const uint64_t index = range.begin() + static_cast<uint64_t>(i);
    if (record.index() != index)
      return Wrong("a record is of another example: wanted ", index, ", got ", record.index());
    if (record.label() < 0 || record.label() >= classes) {
      return Wrong("a label is out of range: example ", index, ", ", record.label());
    }
    if (record.clean_prediction() < -1 || record.clean_prediction() >= classes ||
        record.adversarial_prediction() < -1 || record.adversarial_prediction() >= classes) {
      return Wrong("a prediction is out of range: example ", index);
    }
    if (record.witness_row() < -1) return Wrong("a witness row is negative: example ", index);
    witnesses = witnesses || record.witness_row() >= 0;
    if (record.has_source() || record.has_target() || record.has_oracle_label()) {
      return Wrong("an example of the data set has a source, a target or an oracle's label: example ", index);
    }
    if (!radii.empty()) {
      ABSL_RETURN_IF_ERROR(CheckWitness(record, radii));
    } else if (SpeaksOfAnAttack(record) || record.has_nearest()) {
      return Wrong("a clean evaluation has given a verdict: example ", index);
    }
  }
  if (result.has_diagnostics()) {
    const v1::AttackDiagnostics& seen = result.diagnostics();
    if (radii.empty()) return Wrong("a clean evaluation has diagnostics of an attack");
    if (seen.zero_gradients() > seen.gradients() || seen.nonfinite_gradients() > seen.gradients() ||
        std::max({seen.probabilities(), seen.same_outputs(), seen.late_successes()}) >
            static_cast<uint64_t>(result.records_size())) {
      return Wrong("the diagnostics count more than there is");
    }
  }
  for (const v1::Artifact& artifact : result.artifacts()) {
    if (radii.empty() || artifact.role() != "witnesses") {
      return Wrong("an artifact was not asked for: ", artifact.role());
    }
  }
  if (result.artifacts_size() > 1) return Wrong("more than one witness artifact");
  if (witnesses && result.artifacts().empty()) return Wrong("the witnesses are missing");
  if (!result.epochs().empty()) return Wrong("training metrics of something that is no training");
  return absl::OkStatus();
}

absl::Status CheckTraining(const v1::TrainJob& train, const v1::ShardResult& result) {
  if (!result.records().empty()) return Wrong("a training has no examples");
  if (result.has_diagnostics()) return Wrong("a training has no diagnostics of an attack");
  if (static_cast<uint32_t>(result.epochs_size()) != train.training().epochs()) {
    return Wrong("the number of epochs differs: wanted ", train.training().epochs(), ", got ", result.epochs_size());
  }
  for (int i = 0; i < result.epochs_size(); ++i) {
    if (result.epochs(i).epoch() != static_cast<uint32_t>(i)) return Wrong("the epochs are not in order: ", i);
    ABSL_RETURN_IF_ERROR(CheckEpoch(result.epochs(i)));
  }
  if (result.artifacts_size() != 1 || result.artifacts(0).role() != "weights") {
    return Wrong("a training gives one artifact, its weights; got ", result.artifacts_size());
  }
  return absl::OkStatus();
}

absl::Status CheckKind(const v1::JobSpec& spec, const v1::Shard& range, const v1::ShardResult& result) {
  if (result.has_alignment() && !spec.has_alignment()) return Wrong("an alignment was not asked for");
  switch (spec.kind_case()) {
    case v1::JobSpec::kTrain:
      return CheckTraining(spec.train(), result);
    case v1::JobSpec::kEvaluate:
      return CheckRecords(spec.evaluate().data(), {}, range, result);
    case v1::JobSpec::kAttack:
      return CheckRecords(spec.attack().data(), RadiiOf(spec.attack()), range, result);
    case v1::JobSpec::kAlignment:
      return CheckAlignment(spec.alignment(), range, result);
    case v1::JobSpec::kInvariance:
      return CheckInvariance(spec.invariance(), range, result);
    case v1::JobSpec::kEvaluateInvariance:
      return CheckEvaluateInvariance(spec.evaluate_invariance(), range, result);
    case v1::JobSpec::KIND_NOT_SET:
      break;
  }
  return Wrong("a job of a kind that this version does not know");
}

}  // namespace

bool SpeaksOfAnAttack(const v1::ExampleRecord& record) {
  return record.verdict() != v1::VERDICT_UNSPECIFIED || record.distance() != 0 || record.has_broken_at() ||
         record.first_success() != 0 || !record.broken_by().empty();
}

absl::Status CheckNearestDistances(const v1::ExampleRecord& record) {
  const v1::ExampleRecord::Nearest& nearest = record.nearest();
  for (const double distance : {nearest.linf(), nearest.l2(), nearest.l1(), nearest.l0()}) {
    if (!std::isfinite(distance) || distance < 0) {
      return Wrong("a nearest distance is negative or not finite: example ", record.index(), ", ", distance);
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateResult(const v1::JobSpec& spec, const v1::Shard& range, const v1::ShardResult& result,
                            const BlobStore& blobs) {
  ABSL_RETURN_IF_ERROR(CheckKind(spec, range, result));
  for (const v1::Artifact& artifact : result.artifacts()) ABSL_RETURN_IF_ERROR(ValidateArtifact(artifact, blobs));
  return absl::OkStatus();
}

absl::Status ValidateEpochs(const v1::TrainJob& train, size_t stored, const v1::RunningAttempt& attempt) {
  if (attempt.epochs().empty()) return absl::OkStatus();
  const uint32_t first = attempt.epochs(0).epoch();
  if (first > stored) return Wrong("epochs are missing: stored ", stored, ", then came ", first);
  for (int i = 0; i < attempt.epochs_size(); ++i) {
    const v1::EpochMetrics& epoch = attempt.epochs(i);
    if (epoch.epoch() != first + static_cast<uint32_t>(i) || epoch.epoch() >= train.training().epochs()) {
      return Wrong("the epochs are not in order: ", epoch.epoch());
    }
    ABSL_RETURN_IF_ERROR(CheckEpoch(epoch));
  }
  if (attempt.checkpoint().role() != "checkpoint") return Wrong("epochs came without their checkpoint");
  return absl::OkStatus();
}

absl::Status ValidateArtifact(const v1::Artifact& artifact, const BlobStore& blobs) {
  const absl::StatusOr<std::string> path = blobs.Path(artifact.sha256());
  if (!path.ok()) return Wrong("an artifact is not in the store: ", artifact.role(), ": ", path.status().message());
  std::error_code error;
  const uint64_t size = std::filesystem::file_size(*path, error);
  if (error || size != artifact.size()) {
    return Wrong("an artifact has another size: ", artifact.role(), " ", artifact.sha256(), " said ", artifact.size(),
                 ", found ", error ? error.message() : absl::StrCat(size));
  }
  return absl::OkStatus();
}

}  // namespace tightrope
