#include "core/statistics/invariance_counts.h"

#include <utility>

namespace tightrope {
namespace {

bool Agree(int32_t prediction, int32_t label) { return prediction >= 0 && prediction == label; }

void CountRadius(const JudgedExample& outcome, const std::optional<double>& radius, double tolerance,
                 RadiusCounts& counts) {
  if (!radius) return;
  ++counts.known;
  if (!(outcome.distance <= *radius + tolerance)) return;
  ++counts.inside;
  counts.inside_moved += !Agree(outcome.prediction, outcome.source_prediction);
}

void CountChanged(const JudgedExample& outcome, double tolerance, InvarianceCounts& counts) {
  const bool agrees = Agree(outcome.prediction, outcome.oracle_label);
  const bool as_source = Agree(outcome.prediction, outcome.source_label);
  const bool kept = Agree(outcome.prediction, outcome.source_prediction);
  const bool source_right = Agree(outcome.source_prediction, outcome.source_label);
  ++counts.changed;
  counts.changed_agree += agrees;
  counts.changed_source_label += as_source;
  counts.changed_third_class += outcome.prediction >= 0 && !agrees && !as_source;
  counts.changed_kept += kept;
  counts.changed_source_right += source_right;
  counts.changed_source_right_kept += source_right && kept;
  CountRadius(outcome, outcome.robust_radius, tolerance, counts.robust);
  CountRadius(outcome, outcome.certified_radius, tolerance, counts.certified);
}

RadiusCounts& operator+=(RadiusCounts& counts, const RadiusCounts& other) {
  counts.known += other.known;
  counts.inside += other.inside;
  counts.inside_moved += other.inside_moved;
  return counts;
}

InvarianceShare ShareOf(std::string metric, uint64_t successes, uint64_t n, double confidence) {
  InvarianceShare share{std::move(metric), successes, n, 0, ClopperPearson(successes, n, confidence)};
  if (n > 0) share.value = static_cast<double>(successes) / static_cast<double>(n);
  return share;
}

}  // namespace

InvarianceCounts& InvarianceCounts::operator+=(const InvarianceCounts& other) {
  n += other.n;
  none_of_these += other.none_of_these;
  undecided += other.undecided;
  unchanged += other.unchanged;
  unchanged_agree += other.unchanged_agree;
  changed += other.changed;
  changed_agree += other.changed_agree;
  changed_source_label += other.changed_source_label;
  changed_third_class += other.changed_third_class;
  changed_kept += other.changed_kept;
  changed_source_right += other.changed_source_right;
  changed_source_right_kept += other.changed_source_right_kept;
  robust += other.robust;
  certified += other.certified;
  return *this;
}

void Count(const JudgedExample& outcome, double tolerance, InvarianceCounts& counts) {
  ++counts.n;
  if (outcome.oracle_label == kNoneOfThese) {
    ++counts.none_of_these;
  } else if (outcome.oracle_label < 0) {
    ++counts.undecided;
  } else if (outcome.oracle_label == outcome.source_label) {
    ++counts.unchanged;
    counts.unchanged_agree += Agree(outcome.prediction, outcome.oracle_label);
  } else {
    CountChanged(outcome, tolerance, counts);
  }
}

std::vector<InvarianceShare> SharesOf(const InvarianceCounts& counts, double confidence) {
  const struct {
    const char* metric;
    uint64_t successes, n;
  } rows[] = {
      {"changed", counts.changed, counts.n},
      {"none_of_these", counts.none_of_these, counts.n},
      {"undecided", counts.undecided, counts.n},
      {"agreement", counts.changed_agree + counts.unchanged_agree, counts.changed + counts.unchanged},
      {"agreement_changed", counts.changed_agree, counts.changed},
      {"agreement_unchanged", counts.unchanged_agree, counts.unchanged},
      {"keep_rate", counts.changed_source_label, counts.changed},
      {"third_class_rate", counts.changed_third_class, counts.changed},
      {"prediction_kept", counts.changed_kept, counts.changed},
      {"invariance_error", counts.changed_source_right_kept, counts.changed_source_right},
      {"inside_robust_radius", counts.robust.inside, counts.robust.known},
      {"inside_certified_radius", counts.certified.inside, counts.certified.known},
  };
  std::vector<InvarianceShare> shares;
  for (const auto& row : rows) shares.push_back(ShareOf(row.metric, row.successes, row.n, confidence));
  return shares;
}

}  // namespace tightrope
