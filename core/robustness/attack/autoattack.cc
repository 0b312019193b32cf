// AutoAttack (Croce and Hein 2020): flow, order and parameters of the authors' code. Each member runs on what those
// before it left unbroken, from the clean example; which is what RunAttack does with any attack of several members.
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/experiment/attack_table.h"
#include "core/robustness/attack/attack_method.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr uint32_t kSteps = 100;
constexpr uint32_t kTargets = 9;
constexpr uint32_t kTargetsL1 = 5;  // of apgd_t
constexpr uint32_t kRestarts = 5;   // of apgd and fab in plus, and of apgd in l1
constexpr uint32_t kEot = 20;       // in rand

v1::Attack ApgdOf(const v1::AutoAttack& options, v1::Norm norm, v1::AttackLoss loss, uint32_t targets) {
  const bool plus = options.version() == v1::AUTO_ATTACK_VERSION_PLUS;
  v1::Attack attack;
  v1::ApgdAttack& apgd = *attack.mutable_apgd();
  apgd.set_loss(loss);
  apgd.set_targets(targets);
  apgd.set_steps(kSteps);
  apgd.set_restarts(targets == 0 && (plus || norm == v1::NORM_L1) ? kRestarts : 1);
  apgd.set_rho(0.75);
  apgd.set_eot(options.version() == v1::AUTO_ATTACK_VERSION_RAND ? kEot : 1);
  apgd.set_larger_radii_first(norm == v1::NORM_L1 && !plus);
  return attack;
}

v1::Attack FabOf(uint32_t targets, uint32_t restarts) {
  v1::Attack attack;
  v1::FabAttack& fab = *attack.mutable_fab();
  fab.set_targets(targets);
  fab.set_steps(kSteps);
  fab.set_restarts(restarts);
  fab.set_alpha_max(0.1);
  fab.set_eta(1.05);
  fab.set_beta(0.9);
  return attack;
}

v1::Attack AttackOf(v1::AutoAttackComponent component, const v1::AutoAttack& options, v1::Norm norm, uint32_t classes) {
  const uint32_t others = classes - 1;
  const uint32_t apgd_targets = norm == v1::NORM_L1 ? kTargetsL1 : kTargets;
  const bool plus = options.version() == v1::AUTO_ATTACK_VERSION_PLUS;
  switch (component) {
    case v1::AUTO_ATTACK_COMPONENT_APGD_CE:
      return ApgdOf(options, norm, v1::ATTACK_LOSS_CE, 0);
    case v1::AUTO_ATTACK_COMPONENT_APGD_DLR:
      return ApgdOf(options, norm, v1::ATTACK_LOSS_DLR, 0);
    case v1::AUTO_ATTACK_COMPONENT_APGD_T:
      return ApgdOf(options, norm, v1::ATTACK_LOSS_DLR, std::min(apgd_targets, others));
    case v1::AUTO_ATTACK_COMPONENT_FAB:
      return FabOf(0, plus ? kRestarts : 1);
    case v1::AUTO_ATTACK_COMPONENT_FAB_T:
      return FabOf(std::min(kTargets, others), 1);
    default: {
      v1::Attack attack;
      attack.mutable_square()->set_queries(5000);
      attack.mutable_square()->set_restarts(1);
      attack.mutable_square()->set_p_init(0.8);
      return attack;
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<AttackMember>> MakeAutoAttack(const v1::AutoAttack& options, v1::Norm norm,
                                                         uint32_t classes) {
  if (classes < 2) return absl::InvalidArgumentError("autoattack needs at least two classes");
  std::vector<AttackMember> members;
  for (const v1::AutoAttackComponent component : ComponentsOf(options)) {
    const std::string name =
        absl::AsciiStrToLower(absl::StripPrefix(v1::AutoAttackComponent_Name(component), "AUTO_ATTACK_COMPONENT_"));
    if (name.empty() || component == v1::AUTO_ATTACK_COMPONENT_UNSPECIFIED) {
      return absl::InvalidArgumentError(
          absl::StrCat("this worker does not know autoattack's component ", component, "; update it"));
    }
    v1::Attack attack = AttackOf(component, options, norm, classes);
    attack.set_norm(norm);
    absl::StatusOr<std::vector<AttackMember>> made = MakeAttack(attack, classes);
    if (!made.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("autoattack's ", name, " cannot be run: ", made.status().message(),
                       "; leave it out, for two or three classes with components: [apgd_ce, fab, square]"));
    }
    members.push_back({.name = name, .method = std::move(made->front().method)});
  }
  return members;
}

}  // namespace tightrope
