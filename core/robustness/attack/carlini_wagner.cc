#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class CarliniWagner : public AttackMethod {
 public:
  explicit CarliniWagner(const v1::CarliniWagnerAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("carlini_wagner"); }

 private:
  v1::CarliniWagnerAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeCarliniWagner(const v1::CarliniWagnerAttack& options) {
  return std::make_unique<CarliniWagner>(options);
}

}  // namespace tightrope
