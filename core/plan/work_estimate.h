// How much work a job is, in a measure that does not depend on the machine: what `plan` prints, and the weight of a job
// in the progress of its experiment.
#pragma once

#include <cstdint>

#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// Passes of one example through a model. For attacks it is the most that may be needed: an example that is broken
// leaves the batch (l2 may need a few more, where rounding had to be made good).
//
// What compares images and asks no model is counted in forward passes that take about as long, so that progress and the
// time left are not far off: comparing an image with a thousand others is one pass of a small network. An alignment
// compares each anchor with all of its split; l0 compares a source with every transform of every candidate; the
// straight interpolation compares it with every candidate. The searches over a grid of transforms reject nine
// candidates in ten without looking closely.
struct WorkEstimate {
  double forward_passes = 0;
  double backward_passes = 0;
};

WorkEstimate EstimateWork(const v1::Job& job);

// Examples that a job goes through: those of its shards, or those that it trains on.
uint64_t ExamplesOf(const v1::Job& job);

}  // namespace tightrope
