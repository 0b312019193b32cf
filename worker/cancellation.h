// How the lease loop tells an executor to stop what it is doing: the coordinator dropped the attempt, or the worker
// leaves.
#pragma once

#include <atomic>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace tightrope {

// Goes from "not cancelled" to "cancelled" once. Thread-safe.
class Cancellation {
 public:
  Cancellation() = default;
  Cancellation(const Cancellation&) = delete;
  Cancellation& operator=(const Cancellation&) = delete;

  void Cancel() {
    if (!requested_.exchange(true)) notification_.Notify();
  }

  bool cancelled() const { return notification_.HasBeenNotified(); }

  // Waits for `duration` or until cancelled; true if cancelled. Every wait of an executor for something outside the
  // process goes through here, so that no attempt outlives its cancellation.
  bool WaitFor(absl::Duration duration) const { return notification_.WaitForNotificationWithTimeout(duration); }

 private:
  std::atomic<bool> requested_{false};
  absl::Notification notification_;
};

}  // namespace tightrope
