// When a worker speaks to the coordinator, and what it does when nobody answers.
//
//   executors ──Take/Report…/Finish──▶ LeaseLoop (mutex, LeaseTable) ◀──Step── the loop's thread ──▶ SyncTransport
//
// One Sync is always in flight, held by the coordinator while there is nothing to say: that is the heartbeat. When an
// executor finishes or stores a checkpoint while a call may be held, the call is cancelled and a new one is sent at
// once; a call that already carries news is never cancelled, since it is answered at once and cancelling it could go on
// for ever.
//
// A lost coordinator is a state, not an error: executors go on computing, finished work is kept, and the call is tried
// again with growing, jittered pauses until `give_up_after`. When a coordinator answers again, the same one or another,
// the next request says all that the worker holds.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "tightrope/v1/coordinator.pb.h"
#include "worker/alarm.h"
#include "worker/lease_table.h"

namespace tightrope {

// The way to the coordinator for Sync. Used by one LeaseLoop, with at most one call at a time.
class SyncTransport {
 public:
  using Done = std::function<void(absl::StatusOr<v1::SyncResponse>)>;

  virtual ~SyncTransport() = default;
  // Calls `done` exactly once, from any thread, after at most `deadline`.
  virtual void Start(const v1::SyncRequest& request, absl::Duration deadline, Done done) = 0;
  // Makes a call in flight end soon; harmless where there is none. The reply may still be a good one.
  virtual void Cancel() = 0;
};

struct LeaseLoopOptions {
  absl::Duration idle_poll = absl::Seconds(8);          // how long a call may be held while nothing runs
  absl::Duration progress_interval = absl::Seconds(2);  // and while something does: progress travels with each call
  absl::Duration answer_within = absl::Seconds(10);     // beyond the poll; then the coordinator counts as lost
  absl::Duration first_retry = absl::Milliseconds(100);
  absl::Duration longest_retry = absl::Seconds(10);
  absl::Duration give_up_after = absl::Minutes(10);     // without an answer
  absl::Duration drain_limit = absl::Seconds(10);       // for saying good-bye
  absl::Duration idle_exit = absl::InfiniteDuration();  // without work from a coordinator that answers
};

// Thread-safe.
class LeaseLoop {
 public:
  enum class End {
    kDone,         // the coordinator said that no more work will come
    kDrained,      // asked to leave, or idle for too long; every finished attempt was acknowledged
    kUnreachable,  // no answer for too long; what was not acknowledged is lost and will be computed again by others
  };

  // `transport` must outlive the loop. `now` and `jitter` (uniform in [0, 1)) are called under the mutex.
  LeaseLoop(LeaseTable table, LeaseLoopOptions options, SyncTransport& transport, std::function<absl::Time()> now,
            std::function<double()> jitter);

  // Runs until the end, then cancels what still runs. Call once. REQUIRES: `now` goes on by itself and never back, as
  // SteadyClock does: a clock that is set would let a coordinator that answers count as lost, or a worker fall silent.
  End Run();

  // Does what is due and returns when to be called again, at the latest. Run is Step and waiting; tests call Step with
  // a clock of their own. REQUIRES: one thread, not during Run.
  absl::Time Step();
  // The end, once it is reached and no call is in flight.
  std::optional<End> end() const;

  // Leave: gives leases back, delivers finished work, ends.
  void Drain();

  // For executors. Take blocks until there is a lease, or returns nothing after the end.
  std::optional<TakenLease> Take();
  void ReportProgress(AttemptNumber number, double fraction, uint64_t examples_done);
  void ReportEpochs(AttemptNumber number, const std::vector<v1::EpochMetrics>& epochs, const v1::Artifact& checkpoint);
  void Finish(AttemptNumber number, AttemptOutcome outcome, double seconds);
  void Abandon(AttemptNumber number);

 private:
  enum class Call { kNone, kInFlight, kCancelling };

  bool MayTake() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return ended_ || table_.HasQueued(); }
  LeaseTable::Intake intake() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HandleReply(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HandleAnswer(const v1::SyncResponse& response, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void HandleLoss(const absl::Status& status, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DecideEnd(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void StartDraining(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::SyncRequest NextRequest(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Time NextWake() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const LeaseLoopOptions options_;
  SyncTransport& transport_;
  const std::function<absl::Time()> now_;
  const std::function<double()> jitter_;

  Alarm wake_;  // Step should be called
  mutable absl::Mutex mutex_;
  LeaseTable table_ ABSL_GUARDED_BY(mutex_);
  bool news_ ABSL_GUARDED_BY(mutex_) =
      false;  // the coordinator should hear something that the call in flight does not say

  Call call_ ABSL_GUARDED_BY(mutex_) = Call::kNone;
  bool call_has_news_ ABSL_GUARDED_BY(mutex_) = false;  // so it is answered at once
  bool call_leaves_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time sent_at_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  std::optional<absl::StatusOr<v1::SyncResponse>> reply_ ABSL_GUARDED_BY(mutex_);  // arrived, not handled yet

  absl::Time send_not_before_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  int failures_in_a_row_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<absl::Time> lost_since_
      ABSL_GUARDED_BY(mutex_);  // no answer since; from the start until the first answer
  std::optional<absl::Time> idle_since_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Time> draining_since_ ABSL_GUARDED_BY(mutex_);
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;  // the coordinator has no more work
  std::string coordinator_epoch_ ABSL_GUARDED_BY(mutex_);
  absl::Duration lease_ ABSL_GUARDED_BY(mutex_) = absl::Seconds(30);

  std::optional<End> end_ ABSL_GUARDED_BY(mutex_);  // decided; a call may still be in flight
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tightrope
