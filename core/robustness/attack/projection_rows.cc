#include "core/robustness/attack/projection_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "core/for_every_cpu.h"

namespace tightrope {
namespace {

// Sums keep one partial sum a lane, so that their order, and thereby every bit, does not depend on what a machine or a
// compiler can vectorize.
constexpr int64_t kLanes = 8;
double Sum(const double (&lanes)[kLanes]) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

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
    const size_t size = point_.size();
    double* __restrict x = point_.data();
    const double* __restrict c = center_.data();
    double* __restrict distance = distance_.data();
    double* __restrict room = room_.data();
    double farthest = 0;
    for (size_t i = 0; i < size; ++i) {
      const double offset = x[i] - c[i];
      distance[i] = std::abs(offset);
      room[i] = offset > 0 ? 1 - c[i] : c[i];
    }
    for (size_t i = 0; i < size; ++i) farthest = farthest < distance[i] ? distance[i] : farthest;
    const double nearer = Multiplier(radius > 0 ? radius : 0, farthest);
    for (size_t i = 0; i < size; ++i) {
      const double down = std::min(std::max(x[i] - nearer, c[i]), 1.0);
      const double up = std::max(std::min(x[i] + nearer, c[i]), 0.0);
      x[i] = x[i] > c[i] ? down : up;
    }
    std::copy_n(point_.data(), elements_, projected);
  }

 private:
  double Multiplier(double radius, double high) const {
    const size_t size = point_.size();
    const double* __restrict distance = distance_.data();
    const double* __restrict room = room_.data();
    double low = 0;
    double multiplier = 0;
    for (int pass = 0; pass < kMostPasses; ++pass) {
      double distances[kLanes] = {}, moving[kLanes] = {};
      for (size_t i = 0; i < size; i += kLanes) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          const double left = distance[i + lane] - multiplier;
          const double clipped = std::min(left, room[i + lane]);
          distances[lane] += clipped > 0 ? clipped : 0.0;
          moving[lane] += (left > 0) & (left < room[i + lane]) ? 1.0 : 0.0;
        }
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
    const size_t size = point_.size();
    const double* __restrict x = point_.data();
    double* __restrict w = weight_.data();
    double product[kLanes] = {};
    for (size_t i = 0; i < size; i += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        const double finite = std::abs(w[i + lane]) <= std::numeric_limits<float>::max() ? w[i + lane] : 0.0;
        product[lane] += finite * x[i + lane];
        w[i + lane] = finite;
      }
    }
    const double gap = offset - Sum(product);
    const double side = gap < 0 ? -1 : 1;
    double* __restrict sizes = size_.data();
    double* __restrict rooms = room_.data();
    double* __restrict gains = gain_.data();
    double* __restrict rates = rate_.data();
    const bool square = norm_ == v1::NORM_L2;
    for (size_t i = 0; i < size; ++i) {
      w[i] *= side;
      const double length = std::abs(w[i]);
      const double ahead = w[i] > 0 ? 1 - x[i] : x[i];
      const double room = (length > 0) & (ahead > 0) ? ahead : 0.0;
      sizes[i] = length;
      rooms[i] = room;
      gains[i] = length * room;
      rates[i] = square ? length * length : length;
    }
    Move(std::isnan(gap) ? 0 : std::abs(gap));
    for (int64_t i = 0; i < elements_; ++i) step[i] = static_cast<float>(w[i] > 0 ? rooms[i] : -rooms[i]);
  }

 private:
  struct Candidate {
    double size;
    double gain;
  };

  // Turns the rooms into how far each element moves.
  void Move(double gap) {
    const auto [threshold, part] = norm_ == v1::NORM_L1 ? Select(gap) : std::pair(Multiplier(gap), 0.0);
    const size_t size = point_.size();
    const double* __restrict sizes = size_.data();
    double* __restrict rooms = room_.data();
    if (norm_ == v1::NORM_L1) {
      for (size_t i = 0; i < size; ++i) {
        const double shared = sizes[i] == threshold ? rooms[i] * part : 0.0;
        rooms[i] = sizes[i] > threshold ? rooms[i] : shared;
      }
      return;
    }
    const bool scaled = norm_ == v1::NORM_L2;
    for (size_t i = 0; i < size; ++i) {
      const double wanted = scaled ? sizes[i] * threshold : threshold;
      rooms[i] = wanted < rooms[i] ? wanted : rooms[i];  // the room where wanted is ∞·0
    }
  }

  // λ of linf and l2: Σ min(λ·rate, gain) = gap. Infinite where the gap is too large. The set of elements that still
  // move only shrinks, so it ends.
  double Multiplier(double gap) const {
    const size_t size = point_.size();
    const double* __restrict rate = rate_.data();
    const double* __restrict gain = gain_.data();
    double multiplier = 0;
    while (true) {
      double rates[kLanes] = {}, gains[kLanes] = {};
      for (size_t i = 0; i < size; i += kLanes) {
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          const double wanted = rate[i + lane] * multiplier;
          const double moving = wanted < gain[i + lane] ? rate[i + lane] : 0.0;
          const double stopped = wanted < gain[i + lane] ? 0.0 : gain[i + lane];
          rates[lane] += moving;
          gains[lane] += stopped;
        }
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
      double larger = 0;
      double equal = 0;
      for (size_t i = 0; i < count; ++i) {
        const Candidate candidate = candidates_[i];
        larger_[larger_count] = candidate;
        smaller_[smaller_count] = candidate;
        larger_count += candidate.size > pivot;
        smaller_count += candidate.size < pivot;
        larger += candidate.size > pivot ? candidate.gain : 0.0;
        equal += candidate.size == pivot ? candidate.gain : 0.0;
      }
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

TIGHTROPE_FLAT_FOR_EVERY_CPU
void ProjectRowsToL1Ball(int64_t rows, int64_t elements, const float* points, const float* centers, const double* radii,
                         float* projected) {
  L1BallRow row(elements);
  for (int64_t i = 0; i < rows; ++i) {
    row.Project(points + i * elements, centers + i * elements, radii[i], projected + i * elements);
  }
}

TIGHTROPE_FLAT_FOR_EVERY_CPU
void StepRowsToHyperplane(v1::Norm norm, int64_t rows, int64_t elements, const float* points, const float* weights,
                          const double* offsets, float* steps) {
  HyperplaneRow row(norm, elements);
  for (int64_t i = 0; i < rows; ++i) {
    row.Step(points + i * elements, weights + i * elements, offsets[i], steps + i * elements);
  }
}

}  // namespace tightrope
