#include "core/statistics/invariance_rows.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/plan/plan.h"
#include "core/statistics/intervals.h"
#include "core/statistics/invariance_counts.h"

namespace tightrope {
namespace {

constexpr double kGreyLevel = 1.0 / 255;

// By how much an example may be farther than a radius and still count as inside.
double ToleranceAt(double radius, v1::Norm norm, bool of_a_file) {
  // As of witnesses (coordinator/result_validation.cc): distances are of examples that were rounded to float32.
  const double rounding = radius * 1e-5 + 1e-6;
  return rounding + (of_a_file && norm == v1::NORM_LINF ? kGreyLevel : 0);
}

std::optional<double> DistanceIn(v1::Norm norm, const v1::ExampleRecord::Nearest& distances) {
  switch (norm) {
    case v1::NORM_LINF:
      return distances.linf();
    case v1::NORM_L2:
      return distances.l2();
    case v1::NORM_L1:
      return distances.l1();
    case v1::NORM_L0:
      return distances.l0();
    default:
      return std::nullopt;
  }
}

JudgedExample OutcomeOf(const v1::ExampleRecord& record) {
  return {.source_label = record.label(),
          .oracle_label = record.oracle_label(),
          .source_prediction = record.clean_prediction(),
          .prediction = record.adversarial_prediction()};
}

// All attacks on the model in one norm.
struct ThreatModel {
  std::set<double> radii;
  std::set<std::string> jobs;
  // Of each source that one of them has seen, the smallest radius at which any of them breaks it.
  std::map<uint64_t, std::optional<double>> broken_at;

  // False where a job is not committed: then the worst case is not known.
  bool Take(const InvarianceRecords& records) {
    for (const std::string& job : jobs) {
      const auto seen = records.broken_at.find(job);
      if (seen == records.broken_at.end()) return false;
      for (const auto& [source, radius] : seen->second) {
        std::optional<double>& worst = broken_at[source];
        if (radius.has_value() && (!worst.has_value() || *radius < *worst)) worst = radius;
      }
    }
    return true;
  }

  // Absent where no attack has seen the source.
  std::optional<double> RobustRadiusOf(uint64_t source) const {
    const auto seen = broken_at.find(source);
    if (seen == broken_at.end()) return std::nullopt;
    const auto end = seen->second.has_value() ? radii.lower_bound(*seen->second) : radii.end();
    return end == radii.begin() ? 0 : *std::prev(end);
  }

  uint64_t BrokenWithin(double epsilon) const {
    return static_cast<uint64_t>(std::count_if(broken_at.begin(), broken_at.end(), [&](const auto& entry) {
      return entry.second.has_value() && *entry.second <= epsilon;
    }));
  }
};

class RowsOfCell {
 public:
  RowsOfCell(const v1::EvaluateInvarianceJob& job, const InvarianceRecords& records, const v1::MetricRow& head)
      : job_(job), records_(records), head_(head) {}

  void AddShares() {
    InvarianceCounts counts;
    for (const v1::ExampleRecord& record : records_.examples) Count(OutcomeOf(record), /*tolerance=*/0, counts);
    for (const InvarianceShare& share : SharesOf(counts, kConfidence)) {
      Add(share.metric, head_, share.successes, share.n, head_.job_digest());
    }
  }

  void AddThreatModel(v1::Norm norm, const ThreatModel& attacks) {
    v1::MetricRow head = head_;
    head.set_norm(NormName(norm));
    const std::string jobs = absl::StrCat(head_.job_digest(), " ", absl::StrJoin(attacks.jobs, " "));
    InvarianceCounts counts;
    for (const v1::ExampleRecord& record : records_.examples) {
      const std::optional<double> distance = DistanceIn(norm, record.nearest());
      if (!distance.has_value()) continue;
      JudgedExample outcome = OutcomeOf(record);
      outcome.distance = *distance;
      outcome.robust_radius = attacks.RobustRadiusOf(record.source());
      Count(outcome, ToleranceAt(outcome.robust_radius.value_or(0), norm, job_.has_array_sha256()), counts);
    }
    Add("inside_robust_radius", head, counts.robust.inside, counts.robust.known, jobs);
    for (const double epsilon : attacks.radii) {
      head.set_epsilon(epsilon);
      Add("sensitivity_error", head, attacks.BrokenWithin(epsilon), attacks.broken_at.size(), jobs);
    }
  }

  std::vector<InvarianceRow> Finish() { return std::move(rows_); }

 private:
  void Add(const std::string& metric, v1::MetricRow row, uint64_t successes, uint64_t n, const std::string& jobs) {
    if (n == 0) return;
    row.set_metric(metric);
    SetShare(successes, n, row);
    rows_.push_back({std::move(row), jobs});
  }

  const v1::EvaluateInvarianceJob& job_;
  const InvarianceRecords& records_;
  const v1::MetricRow& head_;
  std::vector<InvarianceRow> rows_;
};

}  // namespace

ModelKey ModelKeyOf(const v1::Cell& cell) { return {cell.model(), cell.training(), cell.seed()}; }

std::map<ModelKey, std::vector<AttackOfModel>> AttacksByModel(const v1::Plan& plan) {
  std::map<std::string, const v1::AttackJob*> jobs;
  for (const v1::Job& job : plan.jobs()) {
    if (job.spec().has_attack()) jobs.emplace(job.digest(), &job.spec().attack());
  }
  std::map<ModelKey, std::vector<AttackOfModel>> attacks;
  for (const v1::Cell& cell : plan.cells()) {
    const auto job = jobs.find(cell.job_digest());
    if (job == jobs.end()) continue;
    attacks[ModelKeyOf(cell)].push_back(
        {cell.job_digest(), job->second->attack().norm(), RadiusOf(cell, *job->second)});
  }
  return attacks;
}

std::map<std::string, std::vector<std::string>> AttacksBesideEvaluations(const v1::Plan& plan) {
  std::set<std::string> evaluations;
  for (const v1::Job& job : plan.jobs()) {
    if (job.spec().has_evaluate_invariance()) evaluations.insert(job.digest());
  }
  const auto attacks = AttacksByModel(plan);
  std::map<std::string, std::set<std::string>> beside;
  for (const v1::Cell& cell : plan.cells()) {
    if (!evaluations.contains(cell.job_digest())) continue;
    std::set<std::string>& jobs = beside[cell.job_digest()];
    const auto found = attacks.find(ModelKeyOf(cell));
    if (found == attacks.end()) continue;
    for (const AttackOfModel& attack : found->second) jobs.insert(attack.job);
  }
  std::map<std::string, std::vector<std::string>> lists;
  for (const auto& [evaluation, jobs] : beside) lists[evaluation].assign(jobs.begin(), jobs.end());
  return lists;
}

std::vector<InvarianceRow> InvarianceRows(const v1::EvaluateInvarianceJob& job, const InvarianceRecords& records,
                                          const std::vector<AttackOfModel>& attacks, const v1::MetricRow& head) {
  RowsOfCell rows(job, records, head);
  rows.AddShares();
  std::map<v1::Norm, ThreatModel> threat_models;
  for (const AttackOfModel& attack : attacks) {
    ThreatModel& of_norm = threat_models[attack.norm];
    of_norm.radii.insert(attack.epsilon);
    of_norm.jobs.insert(attack.job);
  }
  for (auto& [norm, of_norm] : threat_models) {
    if (of_norm.Take(records)) rows.AddThreatModel(norm, of_norm);
  }
  return rows.Finish();
}

}  // namespace tightrope
