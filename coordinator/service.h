// The coordinator behind its calls: owns the mutex, the clock, the scheduler and the thread that writes to the store.
// The gRPC adapters only convert.
//
// Order of everything that is promised: an offered result is accepted by the scheduler, queued to the GroupCommit,
// durable, applied to the scheduler, acknowledged. A Sync that brought something to store is answered when that is
// durable, with the next leases in the same answer. Where the store fails, the service stops: nothing is promised any
// more, calls end with UNAVAILABLE, Wait returns the store's status.
//
// Thread-safe. Callbacks run without the mutex held, on whichever thread brought the answer about, exactly once each.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "coordinator/example_rate.h"
#include "coordinator/group_commit.h"
#include "coordinator/scheduler.h"
#include "coordinator/store/result_store.h"
#include "core/artifact/blob_store.h"
#include "tightrope/v1/coordinator.pb.h"
#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

struct CoordinatorServiceOptions {
  SchedulerOptions scheduler;
  absl::Duration poll = absl::Seconds(8);
  bool resume_experiments = true;
  std::string epoch;                  // SyncResponse.coordinator_epoch
  std::function<absl::Time()> clock;  // does not go back
};

class CoordinatorService {
 public:
  // Names a call that can be cancelled.
  using CallId = uint64_t;
  using SyncDone = std::function<void(absl::StatusOr<v1::SyncResponse>)>;
  using SubmitDone = std::function<void(absl::StatusOr<v1::SubmitResponse>)>;
  struct Update {
    v1::StatusResponse status;
    uint64_t version = 0;
    bool last = false;  // finished, or not being worked on
  };
  using UpdateDone = std::function<void(absl::StatusOr<Update>)>;

  // Reads the unfinished and finished experiments of `store`. `store` and `blobs` must outlive this. Errors: as of
  // ResultStore.
  static absl::StatusOr<std::unique_ptr<CoordinatorService>> Start(CoordinatorServiceOptions options,
                                                                   ResultStore* store, const BlobStore* blobs);
  ~CoordinatorService();

  CallId NewCall();
  // Ends a Sync or an AwaitUpdate that is held with CANCELLED; does nothing where it has ended.
  void Cancel(CallId call);

  // Looks at files that the worker names, and answers when what it brought is durable and there is something to say.
  // Errors: INVALID_ARGUMENT (a malformed request), ABORTED (a newer Sync of this worker came), CANCELLED (by Cancel),
  // UNAVAILABLE (stopping, or the store has failed).
  void Sync(CallId call, const v1::SyncRequest& request, SyncDone done);

  // Blocks for planning and for looking at files, not for the store. Errors: INVALID_ARGUMENT (not a valid experiment),
  // FAILED_PRECONDITION (artifacts that it needs are missing; the message lists them), UNAVAILABLE (as Sync).
  void Submit(const v1::SubmitRequest& request, SubmitDone done);
  // Empty name: all experiments. Errors: NOT_FOUND.
  absl::StatusOr<v1::StatusResponse> Status(const std::string& experiment);
  // The next status that is newer than `seen`, not before `not_before` unless it is the last. Errors: NOT_FOUND,
  // CANCELLED (by Cancel), UNAVAILABLE (as Sync).
  void AwaitUpdate(CallId call, const std::string& experiment, uint64_t seen, absl::Duration not_before,
                   UpdateDone done);
  // Reads the store. Errors: NOT_FOUND, or the store's.
  absl::StatusOr<v1::ResultsResponse> Results(const std::string& experiment);

  // Ends what has become too old: to be called every 100 ms or so, and by tests when they have moved the clock.
  void Tick();
  void ReleaseWorkers();
  // Ends every call in flight with UNAVAILABLE.
  void Stop();
  // Until Stop, or until the store has failed: its status.
  absl::Status Wait();

  // See Scheduler::CheckInvariants.
  absl::Status CheckInvariants();

 private:
  // Answers to give once the mutex is free.
  class Outbox;
  struct JobRecord {
    std::shared_ptr<const v1::Job> job;
    std::optional<v1::Artifact> weights;        // of a training, once committed
    std::map<uint32_t, v1::Artifact> examples;  // of what makes invariance-based ones, by committed shard
    std::optional<v1::Artifact> checkpoint;     // of a training that is not committed
    std::vector<v1::EpochMetrics> epochs;       // that `checkpoint` holds
  };
  struct ExperimentRecord {
    std::vector<std::string> jobs;
    absl::flat_hash_map<std::string, std::string> descriptions;  // by job digest
  };
  struct WorkerRecord {
    v1::WorkerInfo info;
    absl::Time seen;
    ExampleRate rate;
    absl::flat_hash_map<std::pair<std::string, uint32_t>, uint64_t> counted;  // examples of the attempts it listed last
    std::optional<CallId> call;
  };
  struct SyncCall {
    std::string worker;
    SyncDone done;
    uint32_t want = 0;
    absl::Time deadline;
    int unstored = 0;  // writes that the answer waits for
    bool due = false;  // has something to say even without leases
    std::vector<LeaseKey> trainings;
    v1::SyncResponse response;
  };
  struct UpdateCall {
    std::string experiment;
    uint64_t seen;
    absl::Time not_before;
    UpdateDone done;
  };
  // Who waits for a write, and what is acknowledged then.
  struct Waiter {
    CallId call;
    std::optional<LeaseKey> acknowledge;
  };
  struct Checked;  // a finished attempt, digested and validated

  CoordinatorService(CoordinatorServiceOptions options, ResultStore* store, const BlobStore* blobs);

  Checked Check(const v1::FinishedAttempt& finished) const ABSL_LOCKS_EXCLUDED(mutex_);
  void OnDurable(std::vector<StoreWrite>& writes, const std::vector<uint64_t>& tickets);
  void OnFailure(const absl::Status& status);

  std::vector<SchedulerEffect> Apply(const SchedulerEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Offer(CallId call, const std::string& worker, Checked checked) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeEpochs(CallId call, const v1::RunningAttempt& running, bool checkpoint_is_there)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteWorker(const v1::SyncRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What follows from effects that are nobody's answer: evidence and losses are stored.
  void Record(const std::vector<SchedulerEffect>& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint64_t Enqueue(StoreWrite write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds checkpoints that nobody needs any more to `obsolete`.
  void Stored(StoreWrite& write, uint64_t ticket, std::vector<std::string>& obsolete)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether a job needs this artifact, made this or would go on from it: what a worker names must not cost an input.
  bool IsNeeded(const std::string& sha256) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddExperiment(StoredExperiment stored, bool active, bool fresh) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  StoreAttempt Evidence(const NondeterminismFound& found) const;
  static v1::SubmitResponse Summarize(const StoredExperiment& stored);
  v1::Lease MakeLease(const LeaseGranted& granted) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Answers every held Sync that has something to say, and every held update if an experiment has finished.
  void Settle(Outbox& outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SettleUpdates(Outbox& outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Completes the response, with leases where there is work; false: it is held on.
  bool TryAnswer(SyncCall& call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StopWith(const absl::Status& status, Outbox& outbox) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::StatusResponse> MakeStatus(const std::string& experiment) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsOver(const std::string& experiment) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CoordinatorServiceOptions options_;
  ResultStore* const store_;
  const BlobStore* const blobs_;

  mutable absl::Mutex mutex_;
  Scheduler scheduler_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, JobRecord> jobs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, ExperimentRecord> experiments_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, WorkerRecord> workers_ ABSL_GUARDED_BY(mutex_);
  std::map<CallId, SyncCall> syncs_ ABSL_GUARDED_BY(mutex_);  // in the order of arrival
  std::map<CallId, UpdateCall> updates_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, SubmitDone> submissions_ ABSL_GUARDED_BY(mutex_);                    // by ticket
  absl::flat_hash_map<uint64_t, std::vector<Waiter>> waiting_ ABSL_GUARDED_BY(mutex_);               // by ticket
  absl::flat_hash_map<std::pair<std::string, uint32_t>, uint64_t> storing_ ABSL_GUARDED_BY(mutex_);  // shard → ticket
  CallId next_call_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t next_ticket_ ABSL_GUARDED_BY(mutex_) = 1;
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 1;  // of everything that a status shows
  bool finished_something_ ABSL_GUARDED_BY(mutex_) = false;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status stop_status_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<GroupCommit> commits_;  // last: its thread uses the rest
};

}  // namespace tightrope
