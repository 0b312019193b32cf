#include "core/robustness/attack/constant_search.h"

#include <limits>

#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kGrowth = 10;
constexpr double kLargest = 1e10;

}  // namespace

ConstantSearch::ConstantSearch(ActiveBatch& batch, const Options& options)
    : batch_(batch),
      options_(options),
      targets_(options.targets > 0 ? batch.Targets([](uint32_t run) { return run; }) : torch::Tensor()),
      constants_(torch::full({batch.size()}, options.initial_const,
                             torch::TensorOptions(torch::kFloat32).device(batch.labels().device()))),
      lower_(torch::zeros_like(constants_)),
      upper_(torch::full_like(constants_, kInfinity)),
      reached_(torch::zeros_like(constants_, torch::kBool)),
      margin_(MakeLoss(v1::ATTACK_LOSS_MARGIN, batch.labels(), targets_)),
      following_(batch.Follow({&targets_, &constants_, &lower_, &upper_, &reached_})) {}

absl::Status ConstantSearch::Run(const std::function<absl::Status()>& descend) {
  for (uint32_t i = 0; i < options_.search_steps; ++i) {
    ABSL_RETURN_IF_ERROR(descend());
    if (batch_.empty()) break;
    SetNext();
  }
  return absl::OkStatus();
}

torch::Tensor ConstantSearch::PenaltySlope(const torch::Tensor& margins) const {
  return torch::where(margins < options_.confidence, -constants_, torch::zeros_like(constants_));
}

void ConstantSearch::See(const torch::Tensor& margins) {
  reached_ = reached_.logical_or(margins >= options_.confidence);
}

void ConstantSearch::SetNext() {
  upper_ = torch::where(reached_, torch::minimum(upper_, constants_), upper_);
  lower_ = torch::where(reached_, lower_, torch::maximum(lower_, constants_));
  constants_ = torch::where(upper_ < kInfinity, (lower_ + upper_) / 2, (constants_ * kGrowth).clamp_max(kLargest));
  reached_ = torch::zeros_like(reached_);
}

}  // namespace tightrope
