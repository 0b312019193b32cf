// The elastic-net attack (Chen et al. 2018, algorithm 1): FISTA on c·max(κ − margin, 0) + ‖δ‖² with a shrinkage of β a
// step towards the example, which is what makes δ sparse; a descent for each c (ConstantSearch). Of what is found the
// nearest in l1 is kept, the paper's "L1 decision rule".
//
// As in the authors' code the step falls with the square root of the steps that are left. Unlike there the extrapolated
// point y, where the gradient is taken, is cut to [0, 1], because a model need not be defined elsewhere.
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/constant_search.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class Ead : public AttackMethod {
 public:
  explicit Ead(const v1::EadAttack& options) : options_(options) {}

  uint32_t runs() const override { return std::max<uint32_t>(options_.targets(), 1); }
  // Each step looks at y and at where it led.
  uint64_t looks() const override { return uint64_t{2} * options_.search_steps() * options_.steps(); }
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
    torch::Tensor x = batch.Inputs(), y = x;
    const auto following = batch.Follow({&x, &y});
    for (uint32_t k = 0; k < options_.steps(); ++k) {
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Slope slope, batch.Gradient(y, search.margin()));
      if (batch.empty()) return absl::OkStatus();
      const torch::Tensor& centers = batch.ball().centers();
      const torch::Tensor gradient =
          (2 * (y - centers) + PerRow(search.PenaltySlope(slope.losses)) * slope.gradient).nan_to_num_(0, 0, 0);
      const double done = static_cast<double>(k) / options_.steps();
      const torch::Tensor before = x;
      x = Shrink(y - options_.learning_rate() * std::sqrt(1 - done) * gradient, centers);
      y = (x + k / (k + 3.0) * (x - before)).clamp_(0, 1);
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.Judge(x));
      if (batch.empty()) return absl::OkStatus();
      search.See(search.margin()(look.logits));
    }
    return absl::OkStatus();
  }

  // S_β (eq. 6): β nearer to the example, not past it, and within the box. The paper's threshold is β itself and not β
  // times the step.
  torch::Tensor Shrink(const torch::Tensor& points, const torch::Tensor& centers) const {
    const torch::Tensor delta = points - centers;
    const torch::Tensor lowered = (points - options_.beta()).clamp_max(1);
    const torch::Tensor raised = (points + options_.beta()).clamp_min(0);
    return torch::where(delta > options_.beta(), lowered, torch::where(delta < -options_.beta(), raised, centers));
  }

  v1::EadAttack options_;
};

}  // namespace

std::unique_ptr<AttackMethod> MakeEad(const v1::EadAttack& options) { return std::make_unique<Ead>(options); }

}  // namespace tightrope
