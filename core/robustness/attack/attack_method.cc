#include "core/robustness/attack/attack_method.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/experiment/attack_table.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

absl::Status CheckPositive(absl::string_view method, uint64_t steps, uint64_t restarts) {
  if (steps > 0 && restarts > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(method, " needs at least one step and one restart, not ", steps, " and ", restarts));
}

absl::Status CheckClasses(absl::string_view method, uint32_t targets, uint32_t needed, uint32_t classes) {
  if (targets >= classes) {
    return absl::InvalidArgumentError(absl::StrCat(method, " has ", targets, " targets, but of ", classes,
                                                   " classes only ", classes - 1, " are others than the label"));
  }
  if (classes < needed) {
    return absl::InvalidArgumentError(
        absl::StrCat(method, " needs at least ", needed, " classes, and the data have ", classes));
  }
  return absl::OkStatus();
}

absl::Status Check(const v1::Attack& attack, uint32_t classes) {
  switch (attack.method_case()) {
    case v1::Attack::kPgd:
      if (attack.pgd().loss() == v1::ATTACK_LOSS_KL && !attack.pgd().random_start()) {
        return absl::InvalidArgumentError(
            "pgd with loss kl needs random_start: true, because the loss has no gradient at the example itself");
      }
      ABSL_RETURN_IF_ERROR(CheckClasses("pgd", 0, attack.pgd().loss() == v1::ATTACK_LOSS_DLR ? 3 : 2, classes));
      return CheckPositive("pgd", attack.pgd().steps(), attack.pgd().restarts());
    case v1::Attack::kApgd: {
      const v1::ApgdAttack& apgd = attack.apgd();
      const bool dlr = apgd.loss() == v1::ATTACK_LOSS_DLR;
      if (apgd.larger_radii_first() && attack.norm() != v1::NORM_L1) {
        return absl::InvalidArgumentError("apgd's larger_radii_first is of norm l1");
      }
      if (!dlr && apgd.loss() != v1::ATTACK_LOSS_CE) {
        return absl::InvalidArgumentError(
            absl::StrCat("apgd takes loss ce or dlr, not ", AttackLoss_Name(apgd.loss())));
      }
      ABSL_RETURN_IF_ERROR(CheckClasses("apgd", apgd.targets(), !dlr ? 2 : apgd.targets() > 0 ? 4 : 3, classes));
      return CheckPositive("apgd", apgd.steps(), apgd.restarts());
    }
    case v1::Attack::kFab:
      ABSL_RETURN_IF_ERROR(CheckClasses("fab", attack.fab().targets(), 2, classes));
      return CheckPositive("fab", attack.fab().steps(), attack.fab().restarts());
    case v1::Attack::kSquare:
      return CheckPositive("square", attack.square().queries(), attack.square().restarts());
    case v1::Attack::kNoise:
      return CheckPositive("noise", attack.noise().draws(), 1);
    default:
      return absl::OkStatus();
  }
}

std::unique_ptr<AttackMethod> MakeMethod(const v1::Attack& attack) {
  switch (attack.method_case()) {
    case v1::Attack::kFgsm:
      return MakeFgsm();
    case v1::Attack::kPgd:
      return MakePgd(attack.pgd());
    case v1::Attack::kApgd:
      return MakeApgd(attack.apgd());
    case v1::Attack::kFab:
      return MakeFab(attack.fab());
    case v1::Attack::kSquare:
      return MakeSquare(attack.square());
    case v1::Attack::kNoise:
      return MakeNoise(attack.noise());
    case v1::Attack::kAutoattack:  // several
    case v1::Attack::METHOD_NOT_SET:
      break;
  }
  return nullptr;
}

// Each member runs on what those before it left unbroken, from the clean example, as RunAttack does with any attack of
// several members; that is AutoAttack's flow (Croce and Hein 2020).
absl::StatusOr<std::vector<AttackMember>> MakeEnsemble(const v1::Attack& attack, uint32_t classes) {
  std::vector<AttackMember> members;
  for (const EnsembleMember& member : MembersOf(attack.autoattack(), attack.norm(), classes)) {
    absl::StatusOr<std::vector<AttackMember>> made = MakeAttack(member.attack, classes);
    if (!made.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("autoattack's ", member.name, " cannot be run: ", made.status().message(),
                       "; leave it out, for two or three classes with components: [apgd_ce, fab, square]"));
    }
    members.push_back({.name = member.name, .method = std::move(made->front().method)});
  }
  return members;
}

}  // namespace

absl::StatusOr<std::vector<AttackMember>> MakeAttack(const v1::Attack& attack, uint32_t classes) {
  const AttackFacts* facts = FindAttack(attack);
  if (facts == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("this worker does not know the attack's method; update it. Field number: ", attack.method_case()));
  }
  if (!facts->Takes(attack.norm())) {
    return absl::InvalidArgumentError(absl::StrCat(facts->Name(), " does not take norm ", Norm_Name(attack.norm())));
  }
  if (attack.has_autoattack()) return MakeEnsemble(attack, classes);
  ABSL_RETURN_IF_ERROR(Check(attack, classes));
  std::vector<AttackMember> members;
  members.push_back({.name = facts->Name(), .method = MakeMethod(attack)});
  return members;
}

}  // namespace tightrope
