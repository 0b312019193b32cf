// What would run, for people and for scripts.
#pragma once

#include <cstdint>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "cli/text_layout.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// Passes of one example through a model: the measure of work that does not depend on the machine. For attacks it is the
// most that may be needed: an example that is broken leaves the batch.
struct WorkEstimate {
  double forward_passes = 0;
  double backward_passes = 0;
};

WorkEstimate EstimateWork(const v1::Job& job);

// Examples that a job goes through: those of its shards, or those that it trains on.
uint64_t ExamplesOf(const v1::Job& job);

// A plan, with what is in the store already.
struct PlanReport {
  const v1::Experiment& experiment;
  const v1::Inputs& inputs;
  const v1::Plan& plan;
  bool store_asked = false;         // there was a store to ask
  std::set<std::string> committed;  // digests of jobs that need not run
};

// The grid, a line a job (digests by their first 12 digits) and the totals.
std::string PlanTable(const PlanReport& report, const TextStyle& style);

// One object: experiment, dataset, jobs, cells, totals; whole digests.
void WritePlanJson(const PlanReport& report, std::ostream& out);

}  // namespace tightrope
