// Waiting that follows no clock that can be set. The timed waits of absl::Mutex and absl::Notification end at a time of
// the system's clock (Abseil 20220623, Debian 12's): when that is set back by an hour, they last an hour longer.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

namespace tightrope {

// Silent or ringing. Thread-safe.
class Alarm {
 public:
  Alarm() = default;
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;

  void Ring() {
    const std::lock_guard lock(mutex_);
    ringing_ = true;
    changed_.notify_all();
  }

  void Silence() {
    const std::lock_guard lock(mutex_);
    ringing_ = false;
  }

  bool ringing() const {
    const std::lock_guard lock(mutex_);
    return ringing_;
  }

  // Waits until it rings, for at most `duration`; true if it rings.
  bool WaitFor(absl::Duration duration) const {
    const auto ringing = [this] { return ringing_; };
    std::unique_lock lock(mutex_);
    if (duration == absl::InfiniteDuration()) {
      changed_.wait(lock, ringing);
      return true;
    }
    // A year is far from where nanoseconds since the start of the machine overflow.
    const absl::Duration wait = std::clamp(duration, absl::ZeroDuration(), absl::Hours(24 * 365));
    return changed_.wait_for(lock, absl::ToChronoNanoseconds(wait), ringing);
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool ringing_ = false;
};

}  // namespace tightrope
