// Decoupled direction and norm (Rony et al. 2019, algorithm 1): a step of length α along the gradient of the
// cross-entropy, then onto the sphere of a radius that shrinks by the share γ where the model is wrong and grows by it
// where it is right. As in the authors' code α falls from 1 to 0.01 along half a cosine, and the radius is held within
// the farthest corner of the box; unlike there nothing is rounded to pixel values, and a row without gradient keeps its
// direction instead of taking a random one.
#include <algorithm>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/half_cosine.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr double kFirstStep = 1;
constexpr double kLastStep = 0.01;

torch::Tensor Length(const torch::Tensor& points) {
  return PerRow(points.flatten(1).square().sum(1).sqrt()).clamp_min(1e-35);
}

class Ddn : public AttackMethod {
 public:
  explicit Ddn(const v1::DdnAttack& options) : options_(options) {}

  uint32_t runs() const override { return std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return uint64_t{options_.steps()} + 1; }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = batch.Inputs();
    torch::Tensor farthest = Length(torch::maximum(points, 1 - points));
    torch::Tensor radius = torch::full_like(farthest, options_.initial_radius());
    torch::Tensor targets;
    if (options_.targets() > 0) targets = batch.Targets([](uint32_t run) { return run; });
    const auto following = batch.Follow({&points, &farthest, &radius, &targets});
    const Loss loss = MakeLoss(v1::ATTACK_LOSS_CE, batch.labels(), targets);
    for (uint32_t step = 0; step < options_.steps(); ++step) {
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Slope slope, batch.Gradient(points, loss));
      if (batch.empty()) return absl::OkStatus();
      const torch::Tensor ahead =
          points - batch.ball().centers() +
          batch.ball().Direction(slope.gradient) * HalfCosine(kFirstStep, kLastStep, step, options_.steps());
      radius = torch::where(PerRow(slope.wrong), radius * (1 - options_.gamma()), radius * (1 + options_.gamma()));
      radius = torch::minimum(radius, farthest);
      points = (batch.ball().centers() + ahead * (radius / Length(ahead))).clamp_(0, 1);
    }
    return batch.Judge(points).status();
  }

 private:
  v1::DdnAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeDdn(const v1::DdnAttack& options) { return std::make_unique<Ddn>(options); }

}  // namespace tightrope
