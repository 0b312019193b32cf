// The embedded ResultStore: one SQLite file in WAL mode, synchronous=FULL, so that what Write returned OK for survives
// a crash of the machine. Its tables are the product's SQL interface; sqlite_schema.cc documents them. Thread-safe:
// writes go through one connection, reads through another, each behind its own mutex.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/store/result_store.h"
#include "coordinator/store/sqlite_database.h"

namespace tightrope {

class SqliteStore : public ResultStore {
 public:
  // Opens or creates the store; a database of something else is left as it is. Errors: DATA_LOSS (damaged, or not a
  // store), FAILED_PRECONDITION (written by a newer version), or as of ResultStore.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const std::string& path);

  absl::StatusOr<uint32_t> NextGeneration() override;
  absl::StatusOr<std::vector<v1::KernelOfSignature>> ChooseKernels(
      const std::string& device_kind, const std::string& library_version,
      const std::vector<v1::KernelOfSignature>& proposals) override;
  absl::Status Write(absl::Span<const StoreWrite> batch) override;
  absl::StatusOr<std::vector<std::string>> ExperimentNames() override;
  absl::StatusOr<StoredExperiment> ReadExperiment(const std::string& name) override;
  absl::StatusOr<StoredPlan> ReadPlan(const std::string& name) override;
  absl::StatusOr<std::vector<std::string>> FindCommitted(const std::vector<std::string>& jobs) override;
  absl::StatusOr<std::map<std::string, VerdictCounts>> CountVerdicts(const std::vector<std::string>& jobs) override;
  absl::StatusOr<std::optional<InvarianceRecords>> ReadInvariance(const std::string& evaluation,
                                                                  const std::vector<std::string>& attacks) override;
  absl::StatusOr<std::vector<v1::AlignmentResult>> ReadAlignment(const std::string& job) override;
  absl::StatusOr<std::vector<v1::ExampleRecord>> ReadExamples(const std::string& job, uint64_t from,
                                                              uint32_t limit) override;
  absl::StatusOr<std::vector<v1::EpochMetrics>> ReadEpochs(const std::string& job) override;
  absl::StatusOr<std::vector<std::pair<uint32_t, v1::Artifact>>> ReadArtifacts(const std::string& job) override;

 private:
  SqliteStore(std::unique_ptr<SqliteDatabase> writer, std::unique_ptr<SqliteDatabase> reader)
      : writer_(std::move(writer)), reader_(std::move(reader)) {}

  absl::Status CountForDiagnostics(const std::string& job, VerdictCounts& counts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_);
  absl::Status WriteAll(absl::Span<const StoreWrite> batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status WriteOne(const StoreSubmission& write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status WriteOne(const StoreResult& write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status WriteOne(const StoreAttempt& write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status WriteOne(const StoreEpochs& write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::StatusOr<int64_t> InsertJob(const v1::Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::StatusOr<int64_t> JobId(const std::string& digest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);
  absl::Status UpsertEpochs(int64_t job, absl::Span<const v1::EpochMetrics* const> epochs)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mutex_);

  absl::Status ReadShards(int64_t job, StoredJob& stored) ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_);
  absl::StatusOr<bool> IsCommitted(const std::string& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_);
  absl::StatusOr<std::vector<v1::ExampleRecord>> ReadExamplesOf(const std::string& job, uint64_t from, int64_t limit)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_);
  absl::Status ReadSetExamples(int64_t job, StoredJob& stored) ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_);
  absl::Status ReadTraining(int64_t job, StoredJob& stored) ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_);
  absl::StatusOr<std::vector<v1::EpochMetrics>> ReadEpochsOf(int64_t job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(read_mutex_);

  absl::Mutex write_mutex_;
  const std::unique_ptr<SqliteDatabase> writer_ ABSL_PT_GUARDED_BY(write_mutex_);
  absl::flat_hash_map<std::string, int64_t> job_ids_ ABSL_GUARDED_BY(write_mutex_);  // of jobs that are committed rows
  absl::Mutex read_mutex_;
  const std::unique_ptr<SqliteDatabase> reader_ ABSL_PT_GUARDED_BY(read_mutex_);
};

// Whether the database is new, or a store that this version can read; changes nothing. Errors: DATA_LOSS (damaged, or
// of something else), FAILED_PRECONDITION (of a newer version), or as of ResultStore.
absl::Status CheckSqliteSchema(SqliteDatabase& database, const std::string& path);

// Brings a new or older database to the current schema. REQUIRES: CheckSqliteSchema.
absl::Status MigrateSqliteSchema(SqliteDatabase& database);

}  // namespace tightrope
