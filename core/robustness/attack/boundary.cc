// The boundary attack (Brendel et al. 2018, algorithm 1): from a point that the model gets wrong, a random step along
// the sphere around the example, then one towards the example, kept where the model stays wrong. Both steps are shares
// of the distance and adapt, for each row, to how often they succeed; thresholds as in the authors' code.
//
// Other than there, the step along the sphere is looked at every time and not every tenth, rates are taken over blocks
// of looks and not over a sliding window, and the start is moved to the boundary by bisection first.
#include <cmath>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/decisions.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr uint32_t kHalvingsOfStart = 10;
// Looks from which a rate of success is taken, and the rates between which a step stays as long as it is.
constexpr double kBlock = 30;
constexpr double kTooSeldom = 0.2, kTooOften = 0.5;
// A search whose step towards the example has shrunk to this has converged.
constexpr double kConverged = 1e-7;

// How often one kind of step succeeded since it was last adapted, for each row; N×1×1×1.
struct Successes {
  explicit Successes(const torch::Tensor& like) : tries(torch::zeros_like(like)), hits(torch::zeros_like(like)) {}

  // Counts a step of the rows `tried`. Returns what each row's step is to be multiplied by, 1 while its block lasts.
  torch::Tensor Count(const torch::Tensor& tried, const torch::Tensor& hit, double adaptation) {
    tries = tries + tried;
    hits = hits + hit;
    const torch::Tensor full = tries >= kBlock;
    const torch::Tensor longer = full.logical_and(hits > kTooOften * tries);
    const torch::Tensor shorter = full.logical_and(hits < kTooSeldom * tries);
    tries = tries.masked_fill(full, 0);
    hits = hits.masked_fill(full, 0);
    return torch::ones_like(tries).masked_fill_(longer, adaptation).masked_fill_(shorter, 1 / adaptation);
  }

  torch::Tensor tries, hits;
};

class Boundary : public AttackMethod {
 public:
  explicit Boundary(const v1::BoundaryAttack& options) : options_(options) {}

  uint32_t runs() const override { return options_.restarts(); }
  uint64_t looks() const override { return 2 * uint64_t{options_.steps()}; }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    ABSL_ASSIGN_OR_RETURN(torch::Tensor points, WrongNoise(batch));
    if (batch.empty()) return absl::OkStatus();
    const auto points_follow = batch.Follow({&points});
    ABSL_RETURN_IF_ERROR(BisectToExample(batch, points, kHalvingsOfStart));
    if (batch.empty()) return absl::OkStatus();

    torch::Tensor along = torch::full({batch.size(), 1, 1, 1}, options_.spherical_step(), points.options());
    torch::Tensor towards = torch::full_like(along, options_.source_step());
    Successes around(along), nearer(along);
    torch::Tensor on_sphere, candidate, stays_wrong;
    const auto following = batch.Follow({&along, &towards, &around.tries, &around.hits, &nearer.tries, &nearer.hits,
                                         &on_sphere, &candidate, &stays_wrong});
    for (uint32_t step = 0; step < options_.steps(); ++step) {
      on_sphere = StepAlong(batch, points, batch.Normal(kStepsOfNoise + step), along);
      candidate = StepTowards(batch, points, on_sphere, towards);
      ABSL_ASSIGN_OR_RETURN(ActiveBatch::Look look, batch.Judge(on_sphere));
      if (batch.empty()) return absl::OkStatus();
      stays_wrong = look.wrong;
      ABSL_ASSIGN_OR_RETURN(look, batch.JudgeSome(candidate, stays_wrong));
      if (batch.empty()) return absl::OkStatus();
      points = torch::where(PerRow(look.wrong), candidate, points);

      const double adaptation = options_.step_adaptation();
      const torch::Tensor both = around.Count(torch::ones_like(along), PerRow(stays_wrong), adaptation);
      const torch::Tensor one = nearer.Count(PerRow(stays_wrong), PerRow(look.wrong), adaptation);
      along = (along * both).clamp_max_(1);
      towards = (towards * both * one).clamp_max_(1);
      batch.End((towards < kConverged).view({-1}));
      if (batch.empty()) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

 private:
  // `share` of the distance in a direction at right angles to the offset, and back to the sphere.
  static torch::Tensor StepAlong(const ActiveBatch& batch, const torch::Tensor& points, const torch::Tensor& draws,
                                 const torch::Tensor& share) {
    const torch::Tensor offset = points - batch.ball().centers();
    const torch::Tensor distance = LengthOf(offset);
    const torch::Tensor direction = offset / distance;
    const torch::Tensor across = draws - (draws * direction).sum({1, 2, 3}, /*keepdim=*/true) * direction;
    const torch::Tensor moved = offset + across * (share * distance / LengthOf(across));
    return (batch.ball().centers() + moved / (1 + share.square()).sqrt()).clamp_(0, 1);
  }

  // On the way from there to the example, `share` nearer than the point is; what clipping has taken off counts.
  static torch::Tensor StepTowards(const ActiveBatch& batch, const torch::Tensor& points,
                                   const torch::Tensor& on_sphere, const torch::Tensor& share) {
    const torch::Tensor& centers = batch.ball().centers();
    const torch::Tensor length = LengthOf(on_sphere - centers);
    const torch::Tensor wanted = torch::minimum(length, LengthOf(points - centers) * (1 - share));
    return (centers + (on_sphere - centers) * (wanted / length)).clamp_(0, 1);
  }

  v1::BoundaryAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeBoundary(const v1::BoundaryAttack& options) {
  return std::make_unique<Boundary>(options);
}

}  // namespace tightrope
