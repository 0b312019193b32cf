// How many cores this process may use.
#pragma once

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <thread>

namespace tightrope {

// What `nproc` says: batch systems give a process a part of the machine. All of the machine where the system does not
// tell; at least one.
inline int UsableCores() {
  // The kernel refuses a set with room for fewer cores than it was built for, and says EINVAL.
  for (int room = CPU_SETSIZE; room <= CPU_SETSIZE * 1024; room *= 2) {
    struct Free {
      void operator()(cpu_set_t* set) const { CPU_FREE(set); }
    };
    const std::unique_ptr<cpu_set_t, Free> set(CPU_ALLOC(room));
    const size_t bytes = CPU_ALLOC_SIZE(room);
    if (set == nullptr) break;
    CPU_ZERO_S(bytes, set.get());
    if (sched_getaffinity(0, bytes, set.get()) == 0) return std::max(1, CPU_COUNT_S(bytes, set.get()));
    if (errno != EINVAL) break;
  }
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace tightrope
