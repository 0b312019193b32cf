#include "core/robustness/attack/projection.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace tightrope {
namespace {

// The l1 ball's multiplier is found when the distance is the radius to this, relative. Newton's method takes 5 to 10
// passes; the limit stands for radii so small that double cannot tell them from 0.
constexpr double kRadiusTolerance = 1e-12;
constexpr int kMostPasses = 100;

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

// GCC's and Clang's portable vector, of the size that every x86-64 and AArch64 has. Sums keep one partial sum a lane,
// so that their order, and thereby every bit, does not depend on what a compiler can vectorize.
using Lanes = double __attribute__((vector_size(16)));
constexpr int64_t kLanes = 2;

Lanes Load(const double* from) {
  Lanes lanes;
  std::memcpy(&lanes, from, sizeof(lanes));
  return lanes;
}

void Store(Lanes lanes, double* to) { std::memcpy(to, &lanes, sizeof(lanes)); }

Lanes All(double value) { return Lanes{value, value}; }
Lanes Min(Lanes a, Lanes b) { return a < b ? a : b; }
Lanes Max(Lanes a, Lanes b) { return a > b ? a : b; }
Lanes Absolute(Lanes a) { return a < 0 ? -a : a; }
double Sum(Lanes lanes) { return lanes[0] + lanes[1]; }

// One row's elements in double, padded with zeros to whole lanes: zeros have no weight and no distance, and stay.
using Row = std::vector<double>;

Row EmptyRow(int64_t elements) { return Row((elements + kLanes - 1) / kLanes * kLanes); }

class L1BallRow {
 public:
  explicit L1BallRow(int64_t elements)
      : point_(EmptyRow(elements)), center_(point_), distance_(point_), room_(point_), elements_(elements) {}

  void Project(const float* point, const float* center, double radius, float* projected) {
    std::copy_n(point, elements_, point_.data());
    std::copy_n(center, elements_, center_.data());
    Lanes farthest{};
    for (size_t i = 0; i < point_.size(); i += kLanes) {
      const Lanes c = Load(&center_[i]);
      const Lanes offset = Load(&point_[i]) - c;
      const Lanes distance = Absolute(offset);
      farthest = Max(farthest, distance);
      Store(distance, &distance_[i]);
      Store(offset > 0 ? 1 - c : c, &room_[i]);
    }
    const Lanes nearer = All(Multiplier(radius > 0 ? radius : 0, std::max(farthest[0], farthest[1])));
    for (size_t i = 0; i < point_.size(); i += kLanes) {
      const Lanes x = Load(&point_[i]);
      const Lanes c = Load(&center_[i]);
      const Lanes zero{};
      Store(x > c ? Min(Max(x - nearer, c), All(1)) : Max(Min(x + nearer, c), zero), &point_[i]);
    }
    std::copy_n(point_.data(), elements_, projected);
  }

 private:
  double Multiplier(double radius, double high) const {
    double low = 0;
    double multiplier = 0;
    for (int pass = 0; pass < kMostPasses; ++pass) {
      Lanes distances{};
      Lanes moving{};
      for (size_t i = 0; i < point_.size(); i += kLanes) {
        const Lanes room = Load(&room_[i]);
        const Lanes distance = Load(&distance_[i]) - multiplier;
        const Lanes zero{};
        distances += Max(Min(distance, room), zero);
        moving += (distance > 0) & (distance < room) ? All(1) : zero;
      }
      const double excess = Sum(distances) - radius;
      if (pass == 0 && excess <= 0) return 0;
      if (std::abs(excess) <= kRadiusTolerance * radius) return multiplier;
      (excess > 0 ? low : high) = multiplier;
      multiplier += excess / Sum(moving);
      if (!(multiplier > low && multiplier <= high)) multiplier = low + (high - low) / 2;
      if (!(multiplier > low)) break;
    }
    return high;
  }

  Row point_, center_;
  Row distance_;  // |x - c|
  Row room_;
  int64_t elements_;
};

class HyperplaneRow {
 public:
  HyperplaneRow(v1::Norm norm, int64_t elements)
      : norm_(norm),
        point_(EmptyRow(elements)),
        weight_(point_),
        size_(point_),
        room_(point_),
        gain_(point_),
        rate_(point_),
        elements_(elements) {}

  void Step(const float* point, const float* weight, double offset, float* step) {
    std::copy_n(point, elements_, point_.data());
    std::copy_n(weight, elements_, weight_.data());
    Lanes product{};
    for (size_t i = 0; i < point_.size(); i += kLanes) {
      const Lanes w = Load(&weight_[i]);
      const Lanes zero{};
      const Lanes finite = Absolute(w) <= std::numeric_limits<float>::max() ? w : zero;
      product += finite * Load(&point_[i]);
      Store(finite, &weight_[i]);
    }
    const double gap = offset - Sum(product);
    const Lanes side = All(gap < 0 ? -1 : 1);
    for (size_t i = 0; i < point_.size(); i += kLanes) {
      const Lanes x = Load(&point_[i]);
      const Lanes v = Load(&weight_[i]) * side;
      const Lanes size = Absolute(v);
      const Lanes zero{};
      const Lanes room = size > 0 ? Max(v > 0 ? 1 - x : x, zero) : zero;
      Store(v, &weight_[i]);
      Store(size, &size_[i]);
      Store(room, &room_[i]);
      Store(size * room, &gain_[i]);
      Store(norm_ == v1::NORM_L2 ? size * size : size, &rate_[i]);
    }
    Move(std::isnan(gap) ? 0 : std::abs(gap));
    for (size_t i = 0; i < point_.size(); i += kLanes) {
      const Lanes moved = Load(&room_[i]);
      Store(Load(&weight_[i]) > 0 ? moved : -moved, &room_[i]);
    }
    std::copy_n(room_.data(), elements_, step);
  }

 private:
  struct Candidate {
    double size;
    double gain;
  };

  // Turns the rooms into how far each element moves.
  void Move(double gap) {
    const auto [threshold, part] = norm_ == v1::NORM_L1 ? Select(gap) : std::pair(Multiplier(gap), 0.0);
    for (size_t i = 0; i < point_.size(); i += kLanes) {
      const Lanes size = Load(&size_[i]);
      const Lanes room = Load(&room_[i]);
      const Lanes zero{};
      if (norm_ == v1::NORM_L1) {
        Store(size > threshold ? room : (size == threshold ? room * part : zero), &room_[i]);
      } else {
        const Lanes wanted = norm_ == v1::NORM_L2 ? size * threshold : All(threshold);
        Store(wanted < room ? wanted : room, &room_[i]);  // the room where wanted is ∞·0
      }
    }
  }

  // λ of linf and l2: Σ min(λ·rate, gain) = gap. Infinite where the gap is too large. The set of elements that still
  // move only shrinks, so it ends.
  double Multiplier(double gap) const {
    double multiplier = 0;
    while (true) {
      Lanes rates{};
      Lanes gains{};
      for (size_t i = 0; i < point_.size(); i += kLanes) {
        const Lanes rate = Load(&rate_[i]);
        const Lanes gain = Load(&gain_[i]);
        const Lanes zero{};
        const auto moving = rate * multiplier < gain;
        rates += moving ? rate : zero;
        gains += moving ? zero : gain;
      }
      const double next = (gap - Sum(gains)) / Sum(rates);
      if (!(next > multiplier)) return multiplier;
      multiplier = next;
    }
  }

  // The threshold of l1, and the part of their room that elements at the threshold move: quickselect by size, where
  // ranks are sums of gains.
  std::pair<double, double> Select(double gap) {
    candidates_.resize(point_.size());
    larger_.resize(point_.size());
    smaller_.resize(point_.size());
    size_t count = 0;
    for (size_t i = 0; i < point_.size(); ++i) {
      candidates_[count] = {size_[i], gain_[i]};
      count += gain_[i] > 0;
    }
    while (count > 0) {
      const double first = candidates_[0].size;
      const double middle = candidates_[count / 2].size;
      const double last = candidates_[count - 1].size;
      const double pivot = std::max(std::min(first, middle), std::min(std::max(first, middle), last));
      size_t larger_count = 0;
      size_t smaller_count = 0;
      Lanes larger_gains{};  // all lanes the same: like this no branch is compiled, which could not be predicted
      Lanes equal_gains{};
      for (size_t i = 0; i < count; ++i) {
        const Candidate candidate = candidates_[i];
        larger_[larger_count] = candidate;
        smaller_[smaller_count] = candidate;
        larger_count += candidate.size > pivot;
        smaller_count += candidate.size < pivot;
        const Lanes size = All(candidate.size);
        const Lanes zero{};
        larger_gains += size > pivot ? All(candidate.gain) : zero;
        equal_gains += size == pivot ? All(candidate.gain) : zero;
      }
      const double larger = larger_gains[0];
      const double equal = equal_gains[0];
      if (larger > gap) {
        std::swap(candidates_, larger_);
        count = larger_count;
      } else if (larger + equal >= gap) {
        return {pivot, (gap - larger) / equal};
      } else {
        gap -= larger + equal;
        std::swap(candidates_, smaller_);
        count = smaller_count;
      }
    }
    return {0, 0};
  }

  v1::Norm norm_;
  Row point_;
  Row weight_;  // v
  Row size_;    // |w|
  Row room_;
  Row gain_;  // by how much w·x can change
  Row rate_;  // by how much it changes for each unit of λ, for linf and l2
  std::vector<Candidate> candidates_, larger_, smaller_;
  int64_t elements_;
};

}  // namespace

torch::Tensor ProjectToL1Ball(const torch::Tensor& points, const torch::Tensor& centers, const torch::Tensor& radius) {
  CheckRows(points, centers, radius);
  if (!points.is_cpu()) return ProjectToL1BallByTensors(points, centers, radius);
  const torch::Tensor from = points.contiguous();
  const torch::Tensor to = centers.contiguous();
  const torch::Tensor radii = PerRow(radius, points.device());
  torch::Tensor projected = torch::empty(points.sizes(), points.options());
  const int64_t elements = points.size(1);
  L1BallRow row(elements);
  for (int64_t i = 0; i < points.size(0); ++i) {
    row.Project(from.data_ptr<float>() + i * elements, to.data_ptr<float>() + i * elements, radii.data_ptr<double>()[i],
                projected.data_ptr<float>() + i * elements);
  }
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
  const int64_t elements = points.size(1);
  HyperplaneRow row(norm, elements);
  for (int64_t i = 0; i < points.size(0); ++i) {
    row.Step(from.data_ptr<float>() + i * elements, normals.data_ptr<float>() + i * elements,
             levels.data_ptr<double>()[i], steps.data_ptr<float>() + i * elements);
  }
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
