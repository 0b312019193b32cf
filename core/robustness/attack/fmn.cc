#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class Fmn : public AttackMethod {
 public:
  explicit Fmn(const v1::FmnAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("fmn"); }

 private:
  v1::FmnAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeFmn(const v1::FmnAttack& options) { return std::make_unique<Fmn>(options); }

}  // namespace tightrope
