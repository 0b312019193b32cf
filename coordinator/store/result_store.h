// Where experiments, jobs and results live: the only truth. The scheduler's memory is rebuilt from it at start.
//
// Writing is group commit: one caller passes a batch, which becomes durable as a whole or not at all; the order within
// a batch is kept. Reads see every batch that was written. One thread may write while any number read.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "coordinator/store/stored_job.h"
#include "core/statistics/aggregate.h"
#include "core/statistics/invariance_rows.h"
#include "tightrope/v1/coordinator.pb.h"
#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// ---- Writes
// ----------------------------------------------------------------------------------------------------------

// Replaces the experiment of this name and moves it to the end of the order. Jobs that are there already keep their
// shards and what is committed; those not committed get whole budgets.
struct StoreSubmission {
  v1::Experiment experiment;
  v1::Inputs inputs;
  std::string source;
  v1::Plan plan;
};

// Commits a shard. One that is committed already stays as it is. Of a training the checkpoint is forgotten.
struct StoreResult {
  LeaseKey lease;
  std::string worker;
  double seconds = 0;
  ResultDigest digest{};
  v1::ShardResult result;
};

// Keeps an attempt that did not commit.
struct StoreAttempt {
  enum class Kind { kFailed, kLost, kNondeterministic };
  LeaseKey lease;
  Kind kind = Kind::kFailed;
  std::string worker;
  FailureReport failure;
  std::optional<ResultDigest> digest;  // of the result that differs
  absl::Time when;
};

// Metrics of a training's epochs and the checkpoint after the last of them. What was stored of later epochs, by an
// attempt that got further, is removed: the epochs are always those of the checkpoint.
struct StoreEpochs {
  std::string job;
  std::vector<v1::EpochMetrics> epochs;
  v1::Artifact checkpoint;
};

using StoreWrite = std::variant<StoreSubmission, StoreResult, StoreAttempt, StoreEpochs>;

// ---- Reads
// -----------------------------------------------------------------------------------------------------------

struct StoredJob {
  v1::Job job;
  std::optional<v1::Artifact> weights;  // of a committed training
  // Of a job that makes invariance-based examples: those of its committed shards.
  std::map<uint32_t, v1::Artifact> examples;
  std::optional<v1::Artifact> checkpoint;
  std::vector<v1::EpochMetrics> epochs;
  std::vector<RestoredShard> restored;
  uint32_t cached_shards = 0;  // committed when the experiment was submitted
  uint64_t cached_examples = 0;
};

struct StoredExperiment {
  std::string name;
  uint64_t order = 0;  // of submission
  std::vector<v1::Cell> cells;
  std::vector<StoredJob> jobs;  // in the order of the plan
};

// An experiment and its plan, without what is stored of the jobs.
struct StoredPlan {
  v1::Experiment experiment;
  v1::Plan plan;  // jobs without their shards
};

class ResultStore {
 public:
  virtual ~ResultStore() = default;

  // Raises the coordinator's generation, durably, and returns it.
  virtual absl::StatusOr<uint32_t> NextGeneration() = 0;

  // Errors of all methods: DATA_LOSS (the store is damaged), RESOURCE_EXHAUSTED (disk full, no memory),
  // PERMISSION_DENIED (the store became read-only), UNAVAILABLE (other I/O), INTERNAL (a bug).

  // For each signature its kernel on this kind of device with this version of the libraries: the one stored, else the
  // one proposed, which is stored, durably, before this returns.
  virtual absl::StatusOr<std::vector<v1::KernelOfSignature>> ChooseKernels(
      const std::string& device_kind, const std::string& library_version,
      const std::vector<v1::KernelOfSignature>& proposals) = 0;

  // Errors: also NOT_FOUND (a job that was never submitted). After an error nothing of the batch is stored.
  virtual absl::Status Write(absl::Span<const StoreWrite> batch) = 0;

  virtual absl::StatusOr<std::vector<std::string>> ExperimentNames() = 0;  // in the order of submission
  // Errors: NOT_FOUND.
  virtual absl::StatusOr<StoredExperiment> ReadExperiment(const std::string& name) = 0;
  // Errors: NOT_FOUND.
  virtual absl::StatusOr<StoredPlan> ReadPlan(const std::string& name) = 0;
  // The given jobs that are committed as a whole, in the given order.
  virtual absl::StatusOr<std::vector<std::string>> FindCommitted(const std::vector<std::string>& jobs) = 0;
  // Of the given jobs that are committed as a whole.
  virtual absl::StatusOr<std::map<std::string, VerdictCounts>> CountVerdicts(const std::vector<std::string>& jobs) = 0;
  // The examples of an evaluation on a set, with what the given attack jobs found on their sources. Of an evaluation
  // that is not committed as a whole nothing, of such attacks no entry.
  virtual absl::StatusOr<std::optional<InvarianceRecords>> ReadInvariance(const std::string& evaluation,
                                                                          const std::vector<std::string>& attacks) = 0;
  // Of the shards in their order; none of a job that is not committed as a whole.
  virtual absl::StatusOr<std::vector<v1::AlignmentResult>> ReadAlignment(const std::string& job) = 0;
  // Up to `limit` records of committed shards with an index of at least `from`, ascending.
  virtual absl::StatusOr<std::vector<v1::ExampleRecord>> ReadExamples(const std::string& job, uint64_t from,
                                                                      uint32_t limit) = 0;
  virtual absl::StatusOr<std::vector<v1::EpochMetrics>> ReadEpochs(const std::string& job) = 0;
  // (shard, artifact), of committed shards.
  virtual absl::StatusOr<std::vector<std::pair<uint32_t, v1::Artifact>>> ReadArtifacts(const std::string& job) = 0;
};

}  // namespace tightrope
