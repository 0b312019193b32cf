// One thread that writes to the store: what is queued while one transaction is being synced becomes the next
// transaction.
#pragma once

#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "coordinator/store/result_store.h"

namespace tightrope {

// Thread-safe.
class GroupCommit {
 public:
  // Called on the writing thread, after each transaction, with its writes in order and the tickets of each.
  using OnDurable = std::function<void(std::vector<StoreWrite>& writes, const std::vector<uint64_t>& tickets)>;
  // Called once, when the store fails; nothing is written after that.
  using OnFailure = std::function<void(const absl::Status& status)>;

  // `store` must outlive this.
  GroupCommit(ResultStore* store, OnDurable on_durable, OnFailure on_failure);
  // Writes what is queued, then stops.
  ~GroupCommit();
  GroupCommit(const GroupCommit&) = delete;
  GroupCommit& operator=(const GroupCommit&) = delete;

  // Returns at once; the ticket comes back in OnDurable. May be called while holding locks that OnDurable takes.
  void Enqueue(StoreWrite write, uint64_t ticket);

 private:
  void Run();

  ResultStore* const store_;
  const OnDurable on_durable_;
  const OnFailure on_failure_;
  absl::Mutex mutex_;
  std::vector<StoreWrite> writes_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint64_t> tickets_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: starts when all else is there
};

}  // namespace tightrope
