// The rows of `results` on sets of invariance-based examples: what a model makes of them (invariance_counts.h), and how
// easily an attack changes its predictions on the very same sources, so that the two kinds of error stand side by side.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// What the store has of one committed evaluation on a set.
struct InvarianceRecords {
  std::vector<v1::ExampleRecord> examples{};  // by position in the set
  // Of committed attack jobs, by digest: each source of the set that the attack has seen, with the smallest of the
  // job's radii at which it is broken; 0 where it is misclassified as it is, nothing where it is not broken.
  std::map<std::string, std::map<uint64_t, std::optional<double>>> broken_at{};
};

// A cell that attacks.
struct AttackOfModel {
  std::string job;
  v1::Norm norm;
  double epsilon;
};

using ModelKey = std::tuple<std::string, std::string, uint64_t>;  // model, training, seed
ModelKey ModelKeyOf(const v1::Cell& cell);
std::map<ModelKey, std::vector<AttackOfModel>> AttacksByModel(const v1::Plan& plan);

// For each job that evaluates a model on a set, the jobs that attack the model of the same training and seed. One that
// several seeds share has those of all.
std::map<std::string, std::vector<std::string>> AttacksBesideEvaluations(const v1::Plan& plan);

struct InvarianceRow {
  v1::MetricRow row;
  std::string jobs;  // digests of all that the figure is made of, so that equal ones are the same figure
};

// The rows of a cell that evaluates a model on a set; `head` says what all of them say of the cell, `attacks` are those
// of the same model, training and seed. Shares of SharesOf whose n is not 0; then, for each norm in which all attacks
// are committed, the share inside_robust_radius and for each of their radii sensitivity_error: the share of sources,
// each counted once, that some attack breaks within it.
//
// A source's robust radius is the largest of the radii at which no attack in the norm broke it, 0 where there is none.
// As with witnesses, rounding to float32 does not put an example outside; and one of a file may overstep a radius in
// linf by a grey level, 1/255, because such files are often made of bytes.
std::vector<InvarianceRow> InvarianceRows(const v1::EvaluateInvarianceJob& job, const InvarianceRecords& records,
                                          const std::vector<AttackOfModel>& attacks, const v1::MetricRow& head);

}  // namespace tightrope
