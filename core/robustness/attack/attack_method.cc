#include "core/robustness/attack/attack_method.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace tightrope {
namespace {

struct Entry {
  v1::Attack::MethodCase method;
  std::unique_ptr<AttackMethod> (*make)(const v1::Attack&);
};

constexpr Entry kMethods[] = {
    {v1::Attack::kFgsm, MakeFgsm},
    {v1::Attack::kPgd, MakePgd},
};

}  // namespace

absl::StatusOr<std::unique_ptr<AttackMethod>> MakeAttackMethod(const v1::Attack& attack) {
  if (attack.norm() != v1::NORM_LINF && attack.norm() != v1::NORM_L2) {
    return absl::InvalidArgumentError(absl::StrCat("an attack needs norm linf or l2, not ", attack.norm()));
  }
  if (!std::isfinite(attack.epsilon()) || attack.epsilon() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("an attack's epsilon must be finite and at least 0, not ", attack.epsilon()));
  }
  if (attack.has_pgd() && (attack.pgd().steps() == 0 || attack.pgd().restarts() == 0)) {
    return absl::InvalidArgumentError(absl::StrCat("pgd needs at least one step and one restart, not ",
                                                   attack.pgd().steps(), " and ", attack.pgd().restarts()));
  }
  for (const Entry& entry : kMethods) {
    if (entry.method == attack.method_case()) return entry.make(attack);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("this worker does not know the attack's method; update it. Field number: ", attack.method_case()));
}

}  // namespace tightrope
