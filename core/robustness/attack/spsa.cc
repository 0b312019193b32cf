// SPSA (Uesato et al. 2018, algorithm 1): the gradient estimated from the loss at pairs of points on either side, in
// directions of random signs, ascended by Adam and projected to the ball, as the paper's experiments have it. With
// normal directions the estimate is that of natural evolution strategies (Ilyas et al. 2018, algorithm 1).
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/loss.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// Of Adam, as in its paper.
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kTiny = 1e-8;

class Spsa : public AttackMethod {
 public:
  explicit Spsa(const v1::SpsaAttack& options) : options_(options) {}

  uint32_t runs() const override { return options_.restarts() * std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return options_.steps() * (2 * uint64_t{options_.samples()} + 1) + 1; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = batch.RandomStart(), targets, gradient;
    torch::Tensor mean = torch::zeros_like(points), square = torch::zeros_like(points);
    if (options_.targets() > 0) targets = batch.Targets([&](uint32_t run) { return run / options_.restarts(); });
    const auto following = batch.Follow({&points, &targets, &gradient, &mean, &square});
    const Loss loss = MakeLoss(options_.loss(), batch.labels(), targets);
    for (uint32_t step = 0; step < options_.steps(); ++step) {
      ABSL_RETURN_IF_ERROR(batch.Judge(points).status());
      if (batch.empty()) return absl::OkStatus();
      ABSL_ASSIGN_OR_RETURN(gradient, Estimate(batch, points, loss, step));
      if (batch.empty()) return absl::OkStatus();
      mean = mean * kBeta1 + gradient * (1 - kBeta1);
      square = square * kBeta2 + gradient.square() * (1 - kBeta2);
      const double mean_weight = 1 - std::pow(kBeta1, step + 1), square_weight = 1 - std::pow(kBeta2, step + 1);
      points = points + options_.learning_rate() * (mean / mean_weight) / ((square / square_weight).sqrt() + kTiny);
      batch.ball().Project(points);
    }
    return batch.Judge(points).status();
  }

 private:
  // The mean of (f(x + δv) − f(x − δv)) / 2δ · v over the directions v. The points are clipped, so that an element at
  // the end of its range counts half; Adam divides each element by its own size.
  absl::StatusOr<torch::Tensor> Estimate(ActiveBatch& batch, const torch::Tensor& points, const Loss& loss,
                                         uint32_t step) const {
    torch::Tensor sum = torch::zeros_like(points), direction, side, above;
    const auto following = batch.Follow({&sum, &direction, &side, &above});
    for (uint32_t sample = 0; sample < options_.samples(); ++sample) {
      const uint32_t draw = 2 + step * options_.samples() + sample;  // steps below 2 are those of the start
      direction = options_.directions() == v1::SPSA_DIRECTIONS_GAUSSIAN ? batch.Normal(draw)
                                                                        : (batch.Uniform(draw) - 0.5).sign_();
      side = (points + options_.delta() * direction).clamp_(0, 1);
      ABSL_ASSIGN_OR_RETURN(ActiveBatch::Look look, batch.Judge(side));
      if (batch.empty()) return sum;
      above = loss(look.logits);
      side = (points - options_.delta() * direction).clamp_(0, 1);
      ABSL_ASSIGN_OR_RETURN(look, batch.Judge(side));
      if (batch.empty()) return sum;
      const torch::Tensor slope = (above - loss(look.logits)) / (2 * options_.delta());
      sum = sum + PerRow(slope.nan_to_num(0, 0, 0)) * direction;  // a loss of equal logits may have no value
    }
    return sum / static_cast<double>(options_.samples());
  }

  v1::SpsaAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeSpsa(const v1::SpsaAttack& options) { return std::make_unique<Spsa>(options); }

}  // namespace tightrope
