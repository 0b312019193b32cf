// Sums over the states of jobs or shards.
#pragma once

#include <cstdint>

#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

// All of them, in whatever state.
inline uint32_t Total(const v1::StateCounts& counts) {
  return counts.blocked() + counts.pending() + counts.leased() + counts.committed() + counts.cached() +
         counts.failed() + counts.cancelled();
}

// Those that have results.
inline uint32_t Done(const v1::StateCounts& counts) { return counts.committed() + counts.cached(); }

}  // namespace tightrope
