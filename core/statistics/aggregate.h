// From committed records to the rows of `results`.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/statistics/invariance_rows.h"
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

// What there is to count of a plan's jobs, by digest; of jobs that are committed as a whole only.
struct CountedJobs {
  std::map<std::string, VerdictCounts> verdicts{};                       // evaluate and attack
  std::map<std::string, InvarianceRecords> invariance{};                 // evaluate_invariance
  std::map<std::string, std::vector<v1::AlignmentResult>> alignments{};  // the shards in their order
};

// The rows of each cell whose job is committed (in the order of the plan's cells), then one row per (model, training,
// metric, attack, norm, ε) over seeds where every seed has one and they are of different jobs, with what Diagnose says
// of them. Deterministic. Evaluate jobs have a row clean_accuracy, attack jobs robust_accuracy; evaluations on sets and
// alignments have those of invariance_rows.h and alignment_rows.h; trainings and the making of sets have none. `plan`
// is that of `experiment`, which gives what job specs do not have: names, radii to look within.
std::vector<v1::MetricRow> Aggregate(const v1::Experiment& experiment, const v1::Plan& plan,
                                     const CountedJobs& counted);

}  // namespace tightrope
