#include "coordinator/store/sqlite_store.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "core/plan/plan.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

absl::string_view Bytes(const ResultDigest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

int64_t Signed(uint64_t value) { return static_cast<int64_t>(value); }

const char* NameOf(StoreAttempt::Kind kind) {
  switch (kind) {
    case StoreAttempt::Kind::kFailed:
      return "failed";
    case StoreAttempt::Kind::kLost:
      return "lost";
    case StoreAttempt::Kind::kNondeterministic:
      return "nondeterministic";
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<SqliteDatabase> writer, SqliteDatabase::Open(path, /*read_only=*/false));
  ABSL_RETURN_IF_ERROR(CheckSqliteSchema(*writer, path));
  ABSL_RETURN_IF_ERROR(
      writer->Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"))
      << "cannot use the store";
  ABSL_RETURN_IF_ERROR(MigrateSqliteSchema(*writer));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<SqliteDatabase> reader, SqliteDatabase::Open(path, /*read_only=*/true));
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(writer), std::move(reader)));
}

absl::StatusOr<uint32_t> SqliteStore::NextGeneration() {
  const absl::MutexLock lock(&write_mutex_);
  ABSL_RETURN_IF_ERROR(
      writer_->Prepare("INSERT INTO meta VALUES ('generation', 1) ON CONFLICT DO UPDATE SET value = value + 1").Run());
  Query query = writer_->Prepare("SELECT value FROM meta WHERE key = 'generation'");
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
  if (!row || query.Int(0) <= 0 || query.Int(0) > INT32_MAX) {
    return absl::DataLossError("the store's generation is not a number of starts");
  }
  return static_cast<uint32_t>(query.Int(0));
}

absl::Status SqliteStore::Write(absl::Span<const StoreWrite> batch) {
  const absl::MutexLock lock(&write_mutex_);
  const absl::Status status = WriteAll(batch);
  if (!status.ok()) {
    writer_->Execute("ROLLBACK").IgnoreError();
    job_ids_.clear();
  }
  return status;
}

absl::Status SqliteStore::WriteAll(absl::Span<const StoreWrite> batch) {
  ABSL_RETURN_IF_ERROR(writer_->Prepare("BEGIN IMMEDIATE").Run());
  for (const StoreWrite& write : batch) {
    ABSL_RETURN_IF_ERROR(std::visit(
        [&](const auto& one) {
          write_mutex_.AssertHeld();
          return WriteOne(one);
        },
        write));
  }
  return writer_->Prepare("COMMIT").Run();
}

absl::StatusOr<int64_t> SqliteStore::JobId(const std::string& digest) {
  if (const auto it = job_ids_.find(digest); it != job_ids_.end()) return it->second;
  Query query = writer_->Prepare("SELECT id FROM jobs WHERE digest = ?");
  ABSL_ASSIGN_OR_RETURN(const bool row, query.Bind(digest).Next());
  if (!row) return absl::NotFoundError(absl::StrCat("the store has no such job: ", digest));
  job_ids_[digest] = query.Int(0);
  return query.Int(0);
}

absl::StatusOr<int64_t> SqliteStore::InsertJob(const v1::Job& job) {
  if (absl::StatusOr<int64_t> id = JobId(job.digest()); id.ok() || !absl::IsNotFound(id.status())) return id;
  v1::Job head = job;
  head.clear_shards();
  ABSL_RETURN_IF_ERROR(writer_->Prepare("INSERT INTO jobs (digest, kind, job, uncommitted) VALUES (?, ?, ?, ?)")
                           .Bind(job.digest())
                           .Bind(JobKind(job.spec()))
                           .BindBlob(head.SerializeAsString())
                           .Bind(int64_t{job.shards_size()})
                           .Run());
  const int64_t id = writer_->LastInsertId();
  Query insert = writer_->Prepare("INSERT INTO shards (job, shard, first_example, end_example) VALUES (?, ?, ?, ?)");
  for (int i = 0; i < job.shards_size(); ++i) {
    insert.Bind(id).Bind(int64_t{i}).Bind(Signed(job.shards(i).begin())).Bind(Signed(job.shards(i).end()));
    ABSL_RETURN_IF_ERROR(insert.Run());
  }
  job_ids_[job.digest()] = id;
  return id;
}

absl::Status SqliteStore::WriteOne(const StoreSubmission& write) {
  v1::Plan cells;
  *cells.mutable_cells() = write.plan.cells();
  ABSL_RETURN_IF_ERROR(
      writer_
          ->Prepare("INSERT INTO experiments (name, submitted_order, experiment, inputs, source, cells) "
                    "VALUES (?, (SELECT ifnull(max(submitted_order), 0) + 1 FROM experiments), ?, ?, ?, ?) "
                    "ON CONFLICT (name) DO UPDATE SET submitted_order = excluded.submitted_order, "
                    "experiment = excluded.experiment, inputs = excluded.inputs, source = excluded.source, "
                    "cells = excluded.cells")
          .Bind(write.experiment.name())
          .BindBlob(write.experiment.SerializeAsString())
          .BindBlob(write.inputs.SerializeAsString())
          .Bind(write.source)
          .BindBlob(cells.SerializeAsString())
          .Run());
  int64_t experiment = 0;
  {
    Query query = writer_->Prepare("SELECT id FROM experiments WHERE name = ?");
    ABSL_ASSIGN_OR_RETURN(const bool row, query.Bind(write.experiment.name()).Next());
    if (!row) return absl::InternalError("an experiment is not there after it was stored");
    experiment = query.Int(0);
  }
  ABSL_RETURN_IF_ERROR(writer_->Prepare("DELETE FROM experiment_jobs WHERE experiment = ?").Bind(experiment).Run());
  Query renew = writer_->Prepare("UPDATE attempts SET counted = 0 WHERE job = ? AND counted > 0");
  Query link = writer_->Prepare(
      "INSERT INTO experiment_jobs SELECT ?1, ?2, ?3, count(*), ifnull(sum(end_example - first_example), 0) "
      "FROM shards WHERE job = ?3 AND result_digest IS NOT NULL");
  for (int i = 0; i < write.plan.jobs_size(); ++i) {
    ABSL_ASSIGN_OR_RETURN(const int64_t job, InsertJob(write.plan.jobs(i)));
    ABSL_RETURN_IF_ERROR(renew.Bind(job).Run());
    ABSL_RETURN_IF_ERROR(link.Bind(experiment).Bind(int64_t{i}).Bind(job).Run());
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::WriteOne(const StoreResult& write) {
  ABSL_ASSIGN_OR_RETURN(const int64_t job, JobId(write.lease.job));
  ABSL_RETURN_IF_ERROR(writer_
                           ->Prepare("UPDATE shards SET result_digest = ?, epoch = ?, worker = ?, seconds = ? "
                                     "WHERE job = ? AND shard = ? AND result_digest IS NULL")
                           .BindBlob(Bytes(write.digest))
                           .Bind(Signed(write.lease.epoch))
                           .Bind(write.worker)
                           .Bind(write.seconds)
                           .Bind(job)
                           .Bind(int64_t{write.lease.shard})
                           .Run());
  if (writer_->Changes() == 0) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(writer_->Prepare("UPDATE jobs SET uncommitted = uncommitted - 1 WHERE id = ?").Bind(job).Run());
  Query example =
      writer_->Prepare("INSERT INTO examples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  for (const v1::ExampleRecord& record : write.result.records()) {
    example.Bind(job)
        .Bind(Signed(record.index()))
        .Bind(int64_t{record.label()})
        .Bind(int64_t{record.clean_prediction()})
        .Bind(int64_t{record.verdict()})
        .Bind(int64_t{record.adversarial_prediction()})
        .Bind(record.distance())
        .Bind(Signed(record.forward_passes()))
        .Bind(Signed(record.backward_passes()))
        .Bind(int64_t{record.witness_row()});
    record.has_broken_at() ? example.Bind(record.broken_at()) : example.BindNull();
    example.Bind(Signed(record.first_success())).Bind(record.broken_by());
    const v1::ExampleRecord::Nearest& nearest = record.nearest();
    for (const double distance : {nearest.linf(), nearest.l2(), nearest.l1(), nearest.l0()}) {
      record.has_nearest() ? example.Bind(distance) : example.BindNull();
    }
    record.has_source() ? example.Bind(Signed(record.source())) : example.BindNull();
    record.has_target() ? example.Bind(int64_t{record.target()}) : example.BindNull();
    record.has_oracle_label() ? example.Bind(int64_t{record.oracle_label()}) : example.BindNull();
    ABSL_RETURN_IF_ERROR(example.Run());
  }
  if (write.result.has_diagnostics()) {
    const v1::AttackDiagnostics& seen = write.result.diagnostics();
    Query query = writer_->Prepare("INSERT INTO diagnostics VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    query.Bind(job).Bind(int64_t{write.lease.shard});
    for (const uint64_t count : {seen.gradients(), seen.zero_gradients(), seen.nonfinite_gradients(),
                                 seen.probabilities(), seen.same_outputs(), seen.late_successes()}) {
      query.Bind(Signed(count));
    }
    ABSL_RETURN_IF_ERROR(query.Run());
  }
  if (write.result.has_alignment()) {
    ABSL_RETURN_IF_ERROR(writer_->Prepare("INSERT INTO alignments VALUES (?, ?, ?)")
                             .Bind(job)
                             .Bind(int64_t{write.lease.shard})
                             .BindBlob(write.result.alignment().SerializeAsString())
                             .Run());
  }
  for (const v1::Artifact& artifact : write.result.artifacts()) {
    ABSL_RETURN_IF_ERROR(writer_->Prepare("INSERT OR IGNORE INTO artifacts VALUES (?, ?, ?, ?, ?)")
                             .Bind(job)
                             .Bind(int64_t{write.lease.shard})
                             .Bind(artifact.role())
                             .Bind(artifact.sha256())
                             .Bind(Signed(artifact.size()))
                             .Run());
  }
  if (write.result.epochs().empty()) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(writer_->Prepare("DELETE FROM checkpoints WHERE job = ?").Bind(job).Run());
  return UpsertEpochs(job, {write.result.epochs().data(), static_cast<size_t>(write.result.epochs_size())});
}

absl::Status SqliteStore::WriteOne(const StoreAttempt& write) {
  ABSL_ASSIGN_OR_RETURN(const int64_t job, JobId(write.lease.job));
  const bool nondeterministic = write.kind == StoreAttempt::Kind::kNondeterministic;
  ABSL_RETURN_IF_ERROR(writer_
                           ->Prepare("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                                     "ON CONFLICT DO UPDATE SET counted = counted + excluded.counted")
                           .Bind(job)
                           .Bind(int64_t{write.lease.shard})
                           .Bind(Signed(write.lease.epoch))
                           .Bind(NameOf(write.kind))
                           .BindBlob(write.digest.has_value() ? Bytes(*write.digest) : absl::string_view())
                           .Bind(write.worker)
                           .Bind(int64_t{write.failure.code})
                           .Bind(write.failure.message)
                           .Bind(int64_t{write.failure.permanent})
                           .Bind(int64_t{!nondeterministic})
                           .Bind(absl::ToUnixMicros(write.when))
                           .Run());
  if (!nondeterministic) return absl::OkStatus();
  return writer_->Prepare("UPDATE shards SET nondeterministic = 1 WHERE job = ? AND shard = ?")
      .Bind(job)
      .Bind(int64_t{write.lease.shard})
      .Run();
}

absl::Status SqliteStore::WriteOne(const StoreEpochs& write) {
  ABSL_ASSIGN_OR_RETURN(const int64_t job, JobId(write.job));
  std::vector<const v1::EpochMetrics*> epochs;
  for (const v1::EpochMetrics& epoch : write.epochs) epochs.push_back(&epoch);
  ABSL_RETURN_IF_ERROR(UpsertEpochs(job, epochs));
  return writer_->Prepare("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?)")
      .Bind(job)
      .Bind(write.checkpoint.sha256())
      .Bind(Signed(write.checkpoint.size()))
      .Run();
}

absl::Status SqliteStore::UpsertEpochs(int64_t job, absl::Span<const v1::EpochMetrics* const> epochs) {
  Query upsert = writer_->Prepare("INSERT OR REPLACE INTO training_epochs VALUES (?, ?, ?, ?, ?, ?)");
  int64_t last = -1;
  for (const v1::EpochMetrics* epoch : epochs) {
    last = std::max<int64_t>(last, epoch->epoch());
    upsert.Bind(job)
        .Bind(int64_t{epoch->epoch()})
        .Bind(epoch->loss())
        .Bind(epoch->accuracy())
        .Bind(epoch->learning_rate())
        .Bind(epoch->epsilon());
    ABSL_RETURN_IF_ERROR(upsert.Run());
  }
  return writer_->Prepare("DELETE FROM training_epochs WHERE job = ? AND epoch > ?").Bind(job).Bind(last).Run();
}

}  // namespace tightrope
