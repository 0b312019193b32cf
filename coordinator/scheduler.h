// Which shard may run, who holds it until when, and whose result counts: a pure state machine. No mutex, clock, thread
// or I/O; the service around it owns those, and tests drive it through millions of events.
//
//   for (const SchedulerEffect& effect : scheduler.Apply(AttemptOffered{...}, now)) { ... }
//
// States of a shard:
//
//   blocked ──▶ pending ──▶ leased ──▶ committing ──▶ committed
//                  ▲           │            │
//                  └───────────┴────────────┴──▶ failed | cancelled
//
// Leases are soft state: nothing about them is stored. What is durable is the coordinator's generation, raised at every
// start, so that the fencing epoch (generation << 32 | counter) of a shard only grows, across restarts too.
//
// The fencing rule. An outcome, or a claim to be still running, is accepted for a shard when either
//   * the shard is leased under exactly this epoch; or
//   * the shard is pending, the attempt has not failed, and nothing newer was granted: the epoch is the latest that was
//     granted (its lease expired, but nobody took over), or it is of an earlier generation, newer than what is known of
//     the shard, and this generation has granted none (the coordinator was restarted while the worker went on).
// A running claim so accepted gets its lease back, under the same epoch. Everything else is refused: the attempt is
// dropped, or the outcome acknowledged and not stored. A refused result is not forgotten: as results are deterministic,
// it is compared with the one that is committed; a different digest is evidence that the work is not reproducible.
//
// Budgets are two, never one. `max_failures` tries again what failed by itself; `max_losses` tries again what lost its
// worker, charged only when the lease expired after the work was started. Handing back, restarting the coordinator and
// losing a response charge nothing.
//
// A worker may hold more leases than it can run, so that it need not wait for the next one. When nothing is pending, a
// worker with a free executor takes over what waits like that at another: no shard queues behind a long training while
// somebody idles.
//
// A shard that failed on a worker goes to another one, as long as one is present on which it has not failed. So a
// worker on which everything fails at once (a full disk, a dead GPU) cannot use up the budgets of all that is pending.
//
// Deadlines belong to workers, not leases: every Sync lists and so extends all leases of its worker.
//
// Not thread-safe. Every operation is O(log n) in the number of shards, per shard that it touches; a worker on which
// much has failed costs a look at each job that it is passed over for.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/scheduler_events.h"

namespace tightrope {

struct SchedulerOptions {
  uint32_t generation = 1;  // larger than that of every earlier coordinator of the same store
  absl::Duration lease = absl::Seconds(30);
  int max_failures = 2;
  int max_losses = 8;
};

// Counts by state, as a status shows them.
struct StateTally {
  uint32_t blocked = 0;
  uint32_t pending = 0;
  uint32_t leased = 0;     // committing ones included
  uint32_t committed = 0;  // since the experiment was last submitted
  uint32_t cached = 0;     // before
  uint32_t failed = 0;
  uint32_t cancelled = 0;
};

struct ExperimentSnapshot {
  struct Failure {
    std::string job;
    std::string message;
  };
  StateTally jobs;
  StateTally shards;
  bool active = false;
  bool finished = false;
  double progress = 0;  // 0..1
  uint64_t examples_done = 0;
  uint64_t examples_total = 0;
  std::vector<Failure> failures;  // at most kMaxFailures
  uint32_t nondeterministic_shards = 0;

  static constexpr size_t kMaxFailures = 20;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);
  ~Scheduler();

  // `now` never goes back inside: an earlier one than before counts as the latest seen.
  std::vector<SchedulerEffect> Apply(const SchedulerEvent& event, absl::Time now);

  // Whether a WorkRequested might be granted something. Where it is not (what is there failed on that worker, or may
  // not be taken over), it changes nothing that can be seen.
  bool HasWork() const { return ready_shards_ > 0 || !queueing_.empty(); }
  // When TimePassed has something to do; infinite future: never.
  absl::Time NextDeadline() const;
  bool IsActive() const;  // some active experiment is not finished

  // Nothing where there is no such experiment.
  std::optional<ExperimentSnapshot> Snapshot(absl::string_view experiment) const;
  // Whether this epoch holds this shard now: what may store a checkpoint.
  bool Holds(absl::string_view worker, const LeaseKey& lease) const;
  uint32_t LeaseCount(absl::string_view worker) const;

  // Recomputes everything that is kept incrementally. INTERNAL says what does not add up.
  absl::Status CheckInvariants() const;

 private:
  enum class State : uint8_t { kBlocked, kPending, kLeased, kCommitting, kCommitted, kFailed, kCancelled };
  static constexpr size_t kStates = 7;
  struct Shard;
  struct Job;
  struct Worker;
  struct Experiment;
  using Effects = std::vector<SchedulerEffect>;
  using Priority = std::pair<uint64_t, uint32_t>;  // order of the experiment, position in its plan
  using WorkerIds = std::set<std::string, std::less<>>;

  void On(const ExperimentStored& event, Effects& effects);
  void On(const WorkerSynced& event, Effects& effects);
  void On(const AttemptOffered& event, Effects& effects);
  void On(const AttemptDurable& event, Effects& effects);
  void On(const WorkRequested& event, Effects& effects);
  void On(const TimePassed& event, Effects& effects);

  Job* FindJob(absl::string_view digest) const;
  Job* AddJob(const PlannedJob& planned);
  void ForgetJob(Job* job);
  // A failed or cancelled job starts again; any job gets whole budgets.
  void RenewJob(Job* job, Effects& effects);
  // Lets a stopped job go on whose dependencies do, and then what was cancelled only because of it.
  void Revive(Job* job, Effects& effects);
  void Dereference(Experiment* experiment);
  bool MayTakeOver(const Shard& shard, uint64_t epoch) const;
  void SetState(Job* job, uint32_t index, State state);
  void UpdateReady(Job* job);
  // Gives a pending shard to a worker under the epoch that the shard has.
  void StartLease(Job* job, uint32_t index, Worker* worker);
  // Ends the lease of a leased shard, which goes to `next`.
  void EndLease(Job* job, uint32_t index, State next);
  void Accept(Job* job, const AttemptOffered& offer, Effects& effects);
  void Refuse(Job* job, const AttemptOffered& offer, Effects& effects);
  void CommitShard(Job* job, uint32_t index, const ResultDigest& result, Effects& effects);
  void FailShard(Job* job, uint32_t index, const std::string& message, Effects& effects);
  void Stop(Job* job, const std::string& reason, Effects& effects);
  // Keeps the experiments' counts of unfinished jobs when a job starts or ceases to have anything left to do.
  void NoteProgress(Job* job, Effects& effects);
  void Touch(Worker* worker);
  // Keeps queueing_ right; after every change of the worker's leases or executors.
  void NoteQueue(Worker* worker);
  // Whether somebody else is present on whom that has not failed which failed on these, `worker` among them.
  bool MustPass(const Worker* worker, const WorkerIds& failed_on) const;
  // Takes the first pending shard that `worker` may have out of the job's queue; nothing: there is none.
  std::optional<uint32_t> PopPending(Job* job, const Worker* worker);
  // The lease of the first ready shard that `worker` may have, to it; false: there is none.
  bool Grant(Worker* worker, Effects& effects);
  // Frees a lease that another worker has waiting behind what it runs, and that `worker` may have; false: there is
  // none.
  bool FreeQueuedLease(const Worker* worker);
  void ExpireWorker(Worker* worker, Effects& effects);
  void ForgetWorker(Worker* worker);

  const SchedulerOptions options_;
  absl::Time now_ = absl::InfinitePast();
  uint32_t grants_ = 0;       // counter part of the next epoch
  uint64_t job_numbers_ = 0;  // for orders that do not depend on addresses
  uint64_t worker_numbers_ = 0;
  uint32_t present_workers_ = 0;          // not leaving
  std::map<uint64_t, Worker*> queueing_;  // by number: those with more leases than executors

  absl::flat_hash_map<std::string, std::unique_ptr<Job>> jobs_;
  absl::flat_hash_map<std::string, std::unique_ptr<Worker>> workers_;
  std::map<std::string, std::unique_ptr<Experiment>, std::less<>> experiments_;
  std::map<Priority, Job*> ready_;  // active jobs with pending shards
  uint64_t ready_shards_ = 0;       // pending shards of active jobs
  std::map<std::pair<absl::Time, uint64_t>, Worker*> deadlines_;
};

}  // namespace tightrope
