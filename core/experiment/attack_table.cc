#include "core/experiment/attack_table.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"

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

std::vector<EnsembleMember> MembersOf(const v1::AutoAttack& attack, v1::Norm norm, uint32_t classes) {
  const uint32_t others = classes > 0 ? classes - 1 : 0;
  const bool plus = attack.version() == v1::AUTO_ATTACK_VERSION_PLUS;
  // In l1 the standard version has schedules of its own.
  const bool standard_l1 = norm == v1::NORM_L1 && attack.version() == v1::AUTO_ATTACK_VERSION_STANDARD;
  const auto apgd = [&](v1::AttackLoss loss, uint32_t targets, v1::Attack& member) {
    v1::ApgdAttack& options = *member.mutable_apgd();
    options.set_loss(loss);
    options.set_targets(std::min(targets, others));
    options.set_steps(100);
    options.set_restarts(targets == 0 && (plus || standard_l1) ? 5 : 1);
    options.set_rho(0.75);
    options.set_eot(attack.version() == v1::AUTO_ATTACK_VERSION_RAND ? 20 : 1);
    options.set_larger_radii_first(standard_l1);
  };
  const auto fab = [&](uint32_t targets, uint32_t restarts, v1::Attack& member) {
    v1::FabAttack& options = *member.mutable_fab();
    options.set_targets(std::min(targets, others));
    options.set_steps(100);
    options.set_restarts(restarts);
    options.set_alpha_max(0.1);
    options.set_eta(1.05);
    options.set_beta(0.9);
  };
  std::vector<EnsembleMember> members;
  for (const v1::AutoAttackComponent component : ComponentsOf(attack)) {
    EnsembleMember& member = members.emplace_back();
    member.name =
        absl::AsciiStrToLower(absl::StripPrefix(v1::AutoAttackComponent_Name(component), "AUTO_ATTACK_COMPONENT_"));
    member.attack.set_norm(norm);
    switch (component) {
      case v1::AUTO_ATTACK_COMPONENT_APGD_CE:
        apgd(v1::ATTACK_LOSS_CE, 0, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_APGD_DLR:
        apgd(v1::ATTACK_LOSS_DLR, 0, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_APGD_T:
        apgd(v1::ATTACK_LOSS_DLR, standard_l1 ? 5 : 9, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_FAB:
        fab(0, plus ? 5 : 1, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_FAB_T:
        fab(9, 1, member.attack);
        break;
      case v1::AUTO_ATTACK_COMPONENT_SQUARE:
        member.attack.mutable_square()->set_queries(5000);
        member.attack.mutable_square()->set_restarts(1);
        member.attack.mutable_square()->set_p_init(0.8);
        break;
      default:
        break;
    }
  }
  return members;
}

}  // namespace tightrope
