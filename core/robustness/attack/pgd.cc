// Projected gradient descent (Madry et al. 2018), with any loss, every iterate judged, the random start included. With
// momentum μ it is MI-FGSM (Dong et al. 2018, eq. 6): the direction is that of g ← μ·g + ∇/‖∇‖₁.
#include <algorithm>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// The default step crosses the ball's radius this many times.
constexpr double kRadiiCrossed = 2.5;

class Pgd : public AttackMethod {
 public:
  explicit Pgd(const v1::PgdAttack& options) : options_(options) {}

  uint32_t runs() const override { return options_.restarts() * std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return uint64_t{options_.steps()} + 1; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = batch.RandomStart();
    if (!options_.random_start()) {  // the first run of each target starts at the example itself
      std::vector<uint8_t> from_example;
      for (const ActiveBatch::Row& row : batch.rows())
        from_example.push_back(row.run % options_.restarts() == 0 ? 1 : 0);
      const torch::Tensor mask = torch::tensor(from_example, torch::kUInt8).to(torch::kBool).to(points.device());
      points = torch::where(mask.view({-1, 1, 1, 1}), batch.Inputs(), points);
    }
    torch::Tensor targets;
    if (options_.targets() > 0) targets = batch.Targets([&](uint32_t run) { return run / options_.restarts(); });
    torch::Tensor clean = options_.loss() == v1::ATTACK_LOSS_KL ? batch.CleanLogits() : torch::Tensor();
    torch::Tensor direction;  // the accumulated one, with momentum
    const auto following = batch.Follow({&points, &targets, &clean, &direction});
    const Loss loss = MakeLoss(options_.loss(), batch.labels(), targets, &clean);
    for (uint32_t step = 0; step < options_.steps(); ++step) {
      ABSL_ASSIGN_OR_RETURN(ActiveBatch::Slope slope,
                            batch.Gradient(points, loss, std::max<uint32_t>(options_.eot(), 1)));
      if (batch.empty()) return absl::OkStatus();
      if (options_.momentum() > 0) {
        slope.gradient.nan_to_num_(0, 0, 0);
        const torch::Tensor norms = slope.gradient.flatten(1).abs().sum(1).clamp_min_(1e-35).view({-1, 1, 1, 1});
        slope.gradient = slope.gradient / norms;
        if (direction.defined()) slope.gradient.add_(direction, options_.momentum());
        direction = slope.gradient.clone();
      }
      batch.ball().Ascend(points, slope.gradient, StepOf(batch.ball()));
    }
    return batch.Judge(points).status();
  }

 private:
  torch::Tensor StepOf(const Ball& ball) const {
    const torch::Tensor steps = options_.step_size() > 0 ? torch::full_like(ball.epsilon(), options_.step_size())
                                                         : ball.epsilon() * (kRadiiCrossed / options_.steps());
    return steps.to(torch::kFloat32);
  }

  v1::PgdAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakePgd(const v1::PgdAttack& options) { return std::make_unique<Pgd>(options); }

}  // namespace tightrope
