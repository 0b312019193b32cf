// HopSkipJump (Chen et al. 2020, algorithm 2): at a point of the boundary, the direction of its normal estimated from
// decisions at random points around it; a step that way, halved until the model is wrong there; bisection back to the
// boundary. The radius of the first estimate and the order of all else as in the authors' code.
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/decisions.h"
#include "core/robustness/attack/hop_skip_jump_schedule.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr double kFirstRadius = 0.1;
constexpr uint64_t kLooksOfBisection = 25;  // and of the search for a step, about; for progress

class HopSkipJump : public AttackMethod {
 public:
  explicit HopSkipJump(const v1::HopSkipJumpAttack& options) : options_(options) {}

  uint32_t runs() const override { return options_.restarts(); }
  uint64_t looks() const override {
    uint64_t looks = 0;
    for (uint32_t t = 1; t <= options_.steps(); ++t) looks += HopSkipJumpQueries(options_, t) + 2 * kLooksOfBisection;
    return looks;
  }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    ABSL_ASSIGN_OR_RETURN(torch::Tensor points, WrongNoise(batch));
    if (batch.empty()) return absl::OkStatus();
    torch::Tensor radius, direction;
    const auto following = batch.Follow({&points, &radius, &direction});
    const int64_t elements = points.numel() / points.size(0);
    const uint32_t halvings = HopSkipJumpHalvings(batch.ball().norm(), elements);
    uint32_t draw = kStepsOfNoise;
    ABSL_RETURN_IF_ERROR(BisectToExample(batch, points, halvings));
    for (uint32_t t = 1; t <= options_.steps() && !batch.empty(); ++t) {
      if (t == 1) radius = torch::full({batch.size(), 1, 1, 1}, kFirstRadius, points.options());
      ABSL_ASSIGN_OR_RETURN(direction, Normal(batch, points, radius, HopSkipJumpQueries(options_, t), draw));
      if (batch.empty()) break;
      ABSL_RETURN_IF_ERROR(Step(batch, points, direction, t, halvings));
      if (batch.empty()) break;
      radius = DistancesToExamples(batch, points) / static_cast<double>(elements);  // δ of the next step
      ABSL_RETURN_IF_ERROR(BisectToExample(batch, points, halvings));
    }
    return absl::OkStatus();
  }

 private:
  // The estimate with the mean decision as its baseline (eq. 16): of norm 1 (l2), or its signs (linf).
  static absl::StatusOr<torch::Tensor> Normal(ActiveBatch& batch, const torch::Tensor& points,
                                              const torch::Tensor& radius, uint32_t queries, uint32_t& draw) {
    const bool linf = batch.ball().norm() == v1::NORM_LINF;
    torch::Tensor weighted = torch::zeros_like(points), plain = torch::zeros_like(points), around, offset;
    torch::Tensor decisions = torch::zeros_like(radius);
    const auto following = batch.Follow({&weighted, &plain, &around, &offset, &decisions});
    for (uint32_t query = 0; query < queries; ++query, ++draw) {
      offset = linf ? batch.Uniform(draw) * 2 - 1 : batch.Normal(draw);
      around = (points + radius * (offset / LengthOf(offset))).clamp_(0, 1);
      offset = (around - points) / radius;
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.Judge(around));
      if (batch.empty()) return weighted;
      const torch::Tensor decision = PerRow(look.wrong).to(torch::kFloat32) * 2 - 1;  // φ
      weighted = weighted + decision * offset;
      plain = plain + offset;
      decisions = decisions + decision;
    }
    const torch::Tensor mean = decisions / static_cast<double>(queries);
    const torch::Tensor estimate = torch::where(mean.abs() < 1, weighted - mean * plain, weighted);
    return linf ? estimate.sign() : estimate / LengthOf(estimate);
  }

  // The first of the steps of ‖x_t − x‖/√t, half of it, a quarter … that leads to where the model is wrong. Where all
  // are right that are longer than bisection resolves, the point stays.
  static absl::Status Step(ActiveBatch& batch, torch::Tensor& points, const torch::Tensor& direction, uint32_t t,
                           uint32_t halvings) {
    torch::Tensor step = DistancesToExamples(batch, points) / std::sqrt(static_cast<double>(t));
    torch::Tensor from = points, trial, open = torch::ones_like(batch.labels(), torch::kBool);
    const auto following = batch.Follow({&step, &from, &trial, &open});
    for (uint32_t i = 0; i <= halvings && open.any().item<bool>(); ++i) {
      trial = (from + step * direction).clamp_(0, 1);
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.JudgeSome(trial, open));
      if (batch.empty()) return absl::OkStatus();
      points = torch::where(PerRow(look.wrong), trial, points);
      open = open.logical_and(look.wrong.logical_not());
      step = step / 2;
    }
    return absl::OkStatus();
  }

  v1::HopSkipJumpAttack options_;
};

}  // namespace

double HopSkipJumpThreshold(v1::Norm norm, int64_t elements) {
  return std::pow(static_cast<double>(elements), norm == v1::NORM_LINF ? -2 : -1.5);
}

uint32_t HopSkipJumpHalvings(v1::Norm norm, int64_t elements) {
  return static_cast<uint32_t>(std::ceil(-std::log2(HopSkipJumpThreshold(norm, elements))));
}

uint32_t HopSkipJumpQueries(const v1::HopSkipJumpAttack& options, uint32_t step) {
  const double queries = options.gradient_queries() * std::sqrt(static_cast<double>(step));
  return static_cast<uint32_t>(std::min<double>(queries, options.max_gradient_queries()));
}

std::unique_ptr<AttackMethod> MakeHopSkipJump(const v1::HopSkipJumpAttack& options) {
  return std::make_unique<HopSkipJump>(options);
}

}  // namespace tightrope
