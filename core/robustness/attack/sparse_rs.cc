#include <memory>

#include "core/robustness/attack/attack_method.h"

namespace tightrope {
namespace {

class SparseRs : public AttackMethod {
 public:
  explicit SparseRs(const v1::SparseRsAttack& options) : options_(options) {}

  uint64_t looks() const override { return 1; }
  absl::Status Run(ActiveBatch&) const override { return absl::UnimplementedError("sparse_rs"); }

 private:
  v1::SparseRsAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeSparseRs(const v1::SparseRsAttack& options) {
  return std::make_unique<SparseRs>(options);
}

}  // namespace tightrope
