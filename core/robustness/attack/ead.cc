#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class Ead : public AttackMethod {
 public:
  explicit Ead(const v1::EadAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("ead"); }

 private:
  v1::EadAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeEad(const v1::EadAttack& options) { return std::make_unique<Ead>(options); }

}  // namespace tightrope
