#include "core/robustness/attack/ball.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "core/robustness/attack/projection.h"
#include "core/robustness/attack/row_kernels.h"

namespace tightrope {
namespace {

// Below this a float32 gradient has no direction: one over its norm is not a float32.
constexpr double kSmallestGradientNorm = 1e-35;

// How much inside the l2 and l1 balls projections aim, relative to the radius, so that rounding seldom leads out again.
constexpr double kMargin = 0x1p-20;

// Of the l1 direction.
constexpr double kSteepestShare = 0.05;

torch::Tensor RowNorms(const torch::Tensor& rows, double p = 2) {
  return rows.flatten(1).norm(p, {1}, /*keepdim=*/false, torch::kFloat64).view({-1, 1, 1, 1});
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

// Offsets of the centers' shape on the CPU; row i is filled by `draw` at (examples[i], restarts[i]).
torch::Tensor RowDraws(const torch::Tensor& centers, absl::Span<const uint32_t> examples,
                       absl::Span<const uint32_t> restarts,
                       const std::function<void(RandomStream::At, absl::Span<float>)>& draw) {
  torch::Tensor offsets = torch::empty(centers.sizes(), torch::kFloat32);
  const size_t elements = examples.empty() ? 0 : static_cast<size_t>(offsets.numel()) / examples.size();
  float* values = offsets.data_ptr<float>();
  for (size_t i = 0; i < examples.size(); ++i, values += elements) {
    draw({.example = examples[i], .restart = restarts[i]}, absl::MakeSpan(values, elements));
  }
  return offsets;
}

// N×C×H×W bool: of each row its ⌊count⌋ largest elements, the first of several alike.
torch::Tensor LargestElements(const torch::Tensor& sizes, const torch::Tensor& count) {
  const torch::Tensor order = std::get<1>(sizes.flatten(1).sort(/*stable=*/true, /*dim=*/1, /*descending=*/true));
  const torch::Tensor places = torch::arange(order.size(1), order.options()).expand_as(order);
  const torch::Tensor taken = places < count.floor().view({-1, 1});
  return torch::zeros_like(taken).scatter_(1, order, taken).view(sizes.sizes());
}

}  // namespace

Ball::Ball(v1::Norm norm, const torch::Tensor& centers, const torch::Tensor& epsilon)
    : norm_(norm),
      centers_(centers.contiguous()),
      epsilon_(epsilon.to(torch::kFloat64).to(centers_.device()).view({-1, 1, 1, 1})) {
  TORCH_CHECK(norm != v1::NORM_UNSPECIFIED, "no ball without a norm");
  if (norm_ == v1::NORM_LINF) {
    const torch::Tensor radius = RoundDown(epsilon_);
    lower_ = BoxEnd(centers_, radius, -1);
    upper_ = BoxEnd(centers_, radius, +1);
  }
}

torch::Tensor Ball::RandomPoints(const RandomStream& stream, absl::Span<const uint32_t> examples,
                                 absl::Span<const uint32_t> restarts) const {
  TORCH_CHECK(norm_ != v1::NORM_SPATIAL, "no random points of a spatial ball");
  if (norm_ == v1::NORM_L0) {
    const torch::Tensor values =
        RowDraws(centers_, examples, restarts, [&](RandomStream::At at, absl::Span<float> row) {
          stream.Uniform({.example = at.example, .restart = at.restart, .step = 1}, row);
        });
    return WithRandomElements(stream, examples, restarts, values.to(centers_.device()));
  }
  torch::Tensor offsets = RowDraws(centers_, examples, restarts, [&](RandomStream::At at, absl::Span<float> row) {
    if (norm_ == v1::NORM_LINF) {
      stream.Uniform(at, row);
      for (float& value : row) value = 2 * value - 1;
      return;
    }
    float fraction = 0;
    stream.Uniform({.example = at.example, .restart = at.restart, .step = 1}, absl::MakeSpan(&fraction, 1));
    const double radius = std::pow(fraction, 1.0 / static_cast<double>(row.size()));
    double norm = 0;
    if (norm_ == v1::NORM_L2) {
      stream.Normal(at, row);
      for (const float value : row) norm += double{value} * value;
      norm = std::sqrt(norm);
    } else {
      stream.Uniform(at, row);
      for (float& value : row) {  // the sign, and −log of what is left of the draw: double-sided exponential
        const double centered = 2 * double{value} - 1;
        const double size = -std::log(std::max(1 - std::abs(centered), 0x1p-25));
        value = static_cast<float>(std::copysign(size, centered));
        norm += size;
      }
    }
    const double scale = norm > 0 ? radius / norm : 0;
    for (float& value : row) value = static_cast<float>(value * scale);
  });
  torch::Tensor points = offsets.to(centers_.device()).mul_(epsilon_.to(torch::kFloat32)).add_(centers_);
  Project(points);
  return points;
}

torch::Tensor Ball::WithRandomElements(const RandomStream& stream, absl::Span<const uint32_t> examples,
                                       absl::Span<const uint32_t> restarts, const torch::Tensor& values) const {
  const torch::Tensor order = RowDraws(centers_, examples, restarts,
                                       [&](RandomStream::At at, absl::Span<float> row) { stream.Uniform(at, row); });
  return torch::where(LargestElements(order.to(centers_.device()), epsilon_), values, centers_);
}

torch::Tensor Ball::SurfacePoints(const RandomStream& stream, absl::Span<const uint32_t> examples,
                                  absl::Span<const uint32_t> restarts) const {
  torch::Tensor offsets = RowDraws(centers_, examples, restarts, [&](RandomStream::At at, absl::Span<float> row) {
    if (norm_ == v1::NORM_LINF) {
      stream.Uniform(at, row);
      for (float& value : row) value = 2 * value - 1;
    } else {
      stream.Normal(at, row);
    }
  });
  offsets = offsets.to(centers_.device());
  if (norm_ != v1::NORM_L1) {
    const torch::Tensor norms =
        RowNorms(offsets, norm_ == v1::NORM_L2 ? 2 : std::numeric_limits<double>::infinity()).clamp_min_(1e-12);
    offsets.mul_((epsilon_ / norms).to(torch::kFloat32));
  }
  torch::Tensor points = offsets.add_(centers_);
  Project(points);
  return points;
}

void Ball::Ascend(torch::Tensor& points, torch::Tensor gradient, const torch::Tensor& step) const {
  points.addcmul_(Direction(std::move(gradient)), step);
  Project(points);
}

torch::Tensor Ball::AscendWithMomentum(const torch::Tensor& points, const torch::Tensor& before,
                                       const torch::Tensor& gradient, const torch::Tensor& step, double a) const {
  if (norm_ == v1::NORM_LINF && points.is_cpu()) return LinfMomentumStep(points, before, gradient, step, a);
  torch::Tensor next = points.clone();
  Ascend(next, gradient.clone(), step);
  next = points + (next - points) * a + (points - before) * (1 - a);
  Project(next);
  return next;
}

// The same in one pass over the memory instead of twelve.
torch::Tensor Ball::LinfMomentumStep(const torch::Tensor& points, const torch::Tensor& before,
                                     const torch::Tensor& gradient, const torch::Tensor& step, double a) const {
  torch::Tensor next = torch::empty_like(points, torch::MemoryFormat::Contiguous);
  const torch::Tensor from = points.contiguous(), old = before.contiguous(), slope = gradient.contiguous();
  const int64_t rows = points.size(0), elements = rows == 0 ? 0 : points.numel() / rows;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t at = row * elements;
    LinfMomentumRow(elements, from.data_ptr<float>() + at, old.data_ptr<float>() + at, slope.data_ptr<float>() + at,
                    lower_.data_ptr<float>() + at, upper_.data_ptr<float>() + at, step.data_ptr<float>()[row],
                    static_cast<float>(a), next.data_ptr<float>() + at);
  }
  return next;
}

torch::Tensor Ball::Direction(torch::Tensor gradient) const {
  TORCH_CHECK(norm_ == v1::NORM_LINF || norm_ == v1::NORM_L2 || norm_ == v1::NORM_L1, "no steepest direction in ",
              Norm_Name(norm_));
  if (norm_ == v1::NORM_LINF) return gradient.sign_();
  if (norm_ == v1::NORM_L1) {
    return SparseSigns(std::move(gradient), torch::full({gradient.size(0)}, kSteepestShare, gradient.options()));
  }
  gradient.nan_to_num_(0, 0, 0);
  const torch::Tensor norms = RowNorms(gradient);
  const torch::Tensor scale = torch::where(norms > kSmallestGradientNorm, 1 / norms, torch::zeros_like(norms));
  return gradient.mul_(scale.to(torch::kFloat32));
}

void Ball::Project(torch::Tensor& points) const {
  if (norm_ == v1::NORM_LINF) {
    points.clamp_(lower_, upper_);
    return;
  }
  if (norm_ == v1::NORM_SPATIAL) {
    points.clamp_(0, 1);
    return;
  }
  if (norm_ == v1::NORM_L0) {
    const torch::Tensor clipped = points.clamp(0, 1);
    points.copy_(torch::where(LargestElements((clipped - centers_).abs(), epsilon_), clipped, centers_));
    return;
  }
  if (norm_ == v1::NORM_L1) {
    points = ProjectToL1Ball(points.flatten(1), centers_.flatten(1), epsilon_.view({-1}) * (1 - kMargin))
                 .view(points.sizes());
    return;
  }
  points.sub_(centers_);
  const torch::Tensor norms = RowNorms(points).clamp_min_(1e-300);
  const torch::Tensor scale = (epsilon_ * (1 - kMargin) / norms).clamp_max_(1);
  points.mul_(scale.to(torch::kFloat32)).add_(centers_).clamp_(0, 1);
}

torch::Tensor Ball::MakeFeasible(torch::Tensor& points) const {
  torch::Tensor moved = torch::zeros({points.size(0)}, points.options().dtype(torch::kBool));
  if (norm_ == v1::NORM_L2 || norm_ == v1::NORM_L1) {
    const torch::Tensor centers = centers_.to(torch::kFloat64);
    // Every round takes off at least a millionth of the offset, and more each time, so it ends at the center at the
    // latest.
    for (double margin = kMargin;; margin = std::min(1.0, 4 * margin)) {
      const torch::Tensor offsets = points.to(torch::kFloat64) - centers;
      const torch::Tensor norms = RowNorms(offsets, norm_ == v1::NORM_L2 ? 2 : 1);
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

void CopyRows(const torch::Tensor& rows, const torch::Tensor& from, torch::Tensor& into) {
  if (!into.is_cpu() || !into.is_contiguous()) {
    std::vector<int64_t> shape(into.dim(), 1);
    shape[0] = -1;
    into = torch::where(rows.view(shape), from, into);
    return;
  }
  const torch::Tensor source = from.contiguous();
  const int64_t count = rows.numel(), elements = count == 0 ? 0 : into.numel() / count;
  for (int64_t row = 0; row < count; ++row) {
    if (!rows.data_ptr<bool>()[row]) continue;
    const float* values = source.data_ptr<float>() + row * elements;
    std::copy(values, values + elements, into.data_ptr<float>() + row * elements);
  }
}

torch::Tensor SparseSigns(torch::Tensor gradient, const torch::Tensor& share) {
  gradient.nan_to_num_(0, 0, 0);
  const torch::Tensor sizes = gradient.flatten(1).abs();
  const int64_t elements = sizes.size(1);
  // The smallest of the elements that count.
  const torch::Tensor rank =
      (share * static_cast<double>(elements)).ceil().to(torch::kInt64).clamp_(1, elements).sub_(1).view({-1, 1});
  const torch::Tensor threshold = std::get<0>(sizes.sort(1, /*descending=*/true)).gather(1, rank);
  const torch::Tensor counts = (sizes >= threshold).logical_and_(sizes > 0);
  const torch::Tensor number = counts.sum(1, /*keepdim=*/true).clamp_min_(1);
  return gradient.sign_().mul_((counts / number).view(gradient.sizes()));
}

torch::Tensor Distances(const torch::Tensor& from, const torch::Tensor& to) {
  if (!from.is_cpu()) {
    const torch::Tensor offsets = (to.to(torch::kFloat64) - from.to(torch::kFloat64)).flatten(1).abs_();
    return torch::stack(
        {offsets.amax(1), offsets.square().sum(1).sqrt_(), offsets.sum(1), (offsets > 0).sum(1).to(torch::kFloat64)},
        1);
  }
  const torch::Tensor a = from.contiguous(), b = to.contiguous();
  const int64_t elements = a.size(0) == 0 ? 0 : a.numel() / a.size(0);
  torch::Tensor distances = torch::empty({a.size(0), 4}, torch::kFloat64);
  for (int64_t row = 0; row < a.size(0); ++row) {
    DistancesRow(elements, a.data_ptr<float>() + row * elements, b.data_ptr<float>() + row * elements,
                 distances.data_ptr<double>() + 4 * row);
  }
  return distances;
}

int64_t DistanceColumn(v1::Norm norm) {
  switch (norm) {
    case v1::NORM_L2:
      return 1;
    case v1::NORM_L1:
      return 2;
    case v1::NORM_L0:
      return 3;
    default:
      return 0;
  }
}

torch::Tensor RowLengths(v1::Norm norm, const torch::Tensor& rows) {
  const torch::Tensor flat = rows.flatten(1).contiguous();
  if (!flat.is_cpu()) {
    if (norm == v1::NORM_L2) return flat.square().sum(1).sqrt();
    return norm == v1::NORM_L1 ? flat.abs().sum(1) : flat.abs().amax(1);
  }
  torch::Tensor lengths = torch::empty({flat.size(0)}, torch::kFloat32);
  for (int64_t row = 0; row < flat.size(0); ++row) {
    double sizes[3];  // in the order of DistanceColumn
    SizesRow(flat.size(1), flat.data_ptr<float>() + row * flat.size(1), sizes);
    lengths.data_ptr<float>()[row] = static_cast<float>(sizes[DistanceColumn(norm)]);
  }
  return lengths;
}

v1::Norm DualOf(v1::Norm norm) {
  if (norm == v1::NORM_LINF) return v1::NORM_L1;
  return norm == v1::NORM_L1 ? v1::NORM_LINF : v1::NORM_L2;
}

}  // namespace tightrope
