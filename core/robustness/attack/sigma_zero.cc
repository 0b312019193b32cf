// σ-zero (Cinà et al. 2025, algorithm 1), constants as in the authors' code, Adam for the descent among them. Each step
// descends the margin for as long as the label wins, plus the smooth count of changed elements Σ δ²/(δ² + σ) over their
// number; its gradient is scaled to a largest element of 1. Then changes below the threshold τ are dropped. τ rises by
// a share of the step size where the last point was wrong, so that fewer elements stay, and falls elsewhere.
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/half_cosine.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// The last step over the first one.
constexpr double kFinalStep = 0.1;
// Adam's.
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kTiny = 1e-8;

class SigmaZero : public AttackMethod {
 public:
  explicit SigmaZero(const v1::SigmaZeroAttack& options) : options_(options) {}

  uint32_t runs() const override { return std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return uint64_t{options_.steps()} + 1; }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = batch.Inputs(), targets;
    if (options_.targets() > 0) targets = batch.Targets([](uint32_t run) { return run; });
    torch::Tensor mean = torch::zeros_like(points), square = torch::zeros_like(points);
    torch::Tensor threshold = PerRow(torch::full({batch.size()}, options_.threshold(), points.options()));
    const auto following = batch.Follow({&points, &targets, &mean, &square, &threshold});
    const Loss loss = MakeLoss(v1::ATTACK_LOSS_MARGIN, batch.labels(), targets);
    for (uint32_t step = 0; step < options_.steps(); ++step) {
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Slope slope, batch.Gradient(points, loss));
      if (batch.empty()) return absl::OkStatus();
      const torch::Tensor& centers = batch.ball().centers();
      const torch::Tensor wrong = PerRow(slope.wrong);
      const torch::Tensor ascent = slope.gradient.nan_to_num(0, 0, 0).masked_fill_(wrong, 0);
      const torch::Tensor gradient = CountSlope(points - centers) - ascent;
      const torch::Tensor scaled = gradient / PerRow(gradient.flatten(1).abs().amax(1).clamp_min_(1e-12));
      mean.mul_(kBeta1).add_(scaled, 1 - kBeta1);
      square.mul_(kBeta2).addcmul_(scaled, scaled, 1 - kBeta2);
      const double size = HalfCosine(options_.step_size(), options_.step_size() * kFinalStep, step, options_.steps());
      const torch::Tensor spread = (square / (1 - std::pow(kBeta2, step + 1))).sqrt_().add_(kTiny);
      points.addcdiv_(mean, spread, -size / (1 - std::pow(kBeta1, step + 1))).clamp_(0, 1);
      const double change = options_.threshold_step() * size;
      threshold = torch::where(wrong, threshold + change, threshold - change).clamp_(0, 1);
      points = torch::where((points - centers).abs() < threshold, centers, points);
    }
    return batch.Judge(points).status();
  }

 private:
  // The gradient of Σ δ²/(δ² + σ) over the number of elements (eq. 5).
  torch::Tensor CountSlope(const torch::Tensor& offsets) const {
    const double share =
        2 * options_.sigma() * static_cast<double>(offsets.size(0)) / static_cast<double>(offsets.numel());
    return offsets / (offsets.square() + options_.sigma()).square_() * share;
  }

  v1::SigmaZeroAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeSigmaZero(const v1::SigmaZeroAttack& options) {
  return std::make_unique<SigmaZero>(options);
}

}  // namespace tightrope
