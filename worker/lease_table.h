// What a worker holds: leases that wait for an executor, attempts that run, results that the coordinator has not
// acknowledged yet. The pure half of the lease loop: every SyncRequest is built from this table and every SyncResponse
// is applied to it.
//
//      Apply(lease) ──▶ queued ──Take──▶ running ──Finish──▶ finished ──Apply(acknowledged)──▶ gone
//                          │                │
//                          └─ Apply(drop) ──┴─ cancelled; gone when its executor lets go (Abandon)
//
// A request always carries the whole table, so a lost reply, a repeated reply or a restarted coordinator needs no case
// of its own: the next request says everything again. No mutex, clock, thread or I/O; LeaseLoop owns those.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "tightrope/v1/coordinator.pb.h"
#include "worker/cancellation.h"

namespace tightrope {

// Names an attempt inside this process; unlike a LeaseId it never changes while the attempt runs.
using AttemptNumber = uint64_t;

// An attempt as its executor gets it.
struct TakenLease {
  AttemptNumber number = 0;
  v1::Lease lease;
  std::shared_ptr<const Cancellation> cancellation;
};

using AttemptOutcome = std::variant<v1::ShardResult, v1::Failure>;

// Thread-compatible, not thread-safe. Numbers given to it are those of Take; attempts that are gone are ignored.
class LeaseTable {
 public:
  // `info.devices` has one entry an executor.
  LeaseTable(std::string worker_id, v1::WorkerInfo info);

  // The oldest queued lease, now running; nothing where none is queued.
  std::optional<TakenLease> Take();
  bool HasQueued() const;

  void SetProgress(AttemptNumber number, double fraction, uint64_t examples_done);
  // `epochs` are done and `checkpoint`, which is after the last of them, is in the coordinator's artifact store.
  void AddEpochs(AttemptNumber number, const std::vector<v1::EpochMetrics>& epochs, const v1::Artifact& checkpoint);
  // The attempt ended. A result is offered even if the attempt was dropped meanwhile: the coordinator decides whether
  // it still counts; the failure of a dropped attempt says nothing and is forgotten.
  void Finish(AttemptNumber number, AttemptOutcome outcome, double seconds);
  // The attempt stopped because it was cancelled; nothing is said of it.
  void Abandon(AttemptNumber number);

  // How the next request is built.
  enum class Intake {
    kOpen,     // wants one running and one waiting lease an executor
    kClosed,   // wants nothing more
    kLeaving,  // wants nothing and gives its leases back
  };
  // Finished attempts are included up to kRequestBytes (at least one), the oldest first; the others are listed as
  // running.
  v1::SyncRequest BuildRequest(Intake intake) const;
  static constexpr size_t kRequestBytes = size_t{2} << 20;

  // What a response changed here; all zero if it said nothing new.
  struct Changes {
    int leases = 0;        // new ones, now queued
    int acknowledged = 0;  // finished attempts that are gone
    int dropped = 0;       // attempts cancelled
    int epochs_stored = 0;
    bool any() const { return leases + acknowledged + dropped + epochs_stored > 0; }
  };
  // Leases are taken only while `intake` is open. A lease on a shard that runs here already, with a larger epoch, is
  // the same work under a new fencing number: the attempt goes on and its result will carry the new number.
  Changes Apply(const v1::SyncResponse& response, Intake intake);

  // Cancels what runs and forgets what is queued; finished attempts stay.
  void CancelAll();

  bool HoldsNothing() const { return held_.empty() && finished_.empty(); }
  bool HasFinished() const { return !finished_.empty(); }
  // Something is queued or running.
  bool HoldsLeases() const { return !held_.empty(); }

 private:
  struct Held {
    v1::Lease lease;
    bool started = false;
    bool dropped = false;  // cancelled; not reported any more, but its executor has not let go yet
    double progress = 0;
    uint64_t examples_done = 0;
    std::vector<v1::EpochMetrics> epochs;  // not known to be stored
    v1::Artifact checkpoint;               // after the last of them
    std::shared_ptr<Cancellation> cancellation = std::make_shared<Cancellation>();
  };

  bool AddLease(const v1::Lease& lease);
  bool Drop(const v1::LeaseId& id);
  int StoreEpochs(const v1::EpochsStored& stored);

  const std::string worker_id_;
  const v1::WorkerInfo info_;
  AttemptNumber next_number_ = 1;
  std::map<AttemptNumber, Held> held_;  // in the order they came
  std::vector<v1::FinishedAttempt> finished_;
};

}  // namespace tightrope
