#include "core/robustness/attack/row_kernels.h"

#include <algorithm>
#include <cmath>

#include "core/for_every_cpu.h"

namespace tightrope {
namespace {

constexpr int64_t kLanes = 16;  // independent sums, added up in this order on every machine

}  // namespace

TIGHTROPE_FOR_EVERY_CPU
void LinfMomentumRow(int64_t elements, const float* __restrict x, const float* __restrict before,
                     const float* __restrict gradient, const float* __restrict low, const float* __restrict high,
                     float step, float a, float* __restrict next) {
  const float kept = 1 - a;
  for (int64_t i = 0; i < elements; ++i) {
    const float sign = (gradient[i] > 0 ? 1.0f : 0.0f) - (gradient[i] < 0 ? 1.0f : 0.0f);
    const float z = std::min(std::max(x[i] + step * sign, low[i]), high[i]);
    next[i] = std::min(std::max(x[i] + a * (z - x[i]) + kept * (x[i] - before[i]), low[i]), high[i]);
  }
}

TIGHTROPE_FOR_EVERY_CPU
void DistancesRow(int64_t elements, const float* __restrict from, const float* __restrict to,
                  double* __restrict distances) {
  double largest[kLanes] = {}, squares[kLanes] = {}, sum[kLanes] = {}, changed[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= elements; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double offset = std::abs(static_cast<double>(to[i + lane]) - static_cast<double>(from[i + lane]));
      largest[lane] = largest[lane] < offset ? offset : largest[lane];
      squares[lane] += offset * offset;
      sum[lane] += offset;
      changed[lane] += offset > 0 ? 1.0 : 0.0;
    }
  }
  for (; i < elements; ++i) {
    const double offset = std::abs(static_cast<double>(to[i]) - static_cast<double>(from[i]));
    largest[0] = largest[0] < offset ? offset : largest[0];
    squares[0] += offset * offset;
    sum[0] += offset;
    changed[0] += offset > 0 ? 1.0 : 0.0;
  }
  for (int64_t lane = 1; lane < kLanes; ++lane) {
    largest[0] = largest[0] < largest[lane] ? largest[lane] : largest[0];
    squares[0] += squares[lane];
    sum[0] += sum[lane];
    changed[0] += changed[lane];
  }
  distances[0] = largest[0];
  distances[1] = std::sqrt(squares[0]);
  distances[2] = sum[0];
  distances[3] = changed[0];
}

TIGHTROPE_FOR_EVERY_CPU
float SumOfSizes(int64_t elements, const float* __restrict values) {
  float sum[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= elements; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) sum[lane] += std::abs(values[i + lane]);
  }
  for (; i < elements; ++i) sum[0] += std::abs(values[i]);
  for (int64_t lane = 1; lane < kLanes; ++lane) sum[0] += sum[lane];
  return sum[0];
}

TIGHTROPE_FOR_EVERY_CPU
double DotRow(int64_t elements, const float* __restrict a, const float* __restrict b) {
  double sum[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= elements; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      sum[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
    }
  }
  for (; i < elements; ++i) sum[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  for (int64_t lane = 1; lane < kLanes; ++lane) sum[0] += sum[lane];
  return sum[0];
}

TIGHTROPE_FOR_EVERY_CPU
void SizesRow(int64_t elements, const float* __restrict values, double* __restrict sizes) {
  float largest[kLanes] = {};
  double squares[kLanes] = {}, sum[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= elements; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float size = std::abs(values[i + lane]);
      largest[lane] = largest[lane] < size ? size : largest[lane];
      squares[lane] += static_cast<double>(size) * static_cast<double>(size);
      sum[lane] += static_cast<double>(size);
    }
  }
  for (; i < elements; ++i) {
    const float size = std::abs(values[i]);
    largest[0] = largest[0] < size ? size : largest[0];
    squares[0] += static_cast<double>(size) * static_cast<double>(size);
    sum[0] += static_cast<double>(size);
  }
  for (int64_t lane = 1; lane < kLanes; ++lane) {
    largest[0] = largest[0] < largest[lane] ? largest[lane] : largest[0];
    squares[0] += squares[lane];
    sum[0] += sum[lane];
  }
  sizes[0] = largest[0];
  sizes[1] = std::sqrt(squares[0]);
  sizes[2] = sum[0];
}

TIGHTROPE_FOR_EVERY_CPU
void BetweenRow(int64_t elements, const float* __restrict x, const float* __restrict from_x, const float* __restrict c,
                const float* __restrict from_c, float eta, float share, float* __restrict between) {
  const float rest = 1 - share;
  for (int64_t i = 0; i < elements; ++i) {
    const float value = (x[i] + eta * from_x[i]) * rest + (c[i] + eta * from_c[i]) * share;
    between[i] = std::min(std::max(value, 0.0f), 1.0f);
  }
}

}  // namespace tightrope
