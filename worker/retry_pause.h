// How an executor waits for a coordinator that is away.
#pragma once

#include <algorithm>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "worker/cancellation.h"

namespace tightrope {

struct RetryOptions {
  absl::Duration first = absl::Milliseconds(100);
  absl::Duration longest = absl::Seconds(5);
  absl::Duration give_up_after = absl::Minutes(10);  // of pauses in a row: then it is a failure of the attempt
};

// Nobody there, or nobody in time.
inline bool IsAway(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

inline absl::Status Cancelled() { return absl::CancelledError("the attempt was cancelled"); }

// Grows from try to try, starts again when something moved.
class RetryPause {
 public:
  explicit RetryPause(const RetryOptions& options) : options_(options), next_(options.first) {}

  void Reset() {
    next_ = options_.first;
    waited_ = absl::ZeroDuration();
  }

  // After `failure`. CANCELLED if cancelled before the pause was over; `failure` if there were pauses enough.
  absl::Status Wait(const absl::Status& failure, const Cancellation& cancellation) {
    if (waited_ >= options_.give_up_after) return failure;
    if (cancellation.WaitFor(next_)) return Cancelled();
    waited_ += next_;
    next_ = std::min(options_.longest, next_ * 2);
    return absl::OkStatus();
  }

 private:
  const RetryOptions options_;
  absl::Duration next_;
  absl::Duration waited_ = absl::ZeroDuration();
};

}  // namespace tightrope
