// The fast minimum-norm attack (Pintor et al. 2021, algorithm 1), constants and order as in the authors' code. Each
// step ascends the margin by a step of given l2 length, in every norm, and projects onto a ball whose radius is the
// distance to the linearised boundary until a point is wrong, and then shrinks by the share γ where the last point was
// wrong, to the nearest wrong one at most, and grows by it elsewhere. The step and γ decay along half a cosine.
//
// Four things differ: steps do not lead out of the box, because what the box cuts off a point would have been projected
// in vain, and on images that are black for the most part few points ever became wrong; the ball reaches beyond the
// linearised boundary by the share γ of the way to it, because one that only touches it holds nothing that a linear
// model gets wrong; the projection onto the l1 ball and the box is the exact one, not one after the other; and the last
// point is looked at.
#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/half_cosine.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// The last step over the first one.
constexpr double kFinalStep = 0.01;

// N float64.
torch::Tensor RowDistances(v1::Norm norm, const torch::Tensor& from, const torch::Tensor& to) {
  return Distances(from, to).select(1, DistanceColumn(norm));
}

class Fmn : public AttackMethod {
 public:
  explicit Fmn(const v1::FmnAttack& options) : options_(options) {}

  uint32_t runs() const override { return std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return uint64_t{options_.steps()} + 1; }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    const v1::Norm norm = batch.ball().norm();
    torch::Tensor points = batch.Inputs(), targets;
    if (options_.targets() > 0) targets = batch.Targets([](uint32_t run) { return run; });
    // Of the box's farthest point; no radius needs to be larger.
    torch::Tensor farthest = RowDistances(norm, points, (points < 0.5).to(torch::kFloat32));
    torch::Tensor radius = norm == v1::NORM_L0 ? torch::ones_like(farthest) : farthest.clone();
    torch::Tensor nearest = torch::full_like(farthest, std::numeric_limits<double>::infinity());
    const auto following = batch.Follow({&points, &targets, &farthest, &radius, &nearest});
    const Loss loss = MakeLoss(v1::ATTACK_LOSS_MARGIN, batch.labels(), targets);
    for (uint32_t step = 0; step < options_.steps(); ++step) {
      ABSL_ASSIGN_OR_RETURN(ActiveBatch::Slope slope, batch.Gradient(points, loss));
      if (batch.empty()) return absl::OkStatus();
      slope.gradient.nan_to_num_(0, 0, 0);
      const torch::Tensor& centers = batch.ball().centers();
      const torch::Tensor distance = RowDistances(norm, centers, points);
      nearest = torch::where(slope.wrong, torch::minimum(nearest, distance), nearest);
      const double gamma = HalfCosine(options_.gamma(), options_.gamma_final(), step, options_.steps());
      radius = norm == v1::NORM_L0 ? NextCount(radius, slope.wrong, nearest, gamma)
                                   : NextRadius(norm, radius, slope, distance, nearest, gamma);
      radius = torch::minimum(radius, farthest);
      const double length = HalfCosine(options_.step_size(), options_.step_size() * kFinalStep, step, options_.steps());
      const torch::Tensor inward = WithinBox(std::move(slope.gradient), points);
      points.add_(Ball(v1::NORM_L2, centers, radius).Direction(inward), length);
      Ball(norm, centers, radius).Project(points);
    }
    return batch.Judge(points).status();
  }

 private:
  // Without what would lead out of [0, 1].
  static torch::Tensor WithinBox(torch::Tensor gradient, const torch::Tensor& points) {
    const torch::Tensor out =
        (points <= 0).logical_and_(gradient < 0).logical_or_((points >= 1).logical_and_(gradient > 0));
    return gradient.masked_fill_(out, 0);
  }

  // Lines 6 to 11.
  static torch::Tensor NextRadius(v1::Norm norm, const torch::Tensor& radius, const ActiveBatch::Slope& slope,
                                  const torch::Tensor& distance, const torch::Tensor& nearest, double gamma) {
    const torch::Tensor slopes = RowLengths(DualOf(norm), slope.gradient).to(torch::kFloat64);
    const torch::Tensor boundary = distance + slope.losses.abs() / slopes.clamp_min(1e-12) * (1 + gamma);
    const torch::Tensor wider = torch::where(nearest.isfinite(), radius * (1 + gamma), boundary);
    return torch::where(slope.wrong, torch::minimum(radius * (1 - gamma), nearest), wider);
  }

  // The same in l0, where no linear boundary tells a distance: from one element on, and by one at least.
  static torch::Tensor NextCount(const torch::Tensor& count, const torch::Tensor& wrong, const torch::Tensor& nearest,
                                 double gamma) {
    const torch::Tensor fewer =
        torch::minimum(torch::minimum(count - 1, (count * (1 - gamma)).floor()), nearest).clamp_min(0);
    return torch::where(wrong, fewer, torch::maximum(count + 1, (count * (1 + gamma)).floor()));
  }

  v1::FmnAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeFmn(const v1::FmnAttack& options) { return std::make_unique<Fmn>(options); }

}  // namespace tightrope
