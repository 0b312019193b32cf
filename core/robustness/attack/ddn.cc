#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class Ddn : public AttackMethod {
 public:
  explicit Ddn(const v1::DdnAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("ddn"); }

 private:
  v1::DdnAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeDdn(const v1::DdnAttack& options) { return std::make_unique<Ddn>(options); }

}  // namespace tightrope
