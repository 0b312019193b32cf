#include "core/statistics/aggregate.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "core/plan/plan.h"
#include "core/statistics/alignment_rows.h"
#include "core/statistics/diagnose.h"
#include "core/statistics/intervals.h"
#include "core/statistics/proportion.h"

namespace tightrope {
namespace {

std::string ModelDigest(const v1::ModelRef& model) {
  return model.has_trained_by() ? model.trained_by() : model.torchscript_sha256();
}

// What a row says of its cell before anything is counted.
v1::MetricRow HeadOf(const v1::Experiment& experiment, const v1::Cell& cell, const v1::DatasetRef& data) {
  v1::MetricRow row;
  row.set_experiment(experiment.name());
  row.set_dataset(experiment.dataset());
  row.set_dataset_digest(DatasetDigest(data));
  row.set_job_digest(cell.job_digest());
  return row;
}

v1::MetricRow HeadOf(const v1::Experiment& experiment, const v1::Cell& cell, const v1::DatasetRef& data,
                     const v1::ModelRef& model) {
  v1::MetricRow row = HeadOf(experiment, cell, data);
  row.set_model(cell.model());
  row.set_training(cell.training());
  row.set_model_digest(ModelDigest(model));
  row.add_seeds(cell.seed());
  return row;
}

// Rows that differ in the seed only.
struct SeedGroup {
  std::vector<size_t> places{};  // among the rows
  std::set<std::string> jobs{};  // that they are made of
};

using GroupKey = std::tuple<std::string, std::string, std::string, std::string, std::string, double>;

GroupKey KeyOf(const v1::MetricRow& row) {
  return {row.model(), row.training(), row.metric(), row.attack(), row.norm(), row.epsilon()};
}

v1::MetricRow OverSeeds(const std::vector<v1::MetricRow>& seeds) {
  v1::MetricRow row = seeds.front();
  std::vector<double> values;
  uint64_t n = 0;
  row.clear_seeds();
  row.clear_diagnostics();
  std::set<std::string> kinds;
  for (const v1::MetricRow& one : seeds) {
    values.push_back(one.value());
    n += one.n();
    row.add_seeds(one.seeds(0));
    for (const v1::Diagnostic& diagnostic : one.diagnostics()) {  // the first seed's words
      if (kinds.insert(diagnostic.kind()).second) *row.add_diagnostics() = diagnostic;
    }
  }
  row.clear_job_digest();
  row.clear_model_digest();
  row.set_value(Mean(values));
  row.set_lower(*std::min_element(values.begin(), values.end()));
  row.set_upper(*std::max_element(values.begin(), values.end()));
  row.set_n(n);
  row.set_interval(kOverSeeds);
  row.set_spread(SampleStandardDeviation(values));
  return row;
}

// Takes in the rows of one cell after another.
class Aggregation {
 public:
  Aggregation(const v1::Experiment& experiment, const v1::Plan& plan, const CountedJobs& counted)
      : experiment_(experiment), plan_(plan), counted_(counted), attacks_(AttacksByModel(plan)) {}

  void AddCell(const v1::Cell& cell, const v1::JobSpec& spec) {
    switch (spec.kind_case()) {
      case v1::JobSpec::kEvaluate: {
        v1::MetricRow row = HeadOf(experiment_, cell, spec.evaluate().data(), spec.evaluate().model());
        row.set_metric("clean_accuracy");
        return AddAccuracy(std::move(row), [](const VerdictCounts& counts) { return counts.clean_correct; });
      }
      case v1::JobSpec::kAttack: {
        const double epsilon = RadiusOf(cell, spec.attack());
        v1::MetricRow row = HeadOf(experiment_, cell, spec.attack().data(), spec.attack().model());
        row.set_metric("robust_accuracy");
        row.set_norm(NormName(spec.attack().attack().norm()));
        row.set_epsilon(epsilon);
        row.set_attack(cell.attack());
        return AddAccuracy(std::move(row), [&](const VerdictCounts& counts) { return counts.NotBrokenAt(epsilon); });
      }
      case v1::JobSpec::kEvaluateInvariance:
        return AddInvariance(cell, spec.evaluate_invariance());
      case v1::JobSpec::kAlignment:
        return AddAlignment(cell, spec.alignment());
      default:
        return;
    }
  }

  std::vector<v1::MetricRow> Finish() {
    Diagnose(plan_, counted_.verdicts, rows_);
    for (const SeedGroup* group : in_order_) {
      // What draws nothing at random is one job for all seeds (a TorchScript model's clean accuracy, its FGSM): no
      // spread.
      if (static_cast<int>(group->places.size()) != experiment_.seeds_size() || group->jobs.size() < 2) continue;
      std::vector<v1::MetricRow> seeds;
      for (const size_t place : group->places) seeds.push_back(rows_[place]);
      rows_.push_back(OverSeeds(seeds));
    }
    return std::move(rows_);
  }

 private:
  template <typename Successes>
  void AddAccuracy(v1::MetricRow row, const Successes& successes) {
    const auto counts = counted_.verdicts.find(row.job_digest());
    if (counts == counted_.verdicts.end() || counts->second.n == 0) return;  // a share of no examples is no figure
    SetShare(successes(counts->second), counts->second.n, row);
    const std::string job = row.job_digest();
    AddOfSeed(std::move(row), job);
  }

  void AddInvariance(const v1::Cell& cell, const v1::EvaluateInvarianceJob& job) {
    const auto records = counted_.invariance.find(cell.job_digest());
    if (records == counted_.invariance.end()) return;
    v1::MetricRow head = HeadOf(experiment_, cell, job.data(), job.model());
    head.set_attack(cell.invariance());
    const auto attacks = attacks_.find(ModelKeyOf(cell));
    for (InvarianceRow& one : InvarianceRows(
             job, records->second, attacks == attacks_.end() ? std::vector<AttackOfModel>() : attacks->second, head)) {
      AddOfSeed(std::move(one.row), one.jobs);
    }
  }

  void AddAlignment(const v1::Cell& cell, const v1::AlignmentJob& job) {
    const auto shards = counted_.alignments.find(cell.job_digest());
    if (shards == counted_.alignments.end()) return;
    v1::MetricRow head = HeadOf(experiment_, cell, job.data());
    head.set_attack(cell.alignment());
    head.set_norm(NormName(job.norm()));
    std::vector<double> radii;
    for (const v1::Alignment& entry : experiment_.alignment()) {
      if (entry.name() == cell.alignment()) radii.assign(entry.radii().begin(), entry.radii().end());
    }
    for (v1::MetricRow& row : AlignmentRows(job, radii, shards->second, head)) rows_.push_back(std::move(row));
  }

  void AddOfSeed(v1::MetricRow row, const std::string& jobs) {
    const auto [entry, is_new] = groups_.try_emplace(KeyOf(row));
    if (is_new) in_order_.push_back(&entry->second);
    entry->second.places.push_back(rows_.size());
    entry->second.jobs.insert(jobs);
    rows_.push_back(std::move(row));
  }

  const v1::Experiment& experiment_;
  const v1::Plan& plan_;
  const CountedJobs& counted_;
  const std::map<ModelKey, std::vector<AttackOfModel>> attacks_;
  std::vector<v1::MetricRow> rows_;
  std::map<GroupKey, SeedGroup> groups_;
  std::vector<const SeedGroup*> in_order_;  // of their first cells
};

}  // namespace

uint64_t VerdictCounts::NotBrokenAt(double epsilon) const {
  uint64_t broken = 0;
  for (const auto& [radius, count] : broken_at) broken += radius <= epsilon ? count : 0;
  return n - broken;
}

v1::ExampleRecord AtRadius(v1::ExampleRecord record, double epsilon) {
  // A record of before there were several radii has no broken_at: it is of the one that its job has.
  if (record.verdict() != v1::VERDICT_BROKEN || !record.has_broken_at() || record.broken_at() <= epsilon) return record;
  record.set_verdict(v1::VERDICT_UNDECIDED);
  record.set_adversarial_prediction(-1);
  record.set_witness_row(-1);
  record.clear_distance();
  record.clear_broken_at();
  record.clear_first_success();
  record.clear_broken_by();
  return record;
}

std::vector<v1::MetricRow> Aggregate(const v1::Experiment& experiment, const v1::Plan& plan,
                                     const CountedJobs& counted) {
  std::map<std::string, const v1::JobSpec*> specs;
  for (const v1::Job& job : plan.jobs()) specs.emplace(job.digest(), &job.spec());
  Aggregation aggregation(experiment, plan, counted);
  for (const v1::Cell& cell : plan.cells()) {
    const auto spec = specs.find(cell.job_digest());
    if (spec != specs.end()) aggregation.AddCell(cell, *spec->second);
  }
  return aggregation.Finish();
}

}  // namespace tightrope
