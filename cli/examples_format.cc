#include "cli/examples_format.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tightrope {
namespace {

const char* NormText(v1::Norm norm) {
  switch (norm) {
    case v1::NORM_LINF:
      return "linf";
    case v1::NORM_L2:
      return "l2";
    default:
      return "";
  }
}

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
          "queries"};
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
  const std::string norm = job.has_attack() ? NormText(job.attack().norm()) : "";
  const double epsilon = job.attack().epsilon();
  auto found = std::find_if(threat_models_.begin(), threat_models_.end(), [&](const ThreatModel& threat_model) {
    return threat_model.norm == norm && threat_model.epsilon == epsilon;
  });
  if (found == threat_models_.end()) {
    threat_models_.push_back({.norm = norm, .epsilon = epsilon, .attacks = {}, .rows = {}});
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
    if (Stronger(record, place->record)) *place = {record, attack};
    place->record.set_forward_passes(forward_passes);
  }
}

void ExampleRows::Flush() {
  const bool attacked = std::any_of(threat_models_.begin(), threat_models_.end(),
                                    [](const ThreatModel& threat_model) { return !threat_model.norm.empty(); });
  const auto seed =
      head_.cell().training().empty() && head_.cell().seed() == 0 ? RecordValue() : RecordValue(head_.cell().seed());
  for (const ThreatModel& threat_model : threat_models_) {
    const bool clean = threat_model.norm.empty();
    if (clean && attacked) continue;
    const std::string all_attacks = absl::StrJoin(threat_model.attacks, " + ");
    for (const Row& row : threat_model.rows) {
      const v1::ExampleRecord& record = row.record;
      const bool broken = record.verdict() == v1::VERDICT_BROKEN;
      writer_.Write({head_.experiment(), head_.cell().model(), TextOrNull(head_.cell().training()), seed,
                     TextOrNull(threat_model.norm), clean ? RecordValue() : RecordValue(threat_model.epsilon),
                     record.index(), record.label(), record.clean_prediction(), VerdictValue(record.verdict()),
                     broken ? RecordValue(record.adversarial_prediction()) : RecordValue(),
                     broken ? RecordValue(record.distance()) : RecordValue(),
                     TextOrNull(broken ? row.witness_attack : all_attacks), RecordValue(), record.forward_passes()});
    }
  }
  threat_models_.clear();
}

void ExampleRows::Finish() { Flush(); }

}  // namespace tightrope
