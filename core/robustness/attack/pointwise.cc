#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class Pointwise : public AttackMethod {
 public:
  explicit Pointwise(const v1::PointwiseAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("pointwise"); }

 private:
  v1::PointwiseAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakePointwise(const v1::PointwiseAttack& options) {
  return std::make_unique<Pointwise>(options);
}

}  // namespace tightrope
