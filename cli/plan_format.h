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
