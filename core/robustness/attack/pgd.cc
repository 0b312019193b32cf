// Projected gradient descent on the cross-entropy (Madry et al. 2018), every iterate judged, the random start included.
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class Pgd : public AttackMethod {
 public:
  Pgd(const v1::PgdAttack& options, double epsilon)
      : options_(options),
        step_size_(options.step_size() > 0 ? options.step_size() : 2.5 * epsilon / options.steps()) {}

  uint32_t restarts() const override { return options_.restarts(); }
  uint64_t looks() const override { return uint64_t{options_.steps()} + 1; }

  absl::Status Run(ActiveBatch& batch) const override {
    const bool random_start = options_.random_start() || batch.restart() > 0;
    torch::Tensor points = random_start ? batch.RandomStart() : batch.Inputs();
    for (uint32_t step = 0; step < options_.steps(); ++step) {
      ABSL_ASSIGN_OR_RETURN(const torch::Tensor gradient, batch.Gradient(points));
      if (batch.empty()) return absl::OkStatus();
      batch.ball().Ascend(points, gradient, step_size_);
    }
    return batch.Judge(points);
  }

 private:
  v1::PgdAttack options_;
  double step_size_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakePgd(const v1::Attack& attack) {
  return std::make_unique<Pgd>(attack.pgd(), attack.epsilon());
}

}  // namespace tightrope
