// From committed records to the rows of `results`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// What the store counts over the records of one committed job.
struct VerdictCounts {
  uint64_t n = 0;
  uint64_t clean_correct = 0;  // clean_prediction == label
  // How many are broken from which of the job's radii on; 0: as they are.
  std::map<double, uint64_t> broken_at{};
  // How many were broken by which attack of an ensemble, of those that are right as they are.
  std::map<std::string, uint64_t> broken_by{};
  uint64_t largest_class = 0;           // examples of the most frequent label
  v1::AttackDiagnostics diagnostics{};  // of all shards

  uint64_t NotBrokenAt(double epsilon) const;
};

// The record of a job with several radii as that of one of them: a witness that lies beyond it is none.
v1::ExampleRecord AtRadius(v1::ExampleRecord record, double epsilon);

// One row per cell whose job is committed (in the order of the plan's cells), then one row per (model, training,
// attack, norm, ε) over seeds where every seed is committed and there are jobs of more than one, with what Diagnose
// says of them. Deterministic. Rows of evaluate jobs are clean_accuracy, of attack jobs robust_accuracy; train jobs
// have none. `counts` is keyed by job digest and holds fully committed jobs only. `plan` is that of `experiment`, which
// gives the names that job specs do not have.
std::vector<v1::MetricRow> Aggregate(const v1::Experiment& experiment, const v1::Plan& plan,
                                     const std::map<std::string, VerdictCounts>& counts);

}  // namespace tightrope
