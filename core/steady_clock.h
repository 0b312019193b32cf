// The clock that the coordinator's service and the worker's lease loop are given: timeouts and leases are measured with
// it. For `main` and what puts a process together; nothing in core reads it.
#pragma once

#include <chrono>
#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tightrope {

// Never goes back, and does not jump when the system's clock is set; starts at the time of day. Two clocks of one
// process may differ. Thread-safe.
inline std::function<absl::Time()> SteadyClock() {
  return [wall = absl::Now(), start = std::chrono::steady_clock::now()] {
    return wall + absl::FromChrono(std::chrono::steady_clock::now() - start);
  };
}

}  // namespace tightrope
