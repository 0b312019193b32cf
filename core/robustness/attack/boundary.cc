#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class Boundary : public AttackMethod {
 public:
  explicit Boundary(const v1::BoundaryAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("boundary"); }

 private:
  v1::BoundaryAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeBoundary(const v1::BoundaryAttack& options) {
  return std::make_unique<Boundary>(options);
}

}  // namespace tightrope
