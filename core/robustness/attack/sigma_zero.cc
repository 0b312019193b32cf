#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class SigmaZero : public AttackMethod {
 public:
  explicit SigmaZero(const v1::SigmaZeroAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("sigma_zero"); }

 private:
  v1::SigmaZeroAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeSigmaZero(const v1::SigmaZeroAttack& options) {
  return std::make_unique<SigmaZero>(options);
}

}  // namespace tightrope
