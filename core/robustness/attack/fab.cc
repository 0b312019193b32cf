// The fast adaptive boundary attack (Croce and Hein 2020, "Minimally distorted adversarial examples", algorithm 1),
// constants and order as in the authors' code. A step linearises the boundary towards one class at the point x_i, takes
// the nearest points of that plane inside the box from x_i and from the example x, and moves to a mean of the two that
// is biased to x; where the model is wrong there, the next step starts at the share β of the way from x.
//
// Untargeted: the class whose linearised boundary is nearest, at a gradient a class and step. Targeted: one class a
// run.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/boundary_plane.h"
#include "core/robustness/attack/projection.h"
#include "core/robustness/attack/row_kernels.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr double kSmallestStep = 1e-8;

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
      ABSL_ASSIGN_OR_RETURN(const BoundaryPlane plane, targets.defined() ? PlaneTowards(batch, points, targets)
                                                                         : NearestPlane(batch, points, UINT32_MAX));
      if (batch.empty()) return absl::OkStatus();
      points = Move(batch.ball(), points, plane);
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.Judge(points));
      if (batch.empty()) return absl::OkStatus();
      // points + (1 − β)·(center − points), and nothing where the model is right.
      const torch::Tensor back = look.wrong.to(torch::kFloat32) * (1 - options_.beta());
      points.lerp_(batch.ball().centers(), PerRow(back));
    }
    return absl::OkStatus();
  }

 private:
  // The example itself; restarts after the first, a point at half the radius.
  torch::Tensor Start(const ActiveBatch& batch) const {
    torch::Tensor points = batch.Inputs();
    std::vector<uint8_t> restarted;
    for (const ActiveBatch::Row& row : batch.rows()) restarted.push_back(row.run % options_.restarts() > 0 ? 1 : 0);
    const torch::Tensor mask = torch::tensor(restarted, torch::kUInt8).to(torch::kBool).to(points.device());
    if (!mask.any().item<bool>()) return points;
    return torch::where(PerRow(mask), batch.SurfaceStart(0.5), points);
  }

  // N float64.
  static torch::Tensor RowDots(const torch::Tensor& a, const torch::Tensor& b) {
    if (!a.is_cpu()) return (a * b).sum(1, /*keepdim=*/false, torch::kFloat64);
    const torch::Tensor left = a.contiguous(), right = b.contiguous();
    torch::Tensor dots = torch::empty({a.size(0)}, torch::kFloat64);
    for (int64_t row = 0; row < a.size(0); ++row) {
      const int64_t at = row * a.size(1);
      dots.data_ptr<double>()[row] = DotRow(a.size(1), left.data_ptr<float>() + at, right.data_ptr<float>() + at);
    }
    return dots;
  }

  torch::Tensor Move(const Ball& ball, const torch::Tensor& points, const BoundaryPlane& plane) const {
    const torch::Tensor offset = RowDots(plane.normal, points.flatten(1)) - plane.difference;
    const torch::Tensor from_point = StepToHyperplane(ball.norm(), points.flatten(1), plane.normal, offset);
    const torch::Tensor from_center = StepToHyperplane(ball.norm(), ball.centers().flatten(1), plane.normal, offset);
    const torch::Tensor a1 = RowLengths(ball.norm(), from_point).clamp_min_(kSmallestStep);
    const torch::Tensor a2 = RowLengths(ball.norm(), from_center).clamp_min_(kSmallestStep);
    const torch::Tensor alpha = (a1 / (a1 + a2)).clamp_(0, options_.alpha_max());
    if (points.is_cpu()) return MoveRows(ball, points.contiguous(), from_point, from_center, alpha);
    const torch::Tensor near_point = points + options_.eta() * from_point.view(points.sizes());
    const torch::Tensor near_center = ball.centers() + options_.eta() * from_center.view(points.sizes());
    return (near_point * (1 - PerRow(alpha)) + near_center * PerRow(alpha)).clamp_(0, 1);
  }

  // The last three lines, with one pass over the memory instead of ten.
  torch::Tensor MoveRows(const Ball& ball, const torch::Tensor& points, const torch::Tensor& from_point,
                         const torch::Tensor& from_center, const torch::Tensor& alpha) const {
    torch::Tensor moved = torch::empty_like(points);
    const int64_t elements = from_point.size(1);
    for (int64_t row = 0; row < points.size(0); ++row) {
      const int64_t at = row * elements;
      BetweenRow(elements, points.data_ptr<float>() + at, from_point.data_ptr<float>() + at,
                 ball.centers().data_ptr<float>() + at, from_center.data_ptr<float>() + at,
                 static_cast<float>(options_.eta()), alpha.data_ptr<float>()[row], moved.data_ptr<float>() + at);
    }
    return moved;
  }

  v1::FabAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeFab(const v1::FabAttack& options) { return std::make_unique<Fab>(options); }

}  // namespace tightrope
