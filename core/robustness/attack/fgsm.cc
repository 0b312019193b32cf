// The fast gradient sign method (Goodfellow et al. 2015): one step of length ε from the example.
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class Fgsm : public AttackMethod {
 public:
  explicit Fgsm(double epsilon) : epsilon_(epsilon) {}

  uint32_t restarts() const override { return 1; }
  uint64_t looks() const override { return 2; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = batch.Inputs();
    ABSL_ASSIGN_OR_RETURN(const torch::Tensor gradient, batch.Gradient(points));
    if (batch.empty()) return absl::OkStatus();
    batch.ball().Ascend(points, gradient, epsilon_);
    return batch.Judge(points);
  }

 private:
  double epsilon_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeFgsm(const v1::Attack& attack) { return std::make_unique<Fgsm>(attack.epsilon()); }

}  // namespace tightrope
