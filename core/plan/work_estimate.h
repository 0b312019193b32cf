// How much work a job is, in a measure that does not depend on the machine: what `plan` prints, and the weight of a job
// in the progress of its experiment.
#pragma once

#include <cstdint>

#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// Passes of one example through a model. For attacks it is the most that may be needed: an example that is broken
// leaves the batch (l2 may need a few more, where rounding had to be made good).
struct WorkEstimate {
  double forward_passes = 0;
  double backward_passes = 0;
};

WorkEstimate EstimateWork(const v1::Job& job);

// Examples that a job goes through: those of its shards, or those that it trains on.
uint64_t ExamplesOf(const v1::Job& job);

}  // namespace tightrope
