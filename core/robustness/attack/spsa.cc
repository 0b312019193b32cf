#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class Spsa : public AttackMethod {
 public:
  explicit Spsa(const v1::SpsaAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("spsa"); }

 private:
  v1::SpsaAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeSpsa(const v1::SpsaAttack& options) { return std::make_unique<Spsa>(options); }

}  // namespace tightrope
