#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class HopSkipJump : public AttackMethod {
 public:
  explicit HopSkipJump(const v1::HopSkipJumpAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("hop_skip_jump"); }

 private:
  v1::HopSkipJumpAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeHopSkipJump(const v1::HopSkipJumpAttack& options) {
  return std::make_unique<HopSkipJump>(options);
}

}  // namespace tightrope
