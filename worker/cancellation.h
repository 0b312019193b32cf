// How the lease loop tells an executor to stop what it is doing: the coordinator dropped the attempt, or the worker
// leaves.
#pragma once

#include "absl/time/time.h"
#include "worker/alarm.h"

namespace tightrope {

// Goes from "not cancelled" to "cancelled" once. Thread-safe.
class Cancellation {
 public:
  Cancellation() = default;
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  void Cancel() { alarm_.Ring(); }

  bool cancelled() const { return alarm_.ringing(); }

  // Waits for `duration` or until cancelled; true if cancelled. An executor makes every pause between two tries here,
  // and asks before each try. A call in flight is not cut off: a fetch stops at the next part that arrives, a put when
  // it ends, each at its deadline at the latest.
  bool WaitFor(absl::Duration duration) const { return alarm_.WaitFor(duration); }

 private:
  Alarm alarm_;
};

}  // namespace tightrope
