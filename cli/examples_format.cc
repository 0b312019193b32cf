#include "cli/examples_format.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/plan/plan.h"

namespace tightrope {
namespace {

RecordValue VerdictValue(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_ROBUST:
      return "robust";
    case v1::VERDICT_BROKEN:
      return "broken";
    case v1::VERDICT_UNDECIDED:
      return "undecided";
    default:
      return RecordValue();
  }
}

// Is `a` a stronger outcome than `b`: broken before undecided, of two witnesses the nearer.
bool Stronger(const v1::ExampleRecord& a, const v1::ExampleRecord& b) {
  const bool a_broken = a.verdict() == v1::VERDICT_BROKEN;
  const bool b_broken = b.verdict() == v1::VERDICT_BROKEN;
  return a_broken != b_broken ? a_broken : a_broken && a.distance() < b.distance();
}

// The least distances of both, norm by norm.
void TakeNearest(const v1::ExampleRecord& from, v1::ExampleRecord& into) {
  if (!from.has_nearest()) return;
  if (!into.has_nearest()) *into.mutable_nearest() = from.nearest();
  v1::ExampleRecord::Nearest& nearest = *into.mutable_nearest();
  nearest.set_linf(std::min(nearest.linf(), from.nearest().linf()));
  nearest.set_l2(std::min(nearest.l2(), from.nearest().l2()));
  nearest.set_l1(std::min(nearest.l1(), from.nearest().l1()));
  nearest.set_l0(std::min(nearest.l0(), from.nearest().l0()));
}

}  // namespace

std::vector<std::string> ExampleColumns() {
  return {"experiment",
          "model",
          "training",
          "seed",
          "norm",
          "epsilon",
          "index",
          "label",
          "clean_prediction",
          "verdict",
          "adversarial_prediction",
          "distance",
          "attack",
          "certified_radius",
          "queries",
          "broken_by",
          "first_success",
          "nearest_linf",
          "nearest_l2",
          "nearest_l1",
          "nearest_l0",
          "set",
          "source",
          "target",
          "oracle_label"};
}

void ExampleRows::Add(const v1::ExportedExamples& job) {
  const std::string key = absl::StrJoin(
      {job.experiment(), job.cell().model(), job.cell().training(), absl::StrCat(job.cell().seed())}, "\n");
  if (key != key_) {
    Flush();
    key_ = key;
    head_ = job;
    head_.clear_records();
  }
  const std::string norm = job.has_attack() ? NormName(job.attack().norm()) : "";
  const double epsilon = job.has_attack() ? job.cell().epsilon() : 0;
  const std::string& set = job.cell().invariance();
  auto found = std::find_if(threat_models_.begin(), threat_models_.end(), [&](const ThreatModel& threat_model) {
    return threat_model.norm == norm && threat_model.epsilon == epsilon && threat_model.set == set;
  });
  if (found == threat_models_.end()) {
    threat_models_.push_back({.norm = norm, .set = set, .epsilon = epsilon, .attacks = {}, .rows = {}});
    found = std::prev(threat_models_.end());
  }
  Join(job, *found);
}

void ExampleRows::Join(const v1::ExportedExamples& job, ThreatModel& into) {
  const std::string& attack = job.cell().attack();
  if (!attack.empty() && std::find(into.attacks.begin(), into.attacks.end(), attack) == into.attacks.end()) {
    into.attacks.push_back(attack);
  }
  for (const v1::ExampleRecord& record : job.records()) {
    const auto place = std::lower_bound(into.rows.begin(), into.rows.end(), record.index(),
                                        [](const Row& row, uint64_t index) { return row.record.index() < index; });
    if (place == into.rows.end() || place->record.index() != record.index()) {
      into.rows.insert(place, {record, attack});
      continue;
    }
    const uint64_t forward_passes = place->record.forward_passes() + record.forward_passes();
    Row joined = Stronger(record, place->record) ? Row{record, attack} : *place;
    joined.record.set_forward_passes(forward_passes);
    TakeNearest(place->record, joined.record);
    TakeNearest(record, joined.record);
    *place = std::move(joined);
  }
}

void ExampleRows::Flush() {
  const bool attacked = std::any_of(threat_models_.begin(), threat_models_.end(),
                                    [](const ThreatModel& threat_model) { return !threat_model.norm.empty(); });
  const auto seed =
      head_.cell().training().empty() && head_.cell().seed() == 0 ? RecordValue() : RecordValue(head_.cell().seed());
  const bool has_model = !head_.cell().model().empty();
  for (const ThreatModel& threat_model : threat_models_) {
    const bool clean = threat_model.norm.empty();
    const bool of_set = !threat_model.set.empty();
    if (clean && attacked && !of_set) continue;
    const std::string all_attacks = absl::StrJoin(threat_model.attacks, " + ");
    for (const Row& row : threat_model.rows) {
      const v1::ExampleRecord& record = row.record;
      const bool broken = record.verdict() == v1::VERDICT_BROKEN;
      const v1::ExampleRecord::Nearest& nearest = record.nearest();
      const auto seen = [&](double distance) { return record.has_nearest() ? RecordValue(distance) : RecordValue(); };
      writer_.Write({head_.experiment(),
                     TextOrNull(head_.cell().model()),
                     TextOrNull(head_.cell().training()),
                     seed,
                     TextOrNull(threat_model.norm),
                     clean ? RecordValue() : RecordValue(threat_model.epsilon),
                     record.index(),
                     record.label(),
                     has_model ? RecordValue(record.clean_prediction()) : RecordValue(),
                     VerdictValue(record.verdict()),
                     broken || (of_set && has_model) ? RecordValue(record.adversarial_prediction()) : RecordValue(),
                     broken ? RecordValue(record.distance()) : RecordValue(),
                     TextOrNull(broken ? row.witness_attack : all_attacks),
                     RecordValue(),
                     has_model ? RecordValue(record.forward_passes()) : RecordValue(),
                     TextOrNull(record.broken_by()),
                     record.first_success() > 0 ? RecordValue(record.first_success()) : RecordValue(),
                     seen(nearest.linf()),
                     seen(nearest.l2()),
                     seen(nearest.l1()),
                     seen(nearest.l0()),
                     TextOrNull(threat_model.set),
                     record.has_source() ? RecordValue(record.source()) : RecordValue(),
                     record.has_target() ? RecordValue(record.target()) : RecordValue(),
                     record.has_oracle_label() ? RecordValue(record.oracle_label()) : RecordValue()});
    }
  }
  threat_models_.clear();
}

void ExampleRows::Finish() { Flush(); }

}  // namespace tightrope
