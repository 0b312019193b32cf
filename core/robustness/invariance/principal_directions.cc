#include "core/robustness/invariance/principal_directions.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/robustness/invariance/bound_kernels.h"

namespace tightrope {
namespace {

constexpr int64_t kSample = 1024;  // images that the directions are taken from
constexpr int kIterations = 5;
constexpr int64_t kRowsAtOnce = 4;

// Starting values in [-1, 1): a linear congruential sequence (Knuth's MMIX constants).
double NextStart(uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<double>(state >> 32) * 0x1p-31 - 1.0;
}

}  // namespace

PrincipalDirections::PrincipalDirections(const Dataset& images, int64_t count, int64_t coarse)
    : elements_(int64_t{images.channels} * images.height * images.width),
      stride_((elements_ + 7) / 8 * 8),
      count_(count),
      coarse_(coarse),
      mean_(static_cast<size_t>(elements_)),
      directions_(static_cast<size_t>(count * stride_)) {
  const int64_t total = static_cast<int64_t>(images.count), sample = std::min(kSample, total);
  const auto image = [&](int64_t i) { return images.pixels.data() + i * total / sample * elements_; };
  for (int64_t i = 0; i < sample; ++i) {
    for (int64_t e = 0; e < elements_; ++e) mean_[static_cast<size_t>(e)] += image(i)[e];
  }
  for (double& mean : mean_) mean = std::round(mean / static_cast<double>(sample));

  uint64_t state = 1;
  for (int64_t j = 0; j < count_; ++j) {
    for (int64_t e = 0; e < elements_; ++e) directions_[static_cast<size_t>(j * stride_ + e)] = NextStart(state);
  }
  Orthonormalize();
  std::vector<double> rows(static_cast<size_t>(kRowsAtOnce * stride_));
  std::vector<double> coordinates(static_cast<size_t>(kRowsAtOnce * count_));
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    std::vector<double> next(directions_.size());
    for (int64_t begin = 0; begin < sample; begin += kRowsAtOnce) {
      const int64_t n = std::min(kRowsAtOnce, sample - begin);
      for (int64_t r = 0; r < n; ++r) Center(image(begin + r), rows.data() + r * stride_);
      Projections(stride_, rows.data(), count_, directions_.data(), coordinates.data());
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t j = 0; j < count_; ++j) {
          AddScaled(stride_, coordinates[static_cast<size_t>(r * count_ + j)], rows.data() + r * stride_,
                    next.data() + j * stride_);
        }
      }
    }
    directions_ = std::move(next);
    Orthonormalize();
  }
}

void PrincipalDirections::Coordinates(const uint8_t* images, int64_t rows, absl::Span<float> numbers,
                                      absl::Span<double> squared_norms) const {
  std::vector<double> centered(static_cast<size_t>(kRowsAtOnce * stride_));
  std::vector<double> coordinates(static_cast<size_t>(kRowsAtOnce * count_));
  for (int64_t begin = 0; begin < rows; begin += kRowsAtOnce) {
    const int64_t n = std::min(kRowsAtOnce, rows - begin);
    for (int64_t r = 0; r < n; ++r) Center(images + (begin + r) * elements_, centered.data() + r * stride_);
    Projections(stride_, centered.data(), count_, directions_.data(), coordinates.data());
    for (int64_t r = 0; r < n; ++r) {
      double norm = 0, seen = 0;
      for (int64_t e = 0; e < elements_; ++e) norm += centered[r * stride_ + e] * centered[r * stride_ + e];
      float* row = numbers.data() + (begin + r) * dimensions();
      const auto rest = [&] { return static_cast<float>(std::sqrt(std::max(0.0, norm - seen))); };
      for (int64_t j = 0; j < count_; ++j) {
        if (j == coarse_) *row++ = rest();
        const double coordinate = coordinates[static_cast<size_t>(r * count_ + j)];
        seen += coordinate * coordinate;
        *row++ = static_cast<float>(coordinate);
      }
      *row = rest();
      squared_norms[static_cast<size_t>(begin + r)] = norm;
    }
  }
}

void PrincipalDirections::Center(const uint8_t* image, double* row) const {
  for (int64_t e = 0; e < elements_; ++e) row[e] = image[e] - mean_[static_cast<size_t>(e)];
}

void PrincipalDirections::Orthonormalize() {
  const auto dot = [this](const double* a, const double* b) {
    double sum = 0;
    for (int64_t e = 0; e < elements_; ++e) sum += a[e] * b[e];
    return sum;
  };
  for (int64_t j = 0; j < count_; ++j) {
    double* const direction = directions_.data() + j * stride_;
    double length = std::sqrt(dot(direction, direction));
    const double least = length * 1e-9;
    for (int pass = 0; pass < 2; ++pass) {  // twice is enough (Kahan; Parlett 1980, section 6.9)
      for (int64_t i = 0; i < j; ++i) {
        const double* const other = directions_.data() + i * stride_;
        AddScaled(stride_, -dot(direction, other), other, direction);
      }
    }
    length = std::sqrt(dot(direction, direction));
    const double scale = length > least ? 1 / length : 0;  // 0: nothing new in it
    for (int64_t e = 0; e < stride_; ++e) direction[e] *= scale;
  }
}

}  // namespace tightrope
