#include "core/robustness/attack/projection.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "core/robustness/attack/projection_rows.h"

namespace tightrope {
namespace {

void CheckRows(const torch::Tensor& points, const torch::Tensor& others, const torch::Tensor& scalars) {
  TORCH_CHECK(points.dim() == 2 && points.sizes() == others.sizes() && scalars.numel() == points.size(0),
              "projections need N×d, N×d and N elements, not ", points.sizes(), ", ", others.sizes(), " and ",
              scalars.sizes());
  TORCH_CHECK(points.scalar_type() == torch::kFloat32 && others.scalar_type() == torch::kFloat32,
              "projections need float32 points");
}

void CheckNorm(v1::Norm norm) {
  TORCH_CHECK(norm == v1::NORM_LINF || norm == v1::NORM_L2 || norm == v1::NORM_L1, "no step to a hyperplane in norm ",
              Norm_Name(norm));
}

torch::Tensor PerRow(const torch::Tensor& scalars, const torch::Device& device) {
  return scalars.to(device, torch::kFloat64).contiguous().view({-1, 1});
}

}  // namespace

torch::Tensor ProjectToL1Ball(const torch::Tensor& points, const torch::Tensor& centers, const torch::Tensor& radius) {
  CheckRows(points, centers, radius);
  if (!points.is_cpu()) return ProjectToL1BallByTensors(points, centers, radius);
  const torch::Tensor from = points.contiguous();
  const torch::Tensor to = centers.contiguous();
  const torch::Tensor radii = PerRow(radius, points.device());
  torch::Tensor projected = torch::empty(points.sizes(), points.options());
  ProjectRowsToL1Ball(points.size(0), points.size(1), from.data_ptr<float>(), to.data_ptr<float>(),
                      radii.data_ptr<double>(), projected.data_ptr<float>());
  return projected;
}

torch::Tensor StepToHyperplane(v1::Norm norm, const torch::Tensor& points, const torch::Tensor& weights,
                               const torch::Tensor& offsets) {
  CheckRows(points, weights, offsets);
  CheckNorm(norm);
  if (!points.is_cpu()) return StepToHyperplaneByTensors(norm, points, weights, offsets);
  const torch::Tensor from = points.contiguous();
  const torch::Tensor normals = weights.contiguous();
  const torch::Tensor levels = PerRow(offsets, points.device());
  torch::Tensor steps = torch::empty(points.sizes(), points.options());
  StepRowsToHyperplane(norm, points.size(0), points.size(1), from.data_ptr<float>(), normals.data_ptr<float>(),
                       levels.data_ptr<double>(), steps.data_ptr<float>());
  return steps;
}

torch::Tensor ProjectToL1BallByTensors(const torch::Tensor& points, const torch::Tensor& centers,
                                       const torch::Tensor& radius) {
  CheckRows(points, centers, radius);
  const torch::Tensor x = points.to(torch::kFloat64);
  const torch::Tensor c = centers.to(torch::kFloat64);
  const torch::Tensor radii = PerRow(radius, points.device()).nan_to_num_().clamp_min_(0);
  const torch::Tensor distance = (x - c).abs_();
  const torch::Tensor room = torch::where(x > c, 1 - c, c);
  torch::Tensor low = torch::zeros_like(radii);
  torch::Tensor high = points.numel() > 0 ? distance.amax(1, /*keepdim=*/true) : low;
  torch::Tensor multiplier = low;
  torch::Tensor found;  // rows whose multiplier stays
  for (int pass = 0; pass < kMostPasses; ++pass) {
    const torch::Tensor left = distance - multiplier;
    const torch::Tensor moving = (left > 0).logical_and_(left < room);
    const torch::Tensor excess = torch::minimum(left, room).clamp_min_(0).sum(1, /*keepdim=*/true) - radii;
    if (pass == 0) found = excess <= 0;
    found = found.logical_or(excess.abs() <= kRadiusTolerance * radii);
    low = torch::where(excess > 0, multiplier, low);
    high = torch::where(found, multiplier, torch::where(excess > 0, high, multiplier));
    const torch::Tensor newton = multiplier + excess / moving.sum(1, /*keepdim=*/true);
    const torch::Tensor inside = (newton > low).logical_and_(newton <= high);
    const torch::Tensor next = torch::where(inside, newton, low + (high - low) / 2);
    found.logical_or_(next <= low);
    if (found.all().item<bool>()) break;
    multiplier = torch::where(found, high, next);
  }
  return torch::where(x > c, torch::maximum(x - high, c).clamp_max_(1), torch::minimum(x + high, c).clamp_min_(0))
      .to(torch::kFloat32);
}

torch::Tensor StepToHyperplaneByTensors(v1::Norm norm, const torch::Tensor& points, const torch::Tensor& weights,
                                        const torch::Tensor& offsets) {
  CheckRows(points, weights, offsets);
  CheckNorm(norm);
  const torch::Tensor x = points.to(torch::kFloat64);
  const torch::Tensor w = weights.nan_to_num(0, 0, 0).to(torch::kFloat64);
  const torch::Tensor difference = PerRow(offsets, points.device()) - (w * x).sum(1, /*keepdim=*/true);
  const torch::Tensor v = torch::where(difference < 0, -w, w);
  const torch::Tensor gap = difference.abs().nan_to_num_(0, /*posinf=*/std::numeric_limits<double>::infinity());
  const torch::Tensor size = w.abs();
  const torch::Tensor room = torch::where(v > 0, 1 - x, x).clamp_min_(0).mul_(size > 0);
  const torch::Tensor gain = size * room;
  torch::Tensor moved;
  if (norm == v1::NORM_L1) {
    // The smallest threshold above which the gains are not more than the gap, bit by bit: floats that are not negative
    // are ordered as their bits. No sort and no running sum, for which CUDA promises no order.
    const torch::Tensor bits = size.to(torch::kFloat32).view(torch::kInt32);
    torch::Tensor threshold = torch::full_like(gap, std::numeric_limits<int32_t>::max(), torch::kInt32);
    for (int32_t bit = 1 << 30; bit > 0; bit >>= 1) {
      const torch::Tensor lower = threshold - bit;
      const torch::Tensor larger = (gain * (bits > lower)).sum(1, /*keepdim=*/true);
      threshold = torch::where(larger <= gap, lower, threshold);
    }
    const torch::Tensor above = bits > threshold;
    const torch::Tensor at = bits == threshold;
    const torch::Tensor rest = gap - (gain * above).sum(1, /*keepdim=*/true);
    const torch::Tensor part = (rest / (gain * at).sum(1, /*keepdim=*/true).clamp_min_(1e-300)).clamp_(0, 1);
    moved = room * above + room * at * part;
  } else {
    const torch::Tensor speed = norm == v1::NORM_L2 ? size : torch::ones_like(size);
    const torch::Tensor rate = size * speed;
    torch::Tensor multiplier = torch::zeros_like(gap);
    while (true) {
      const torch::Tensor moving = multiplier * rate < gain;
      const torch::Tensor next =
          (gap - (gain * moving.logical_not()).sum(1, /*keepdim=*/true)) / (rate * moving).sum(1, /*keepdim=*/true);
      const torch::Tensor risen = torch::where(next > multiplier, next, multiplier);
      if (torch::equal(risen, multiplier)) break;
      multiplier = risen;
    }
    const torch::Tensor wanted = multiplier * speed;
    moved = torch::where(wanted < room, wanted, room);  // the room where wanted is ∞·0
  }
  return torch::where(v > 0, moved, -moved).to(torch::kFloat32);
}

}  // namespace tightrope
