// The fast gradient sign method (Goodfellow et al. 2015): one step of length ε from the example.
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class Fgsm : public AttackMethod {
 public:
  uint64_t looks() const override { return 2; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = batch.Inputs();
    const auto following = batch.Follow({&points});
    const torch::Tensor& labels = batch.labels();
    ABSL_ASSIGN_OR_RETURN(ActiveBatch::Slope slope, batch.Gradient(points, [&](const torch::Tensor& logits) {
      return CrossEntropyLoss(logits, labels);
    }));
    if (batch.empty()) return absl::OkStatus();
    batch.ball().Ascend(points, slope.gradient, batch.ball().epsilon().to(torch::kFloat32));
    return batch.Judge(points).status();
  }
};

}  // namespace

std::unique_ptr<AttackMethod> MakeFgsm() { return std::make_unique<Fgsm>(); }

}  // namespace tightrope
