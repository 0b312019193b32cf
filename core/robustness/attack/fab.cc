// The fast adaptive boundary attack (Croce and Hein 2020, "Minimally distorted adversarial examples", algorithm 1),
// constants and order as in the authors' code. A step linearises the boundary towards one class at the point x_i, takes
// the nearest points of that plane inside the box from x_i and from the example x, and moves to a mean of the two that
// is biased to x; where the model is wrong there, the next step starts at the share β of the way from x.
//
// Untargeted: the class whose linearised boundary is nearest, at a gradient a class and step. Targeted: one class a
// run.
#include <algorithm>
#include <memory>
#include <vector>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/projection.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class Fab : public AttackMethod {
 public:
  explicit Fab(const v1::FabAttack& options) : options_(options) {}

  uint32_t runs() const override { return options_.restarts() * std::max<uint32_t>(options_.targets(), 1); }
  // Untargeted searches take more, a gradient for each class; progress then runs ahead.
  uint64_t looks() const override { return 2 * uint64_t{options_.steps()}; }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = Start(batch);
    torch::Tensor targets;
    if (options_.targets() > 0) targets = batch.Targets([&](uint32_t run) { return run / options_.restarts(); });
    const auto following = batch.Follow({&points, &targets});
    for (uint32_t step = 0; step < options_.steps(); ++step) {
      ABSL_ASSIGN_OR_RETURN(Plane plane,
                            targets.defined() ? TowardsTarget(batch, points, targets) : TowardsNearest(batch, points));
      if (batch.empty()) return absl::OkStatus();
      points = Move(batch.ball(), points, plane);
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.Judge(points));
      if (batch.empty()) return absl::OkStatus();
      const torch::Tensor back = batch.ball().centers() + (points - batch.ball().centers()) * options_.beta();
      points = torch::where(PerRow(look.wrong), back, points);
    }
    return absl::OkStatus();
  }

 private:
  // Where f_k − f_label is zero to first order: normal·z = offset.
  struct Plane {
    torch::Tensor normal;  // N×d
    torch::Tensor offset;  // N
  };

  // The example itself; restarts after the first, a point at half the radius.
  torch::Tensor Start(const ActiveBatch& batch) const {
    torch::Tensor points = batch.Inputs();
    std::vector<uint8_t> restarted;
    for (const ActiveBatch::Row& row : batch.rows()) restarted.push_back(row.run % options_.restarts() > 0 ? 1 : 0);
    const torch::Tensor mask = torch::tensor(restarted, torch::kUInt8).to(torch::kBool).to(points.device());
    if (!mask.any().item<bool>()) return points;
    return torch::where(PerRow(mask), batch.SurfaceStart(0.5), points);
  }

  static Plane PlaneOf(const torch::Tensor& points, const torch::Tensor& difference, const torch::Tensor& gradient) {
    const torch::Tensor normal = gradient.flatten(1);
    return {.normal = normal, .offset = (normal * points.flatten(1)).sum(1) - difference};
  }

  static absl::StatusOr<Plane> TowardsTarget(ActiveBatch& batch, const torch::Tensor& points,
                                             const torch::Tensor& targets) {
    ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Slope slope, batch.Gradient(points, [&](const torch::Tensor& logits) {
      return TargetedMarginLoss(logits, batch.labels(), targets);
    }));
    return PlaneOf(points, slope.losses, slope.gradient);
  }

  // Of the planes of all other classes the one nearest to the point.
  static absl::StatusOr<Plane> TowardsNearest(ActiveBatch& batch, const torch::Tensor& points) {
    Plane nearest;
    torch::Tensor least;
    const auto following = batch.Follow({&nearest.normal, &nearest.offset, &least});
    const uint32_t others = static_cast<uint32_t>(batch.rows().front().standing->clean_logits.size()) - 1;
    for (uint32_t k = 0; k < others && !batch.empty(); ++k) {
      torch::Tensor targets = batch.Targets([&](uint32_t) { return k; });
      const auto targets_follow = batch.Follow({&targets});
      ABSL_ASSIGN_OR_RETURN(const Plane plane, TowardsTarget(batch, points, targets));
      if (batch.empty()) break;
      const torch::Tensor difference = (plane.normal * points.flatten(1)).sum(1) - plane.offset;
      const torch::Tensor distance = difference.abs() / (DualNorm(batch.ball().norm(), plane.normal) + 1e-12);
      if (!least.defined()) {
        nearest = plane;
        least = distance;
        continue;
      }
      const torch::Tensor nearer = distance < least;
      least = torch::where(nearer, distance, least);
      nearest.normal = torch::where(nearer.view({-1, 1}), plane.normal, nearest.normal);
      nearest.offset = torch::where(nearer, plane.offset, nearest.offset);
    }
    return nearest;
  }

  static torch::Tensor DualNorm(v1::Norm norm, const torch::Tensor& rows) {
    if (norm == v1::NORM_L2) return rows.square().sum(1).sqrt();
    return norm == v1::NORM_L1 ? rows.abs().amax(1) : rows.abs().sum(1);
  }

  static torch::Tensor Length(v1::Norm norm, const torch::Tensor& rows) {
    if (norm == v1::NORM_L2) return rows.square().sum(1).sqrt();
    return norm == v1::NORM_L1 ? rows.abs().sum(1) : rows.abs().amax(1);
  }

  torch::Tensor Move(const Ball& ball, const torch::Tensor& points, const Plane& plane) const {
    const torch::Tensor from_point = StepToHyperplane(ball.norm(), points.flatten(1), plane.normal, plane.offset);
    const torch::Tensor from_center =
        StepToHyperplane(ball.norm(), ball.centers().flatten(1), plane.normal, plane.offset);
    const torch::Tensor a1 = Length(ball.norm(), from_point).clamp_min_(1e-8);
    const torch::Tensor a2 = Length(ball.norm(), from_center).clamp_min_(1e-8);
    const torch::Tensor alpha = PerRow((a1 / (a1 + a2)).clamp_(0, options_.alpha_max()));
    const torch::Tensor near_point = points + options_.eta() * from_point.view(points.sizes());
    const torch::Tensor near_center = ball.centers() + options_.eta() * from_center.view(points.sizes());
    return (near_point * (1 - alpha) + near_center * alpha).clamp_(0, 1);
  }

  v1::FabAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeFab(const v1::FabAttack& options) { return std::make_unique<Fab>(options); }

}  // namespace tightrope
