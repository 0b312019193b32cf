#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class DeepFool : public AttackMethod {
 public:
  explicit DeepFool(const v1::DeepFoolAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("deepfool"); }

 private:
  v1::DeepFoolAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeDeepFool(const v1::DeepFoolAttack& options) {
  return std::make_unique<DeepFool>(options);
}

}  // namespace tightrope
