#include "coordinator/export.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "core/plan/plan.h"
#include "core/statistics/aggregate.h"
#include "core/statistics/alignment_rows.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr int kRecordsInMessage = 2000;

}  // namespace

absl::Status ExportWalk::LoadNames() {
  names_.emplace();
  if (!experiment_.empty()) {
    names_->push_back(experiment_);
    return absl::OkStatus();
  }
  ABSL_ASSIGN_OR_RETURN(std::vector<std::string> names, store_->ExperimentNames());
  std::sort(names.begin(), names.end());
  names_->assign(names.begin(), names.end());
  return absl::OkStatus();
}

absl::StatusOr<bool> ExportWalk::AtCell() {
  if (!names_.has_value()) {
    ABSL_RETURN_IF_ERROR(LoadNames());
  }
  while (cells_.empty()) {
    if (names_->empty()) return false;
    const std::string name = names_->front();
    names_->pop_front();
    ABSL_ASSIGN_OR_RETURN(const StoredPlan stored, store_->ReadPlan(name));
    absl::flat_hash_map<std::string, const v1::JobSpec*> specs;
    for (const v1::Job& job : stored.plan.jobs()) specs.emplace(job.digest(), &job.spec());
    std::set<std::string> trained;
    for (const v1::Cell& cell : stored.plan.cells()) {
      // A training may have no cell of its own: it comes before the first that needs it.
      if (const auto spec = specs.find(cell.train_job_digest()); spec != specs.end()) {
        if (trained.insert(cell.train_job_digest()).second) {
          v1::Cell training = cell;
          training.clear_attack();
          training.clear_epsilon();
          training.set_job_digest(cell.train_job_digest());
          cells_.push_back({name, std::move(training), *spec->second});
        }
      }
      const auto spec = specs.find(cell.job_digest());
      if (spec == specs.end() || spec->second->has_train()) continue;
      cells_.push_back({name, cell, *spec->second});
      if (spec->second->has_attack()) cells_.back().cell.set_epsilon(RadiusOf(cell, spec->second->attack()));
    }
  }
  return true;
}

absl::StatusOr<std::optional<v1::ExportExamplesResponse>> ExportWalk::NextExamples() {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool there, AtCell());
    if (!there) return std::nullopt;
    const OneCell& at = cells_.front();
    std::vector<v1::ExampleRecord> records;
    if (!at.spec.has_train()) {
      ABSL_ASSIGN_OR_RETURN(records, store_->ReadExamples(at.cell.job_digest(), from_, kRecordsInMessage));
    }
    if (records.empty()) {
      cells_.pop_front();
      from_ = 0;
      continue;
    }
    from_ = records.back().index() + 1;
    v1::ExportExamplesResponse response;
    v1::ExportedExamples* const exported = response.add_jobs();
    exported->set_experiment(at.experiment);
    *exported->mutable_cell() = at.cell;
    if (at.spec.has_attack()) *exported->mutable_attack() = at.spec.attack().attack();
    for (v1::ExampleRecord& record : records) {
      *exported->add_records() = at.spec.has_attack() ? AtRadius(std::move(record), at.cell.epsilon()) : record;
    }
    return response;
  }
}

absl::StatusOr<std::optional<v1::ExportEpochsResponse>> ExportWalk::NextEpochs() {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const bool there, AtCell());
    if (!there) return std::nullopt;
    const OneCell at = std::move(cells_.front());
    cells_.pop_front();
    if (!at.spec.has_train()) continue;
    ABSL_ASSIGN_OR_RETURN(const std::vector<v1::EpochMetrics> epochs, store_->ReadEpochs(at.cell.job_digest()));
    if (epochs.empty()) continue;
    v1::ExportEpochsResponse response;
    response.set_experiment(at.experiment);
    *response.mutable_cell() = at.cell;
    response.mutable_epochs()->Assign(epochs.begin(), epochs.end());
    return response;
  }
}

absl::StatusOr<std::optional<v1::ExportArtifactsResponse>> ExportWalk::NextArtifact() {
  while (artifacts_.empty()) {
    ABSL_ASSIGN_OR_RETURN(const bool there, AtCell());
    if (!there) return std::nullopt;
    const OneCell at = std::move(cells_.front());
    cells_.pop_front();
    ABSL_ASSIGN_OR_RETURN(const auto stored, store_->ReadArtifacts(at.cell.job_digest()));
    for (const auto& [shard, artifact] : stored) {
      v1::ExportArtifactsResponse& response = artifacts_.emplace_back();
      response.set_experiment(at.experiment);
      *response.mutable_cell() = at.cell;
      response.set_shard(shard);
      *response.mutable_artifact() = artifact;
    }
  }
  v1::ExportArtifactsResponse response = std::move(artifacts_.front());
  artifacts_.pop_front();
  return response;
}

absl::StatusOr<std::optional<v1::ExportAlignmentsResponse>> ExportWalk::NextAlignment() {
  while (alignments_.empty()) {
    ABSL_ASSIGN_OR_RETURN(const bool there, AtCell());
    if (!there) return std::nullopt;
    const OneCell at = std::move(cells_.front());
    cells_.pop_front();
    if (!at.spec.has_alignment()) continue;
    ABSL_ASSIGN_OR_RETURN(const std::vector<v1::AlignmentResult> shards, store_->ReadAlignment(at.cell.job_digest()));
    if (!shards.empty()) AddAlignment(at, shards);
  }
  v1::ExportAlignmentsResponse response = std::move(alignments_.front());
  alignments_.pop_front();
  return response;
}

void ExportWalk::AddAlignment(const OneCell& at, const std::vector<v1::AlignmentResult>& shards) {
  const v1::AlignmentJob& job = at.spec.alignment();
  const auto add_message = [&] {
    v1::ExportAlignmentsResponse& response = alignments_.emplace_back();
    response.set_experiment(at.experiment);
    *response.mutable_cell() = at.cell;
    response.set_norm(job.norm());
    response.set_threshold(job.threshold());
  };
  add_message();
  for (const v1::AlignmentResult& shard : shards) {
    for (const v1::AnchorAlignment& anchor : shard.anchors()) {
      if (alignments_.back().anchors_size() == kRecordsInMessage) add_message();
      *alignments_.back().add_anchors() = ToExported(job, anchor);
    }
  }
  for (v1::ExportedTriple& triple : MostMisaligned(job, shards)) {
    *alignments_.back().add_triples() = std::move(triple);
  }
  for (v1::ExportedPair& pair : PairsOf(job, shards)) *alignments_.back().add_pairs() = std::move(pair);
}

}  // namespace tightrope
