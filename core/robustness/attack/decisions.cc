#include "core/robustness/attack/decisions.h"

#include "core/status_macros.h"

namespace tightrope {
namespace {

// Uniform draws, one for each square of side×side elements.
torch::Tensor Noise(const ActiveBatch& batch, uint32_t step, int64_t side) {
  const torch::Tensor draws = batch.Uniform(step);
  const auto first_of_square = [&](int64_t elements) {
    const torch::Tensor places = torch::arange(elements, batch.labels().options());
    return places - places.remainder(side);
  };
  return draws.index_select(2, first_of_square(draws.size(2))).index_select(3, first_of_square(draws.size(3)));
}

}  // namespace

absl::StatusOr<torch::Tensor> WrongNoise(ActiveBatch& batch) {
  torch::Tensor found = batch.Inputs(), noise;
  torch::Tensor missing = torch::ones_like(batch.labels(), torch::kBool);
  const auto following = batch.Follow({&found, &missing, &noise});
  for (uint32_t look = 0; look < kNoiseLooks && missing.any().item<bool>(); ++look) {
    noise = Noise(batch, 2 + look, int64_t{1} << (look % 5));
    ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look seen, batch.JudgeSome(noise, missing));
    if (batch.empty()) return found;
    found = torch::where(PerRow(seen.wrong), noise, found);
    missing = missing.logical_and(seen.wrong.logical_not());
  }
  batch.End(missing);
  return found;
}

absl::Status BisectToExample(ActiveBatch& batch, torch::Tensor& points, uint32_t halvings) {
  torch::Tensor from = points, reach = DistancesToExamples(batch, points), middle, share;
  torch::Tensor low = torch::zeros_like(reach), high = torch::ones_like(reach);
  const auto following = batch.Follow({&from, &reach, &middle, &share, &low, &high});
  for (uint32_t i = 0; i < halvings; ++i) {
    share = (low + high) / 2;
    const torch::Tensor& centers = batch.ball().centers();
    const torch::Tensor offsets = from - centers;
    middle = batch.ball().norm() == v1::NORM_LINF
                 ? centers + torch::minimum(torch::maximum(offsets, -share * reach), share * reach)
                 : centers + share * offsets;
    middle.clamp_(0, 1);
    ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Look look, batch.Judge(middle));
    if (batch.empty()) return absl::OkStatus();
    const torch::Tensor wrong = PerRow(look.wrong);
    points = torch::where(wrong, middle, points);
    high = torch::where(wrong, share, high);
    low = torch::where(wrong, low, share);
  }
  return absl::OkStatus();
}

torch::Tensor LengthOf(const torch::Tensor& offsets) {
  return offsets.square().sum({1, 2, 3}, /*keepdim=*/true).sqrt_().clamp_min_(1e-12);
}

torch::Tensor DistancesToExamples(const ActiveBatch& batch, const torch::Tensor& points) {
  const torch::Tensor all = Distances(batch.ball().centers(), points);
  return PerRow(all.select(1, DistanceColumn(batch.ball().norm())).to(torch::kFloat32).contiguous());
}

}  // namespace tightrope
