#include "core/statistics/aggregate.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "core/plan/plan.h"
#include "core/statistics/diagnose.h"
#include "core/statistics/proportion.h"

namespace tightrope {
namespace {

constexpr double kConfidence = 0.95;
constexpr char kOneSeed[] = "clopper-pearson 95%";
constexpr char kOverSeeds[] = "min-max over seeds";

std::string ModelDigest(const v1::ModelRef& model) {
  return model.has_trained_by() ? model.trained_by() : model.torchscript_sha256();
}

// What a row says of its cell before anything is counted; false for a job that has no figure (training).
bool DescribeCell(const v1::Cell& cell, const v1::JobSpec& spec, v1::MetricRow& row) {
  const v1::DatasetRef* data = nullptr;
  if (spec.has_evaluate()) {
    data = &spec.evaluate().data();
    row.set_metric("clean_accuracy");
    row.set_model_digest(ModelDigest(spec.evaluate().model()));
  } else if (spec.has_attack()) {
    data = &spec.attack().data();
    row.set_metric("robust_accuracy");
    row.set_norm(NormName(spec.attack().attack().norm()));
    row.set_epsilon(RadiusOf(cell, spec.attack()));
    row.set_attack(cell.attack());
    row.set_model_digest(ModelDigest(spec.attack().model()));
  } else {
    return false;
  }
  row.set_model(cell.model());
  row.set_training(cell.training());
  row.set_dataset_digest(DatasetDigest(*data));
  row.add_seeds(cell.seed());
  row.set_job_digest(cell.job_digest());
  return true;
}

// Fills in the figure of one job.
void Measure(const VerdictCounts& counts, v1::MetricRow& row) {
  const uint64_t successes =
      row.metric() == "clean_accuracy" ? counts.clean_correct : counts.NotBrokenAt(row.epsilon());
  const Interval interval = ClopperPearson(successes, counts.n, kConfidence);
  row.set_value(static_cast<double>(successes) / static_cast<double>(counts.n));
  row.set_lower(interval.lower);
  row.set_upper(interval.upper);
  row.set_n(counts.n);
  row.set_interval(kOneSeed);
}

// The cells that differ in the seed only.
struct SeedGroup {
  std::vector<size_t> places;  // among the rows
  bool complete = true;        // every cell of it is committed
};

// What draws nothing at random is one job for all seeds (a TorchScript model's clean accuracy, its FGSM): no spread.
bool VaryWithSeed(const std::vector<v1::MetricRow>& rows) {
  return std::any_of(rows.begin(), rows.end(),
                     [&](const v1::MetricRow& row) { return row.job_digest() != rows.front().job_digest(); });
}

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
                                     const std::map<std::string, VerdictCounts>& counts) {
  std::map<std::string, const v1::JobSpec*> specs;
  for (const v1::Job& job : plan.jobs()) specs.emplace(job.digest(), &job.spec());

  std::vector<v1::MetricRow> rows;
  std::map<GroupKey, SeedGroup> groups;
  std::vector<const SeedGroup*> in_order;  // of their first cells
  for (const v1::Cell& cell : plan.cells()) {
    const auto spec = specs.find(cell.job_digest());
    v1::MetricRow row;
    row.set_experiment(experiment.name());
    row.set_dataset(experiment.dataset());
    if (spec == specs.end() || !DescribeCell(cell, *spec->second, row)) continue;
    const auto [entry, is_new] = groups.try_emplace(KeyOf(row));
    SeedGroup& group = entry->second;
    if (is_new) in_order.push_back(&group);
    const auto counted = counts.find(cell.job_digest());
    if (counted == counts.end() || counted->second.n == 0) {  // a share of no examples is no figure
      group.complete = false;
      continue;
    }
    Measure(counted->second, row);
    group.places.push_back(rows.size());
    rows.push_back(std::move(row));
  }
  Diagnose(plan, counts, rows);
  for (const SeedGroup* group : in_order) {
    std::vector<v1::MetricRow> seeds;
    for (const size_t place : group->places) seeds.push_back(rows[place]);
    if (group->complete && VaryWithSeed(seeds)) rows.push_back(OverSeeds(seeds));
  }
  return rows;
}

}  // namespace tightrope
