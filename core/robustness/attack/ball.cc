#include "core/robustness/attack/ball.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace tightrope {
namespace {

// Below this a float32 gradient has no direction: one over its norm is not a float32.
constexpr double kSmallestGradientNorm = 1e-35;

// How much inside the l2 ball projections aim, relative to the radius, so that rounding seldom leads out again.
constexpr double kL2Margin = 0x1p-20;

torch::Tensor RowNorms(const torch::Tensor& rows) {
  return rows.flatten(1).norm(2, {1}, /*keepdim=*/false, torch::kFloat64).view({-1, 1, 1, 1});
}

// The largest float32 values that are not above the float64 ones.
torch::Tensor RoundDown(const torch::Tensor& values) {
  const torch::Tensor rounded = values.to(torch::kFloat32);
  const torch::Tensor below = torch::nextafter(rounded, torch::zeros_like(rounded));
  return torch::where(rounded.to(torch::kFloat64) > values, below, rounded);
}

// The end of the box on the side of `direction` (±1): x ± ε in float32, moved towards x where rounding led outside.
torch::Tensor BoxEnd(const torch::Tensor& centers, const torch::Tensor& radius, double direction) {
  const torch::Tensor end = centers + direction * radius;
  const torch::Tensor distance = (end.to(torch::kFloat64) - centers.to(torch::kFloat64)).abs_();
  return torch::where(distance > radius, torch::nextafter(end, centers), end).clamp_(0, 1);
}

}  // namespace

Ball::Ball(v1::Norm norm, torch::Tensor centers, const torch::Tensor& epsilon)
    : norm_(norm),
      centers_(std::move(centers)),
      epsilon_(epsilon.to(torch::kFloat64).to(centers_.device()).view({-1, 1, 1, 1})) {
  TORCH_CHECK(norm == v1::NORM_LINF || norm == v1::NORM_L2, "no ball for norm ", Norm_Name(norm));
  if (norm_ == v1::NORM_LINF) {
    const torch::Tensor radius = RoundDown(epsilon_);
    lower_ = BoxEnd(centers_, radius, -1);
    upper_ = BoxEnd(centers_, radius, +1);
  }
}

torch::Tensor Ball::RandomPoints(const RandomStream& stream, absl::Span<const uint32_t> examples,
                                 uint32_t restart) const {
  torch::Tensor offsets = torch::empty(centers_.sizes(), torch::kFloat32);
  const int64_t elements = examples.empty() ? 0 : offsets.numel() / static_cast<int64_t>(examples.size());
  float* values = offsets.data_ptr<float>();
  for (const uint32_t example : examples) {
    const absl::Span<float> row(values, elements);
    values += elements;
    const RandomStream::At at{.example = example, .restart = restart};
    if (norm_ == v1::NORM_LINF) {
      stream.Uniform(at, row);
      for (float& value : row) value = 2 * value - 1;
    } else {
      stream.Normal(at, row);
      float fraction = 0;
      stream.Uniform({.example = example, .restart = restart, .step = 1}, absl::MakeSpan(&fraction, 1));
      double squares = 0;
      for (const float value : row) squares += double{value} * value;
      const double radius = std::pow(fraction, 1.0 / static_cast<double>(elements));
      const double scale = squares > 0 ? radius / std::sqrt(squares) : 0;
      for (float& value : row) value = static_cast<float>(value * scale);
    }
  }
  torch::Tensor points = offsets.to(centers_.device()).mul_(epsilon_.to(torch::kFloat32)).add_(centers_);
  Project(points);
  return points;
}

void Ball::Ascend(torch::Tensor& points, torch::Tensor gradient, double step_size) const {
  if (norm_ == v1::NORM_LINF) {
    points.add_(gradient.sign_(), step_size);
  } else {
    gradient.nan_to_num_(0, 0, 0);
    const torch::Tensor norms = RowNorms(gradient);
    const torch::Tensor scale =
        torch::where(norms > kSmallestGradientNorm, step_size / norms, torch::zeros_like(norms));
    points.addcmul_(gradient, scale.to(torch::kFloat32));
  }
  Project(points);
}

void Ball::Project(torch::Tensor& points) const {
  if (norm_ == v1::NORM_LINF) {
    points.clamp_(lower_, upper_);
    return;
  }
  points.sub_(centers_);
  const torch::Tensor norms = RowNorms(points).clamp_min_(1e-300);
  const torch::Tensor scale = (epsilon_ * (1 - kL2Margin) / norms).clamp_max_(1);
  points.mul_(scale.to(torch::kFloat32)).add_(centers_).clamp_(0, 1);
}

torch::Tensor Ball::MakeFeasible(torch::Tensor& points) const {
  torch::Tensor moved = torch::zeros({points.size(0)}, points.options().dtype(torch::kBool));
  if (norm_ == v1::NORM_L2) {
    const torch::Tensor centers = centers_.to(torch::kFloat64);
    // Every round takes off at least a millionth of the offset, and more each time, so it ends at the center at the
    // latest.
    for (double margin = kL2Margin;; margin = std::min(1.0, 4 * margin)) {
      const torch::Tensor offsets = points.to(torch::kFloat64) - centers;
      const torch::Tensor norms = RowNorms(offsets);
      const torch::Tensor outside = norms > epsilon_ * (1 - 1e-12);  // in whatever order a reader sums
      if (!outside.any().item<bool>()) break;
      const torch::Tensor scale = epsilon_ / norms.clamp_min(1e-300) * (1 - margin);
      points.copy_(torch::where(outside, (centers + offsets * scale).to(torch::kFloat32), points));
      moved.logical_or_(outside.view({-1}));
    }
  }
  return moved.nonzero().view({-1});
}

Ball Ball::Select(const torch::Tensor& rows) const {
  Ball selected;
  selected.norm_ = norm_;
  selected.centers_ = centers_.index_select(0, rows);
  selected.epsilon_ = epsilon_.index_select(0, rows);
  if (norm_ == v1::NORM_LINF) {
    selected.lower_ = lower_.index_select(0, rows);
    selected.upper_ = upper_.index_select(0, rows);
  }
  return selected;
}

double Distance(v1::Norm norm, absl::Span<const float> from, absl::Span<const float> to) {
  double largest = 0;
  double squares = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    const double difference = std::abs(double{to[i]} - double{from[i]});
    largest = std::max(largest, difference);
    squares += difference * difference;
  }
  return norm == v1::NORM_L2 ? std::sqrt(squares) : largest;
}

}  // namespace tightrope
