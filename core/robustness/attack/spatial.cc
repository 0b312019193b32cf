#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class Spatial : public AttackMethod {
 public:
  explicit Spatial(const v1::SpatialAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("spatial"); }

 private:
  v1::SpatialAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeSpatial(const v1::SpatialAttack& options) {
  return std::make_unique<Spatial>(options);
}

}  // namespace tightrope
