#include "core/experiment/attack_table.h"

#include <algorithm>

namespace tightrope {
namespace {

bool Never(const v1::Attack&) { return false; }
bool Always(const v1::Attack&) { return true; }

std::vector<AttackFacts> MakeTable() {
  const std::vector<v1::Norm> distances = {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1};
  return {
      {.method = v1::Attack::kFgsm, .norms = distances, .source = "Goodfellow et al. 2015", .draws_at_random = Never},
      {.method = v1::Attack::kPgd,
       .norms = distances,
       .source = "Madry et al. 2018",
       .draws_at_random = [](const v1::Attack& a) { return a.pgd().random_start() || a.pgd().restarts() > 1; }},
      {.method = v1::Attack::kApgd,
       .norms = distances,
       .targeted = true,
       .source = "Croce and Hein 2020, 2021",
       .draws_at_random = Always},
      {.method = v1::Attack::kFab,
       .norms = distances,
       .minimum_norm = true,
       .targeted = true,
       .source = "Croce and Hein 2020",
       .draws_at_random = [](const v1::Attack& a) { return a.fab().restarts() > 1; }},
      {.method = v1::Attack::kSquare,
       .norms = distances,
       .needs_gradients = false,
       .source = "Andriushchenko et al. 2020",
       .draws_at_random = Always},
      {.method = v1::Attack::kAutoattack,
       .norms = distances,
       .targeted = true,
       .source = "Croce and Hein 2020",
       .draws_at_random = Always},
      {.method = v1::Attack::kNoise,
       .norms = distances,
       .needs_gradients = false,
       .source = "none: the baseline",
       .draws_at_random = Always},
  };
}

}  // namespace

std::string AttackFacts::Name() const { return v1::Attack::descriptor()->FindFieldByNumber(method)->name(); }

bool AttackFacts::Takes(v1::Norm norm) const { return std::find(norms.begin(), norms.end(), norm) != norms.end(); }

absl::Span<const AttackFacts> AttackTable() {
  static const std::vector<AttackFacts> table = MakeTable();
  return table;
}

const AttackFacts* FindAttack(const v1::Attack& attack) {
  for (const AttackFacts& facts : AttackTable()) {
    if (facts.method == attack.method_case()) return &facts;
  }
  return nullptr;
}

std::vector<v1::AutoAttackComponent> ComponentsOf(const v1::AutoAttack& attack) {
  if (!attack.components().empty()) {
    std::vector<v1::AutoAttackComponent> given;
    for (int i = 0; i < attack.components_size(); ++i) given.push_back(attack.components(i));
    return given;
  }
  switch (attack.version()) {
    case v1::AUTO_ATTACK_VERSION_PLUS:
      return {v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_DLR, v1::AUTO_ATTACK_COMPONENT_FAB,
              v1::AUTO_ATTACK_COMPONENT_SQUARE,  v1::AUTO_ATTACK_COMPONENT_APGD_T,   v1::AUTO_ATTACK_COMPONENT_FAB_T};
    case v1::AUTO_ATTACK_VERSION_RAND:
      return {v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_DLR};
    default:
      return {v1::AUTO_ATTACK_COMPONENT_APGD_CE, v1::AUTO_ATTACK_COMPONENT_APGD_T, v1::AUTO_ATTACK_COMPONENT_FAB_T,
              v1::AUTO_ATTACK_COMPONENT_SQUARE};
  }
}

}  // namespace tightrope
