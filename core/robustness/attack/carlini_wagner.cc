// The l2 attack of Carlini and Wagner (2017, section VI.A): Adam on ‖δ‖² + c·max(κ − margin, 0) over w, where the point
// is (tanh(w) + 1) / 2, so that it never leaves [0, 1]; a descent for each c (ConstantSearch).
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/constant_search.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// As in the authors' code: pixels that are exactly 0 or 1 begin this share of the way from the middle, where w is
// finite and has a gradient.
constexpr double kInsideBox = 0.999999;
constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kTiny = 1e-8;  // Adam's

class CarliniWagner : public AttackMethod {
 public:
  explicit CarliniWagner(const v1::CarliniWagnerAttack& options) : options_(options) {}

  uint32_t runs() const override { return std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return options_.search_steps() * (uint64_t{options_.steps()} + 1); }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    ConstantSearch search(batch, {.search_steps = options_.search_steps(),
                                  .initial_const = options_.initial_const(),
                                  .confidence = options_.confidence(),
                                  .targets = options_.targets()});
    return search.Run([&] { return Descend(batch, search); });
  }

 private:
  absl::Status Descend(ActiveBatch& batch, ConstantSearch& search) const {
    torch::Tensor w = ((2 * batch.Inputs() - 1) * kInsideBox).atanh(), points = PointsAt(w);
    torch::Tensor first = torch::zeros_like(w), second = torch::zeros_like(w);  // Adam's moments
    const auto following = batch.Follow({&w, &points, &first, &second});
    for (uint32_t step = 1; step <= options_.steps(); ++step) {
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Slope slope, batch.Gradient(points, search.margin()));
      if (batch.empty()) return absl::OkStatus();
      search.See(slope.losses);
      torch::Tensor gradient =
          2 * (points - batch.ball().centers()) + PerRow(search.PenaltySlope(slope.losses)) * slope.gradient;
      gradient = (gradient * 2 * points * (1 - points)).nan_to_num_(0, 0, 0);  // dx/dw = 2x(1 − x)
      first = kBeta1 * first + (1 - kBeta1) * gradient;
      second = kBeta2 * second + (1 - kBeta2) * gradient.square();
      const torch::Tensor mean = first / (1 - std::pow(kBeta1, step));
      const torch::Tensor spread = (second / (1 - std::pow(kBeta2, step))).sqrt() + kTiny;
      w = w - options_.learning_rate() * mean / spread;
      points = PointsAt(w);
    }
    ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.Judge(points));
    if (!batch.empty()) search.See(search.margin()(look.logits));
    return absl::OkStatus();
  }

  static torch::Tensor PointsAt(const torch::Tensor& w) { return ((w.tanh() + 1) / 2).clamp_(0, 1); }

  v1::CarliniWagnerAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeCarliniWagner(const v1::CarliniWagnerAttack& options) {
  return std::make_unique<CarliniWagner>(options);
}

}  // namespace tightrope
