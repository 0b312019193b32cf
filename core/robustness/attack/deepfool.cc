// DeepFool (Moosavi-Dezfooli et al. 2016, algorithm 2): to the nearest of the linearised boundaries of the likeliest
// other classes, again and again, until the model is wrong; what is found is 1 + η times as far away as where the steps
// have led.
//
// The box is none of the algorithm's: a step is that to the whole plane, and what of it would leave [0, 1] is cut off.
// So a step falls short of the plane, and the steps come ever nearer to the boundary from the label's side. That is why
// the iterate and the point 1 + η times as far away are kept apart, as the paper has it, and the latter is what is
// judged after every step. The authors' code goes on from that point: in the box it might never arrive.
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/boundary_plane.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class DeepFool : public AttackMethod {
 public:
  explicit DeepFool(const v1::DeepFoolAttack& options) : options_(options) {}

  uint64_t looks() const override { return uint64_t{options_.steps()} * (uint64_t{options_.candidates()} + 1); }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = batch.Inputs();
    const auto following = batch.Follow({&points});
    for (uint32_t step = 0; step < options_.steps(); ++step) {
      ABSL_ASSIGN_OR_RETURN(const BoundaryPlane plane, NearestPlane(batch, points, options_.candidates()));
      if (batch.empty()) return absl::OkStatus();
      points = (points + ToPlane(batch.ball().norm(), plane).view(points.sizes())).clamp_(0, 1);
      const torch::Tensor& centers = batch.ball().centers();
      const torch::Tensor beyond = (centers + (points - centers) * (1 + options_.overshoot())).clamp_(0, 1);
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.Judge(beyond));
      if (batch.empty()) return absl::OkStatus();
      // Those that are wrong have arrived, near enough for the smallest radius or not.
      batch.End(look.wrong);
      if (batch.empty()) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

 private:
  // The least step that crosses it: eq. 10 for l2, |f'| / ‖w'‖₁ · sign(w') for linf (section 3.3). A row without
  // gradient stays.
  static torch::Tensor ToPlane(v1::Norm norm, const BoundaryPlane& plane) {
    const torch::Tensor& normal = plane.normal;
    const torch::Tensor direction =
        norm == v1::NORM_L2 ? normal / normal.square().sum(1, true).sqrt().clamp_min_(1e-35) : normal.sign();
    return (plane.distance.view({-1, 1}) * direction).nan_to_num_(0, 0, 0);
  }

  v1::DeepFoolAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeDeepFool(const v1::DeepFoolAttack& options) {
  return std::make_unique<DeepFool>(options);
}

}  // namespace tightrope
