#include "core/robustness/invariance/spline_transform.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <map>

#include "core/robustness/invariance/pixel_kernels.h"

namespace tightrope {
namespace {

constexpr double kPole = -0.267949192431122706472553658494127633;  // √3 − 2, of the cubic B-spline's inverse filter

// Where a coefficient beyond the ends of an axis stands when they are mirrors.
int64_t Mirrored(int64_t index, int64_t length) {
  if (length == 1) return 0;
  const int64_t period = 2 * length - 2;
  index = ((index % period) + period) % period;
  return index < length ? index : period - index;
}

// Samples to coefficients along one axis, in place: element i of the line is line[i · stride].
void FilterLine(double* line, int64_t length, int64_t stride) {
  if (length == 1) return;
  const auto at = [&](int64_t i) -> double& { return line[i * stride]; };
  constexpr double kGain = (1.0 - kPole) * (1.0 - 1.0 / kPole);
  for (int64_t i = 0; i < length; ++i) at(i) *= kGain;

  // The first value is the sum over the mirrored, endless line: Σ z^i s[i], a geometric series of its period.
  double last_power = 1;
  for (int64_t i = 1; i < length; ++i) last_power *= kPole;
  double first = at(0) + last_power * at(length - 1);
  double power = kPole;
  for (int64_t i = 1; i < length - 1; ++i) {
    first += power * (at(i) + last_power * at(length - 1 - i));
    power *= kPole;
  }
  at(0) = first / (1 - last_power * last_power);
  for (int64_t i = 1; i < length; ++i) at(i) += kPole * at(i - 1);
  at(length - 1) = (kPole * at(length - 2) + at(length - 1)) * kPole / (kPole * kPole - 1);
  for (int64_t i = length - 2; i >= 0; --i) at(i) = kPole * (at(i + 1) - at(i));
}

// The four coefficients that a place on an axis needs, and the B-spline's values there.
SplineTaps TapsAt(double place, int64_t length) {
  SplineTaps taps;
  if (!(place >= 0 && place <= static_cast<double>(length - 1))) return taps;
  taps.inside = true;
  const double whole = std::floor(place);
  for (int64_t tap = 0; tap < 4; ++tap) {
    taps.index[tap] = static_cast<int32_t>(Mirrored(static_cast<int64_t>(whole) - 1 + tap, length));
  }
  const double after = place - whole, before = 1.0 - after;
  taps.weight[1] = (after * after * (after - 2.0) * 3.0 + 4.0) / 6.0;
  taps.weight[2] = (before * before * (before - 2.0) * 3.0 + 4.0) / 6.0;
  taps.weight[0] = before * before * before / 6.0;
  taps.weight[3] = ((1.0 - taps.weight[0]) - taps.weight[1]) - taps.weight[2];
  return taps;
}

std::vector<SplineTaps> ShiftedAxis(int64_t length, double shift) {
  std::vector<SplineTaps> axis;
  for (int64_t i = 0; i < length; ++i) axis.push_back(TapsAt(static_cast<double>(i) - shift, length));
  return axis;
}

template <size_t N>
double Polynomial(double x, const std::array<double, N>& highest_first) {
  double value = highest_first[0];
  for (size_t i = 1; i < N; ++i) value = value * x + highest_first[i];
  return value;
}

std::vector<double> EvenlySpaced(double largest, uint32_t count) {
  if (count == 1) return {0};
  std::vector<double> values;
  const double steps = count - 1;
  for (uint32_t i = 0; i < count; ++i) values.push_back(largest * (2.0 * i - steps) / steps);
  return values;
}

}  // namespace

std::vector<RotationAndShift> MoveGrid(const GridOptions& options) {
  const std::vector<double> shifts = EvenlySpaced(options.max_shift, options.shifts);
  const std::vector<double> rotations = EvenlySpaced(options.max_rotation, options.rotations);
  std::vector<RotationAndShift> grid;
  for (const double down : shifts) {
    for (const double right : shifts) {
      for (const double degrees : rotations) grid.push_back({.down = down, .right = right, .degrees = degrees});
    }
  }
  return grid;
}

std::vector<RotationAndShift> PublishedGrid() { return MoveGrid({}); }

SineAndCosine OfDegrees(double degrees) {
  constexpr double kRadiansPerDegree = 1.74532925199432957692e-2;
  constexpr std::array<double, 6> kSine = {1.58962301572218447952e-10, -2.50507477628503540135e-8,
                                           2.75573136213856773549e-6,  -1.98412698295895384658e-4,
                                           8.33333333332211858862e-3,  -1.66666666666666307295e-1};
  constexpr std::array<double, 7> kCosine = {
      1.13678171382044553091e-11, -2.08758833757683644217e-9, 2.75573155429816611547e-7, -2.48015872936186303776e-5,
      1.38888888888806666760e-3,  -4.16666666666666348141e-2, 4.99999999999999999798e-1};

  const double size = std::abs(degrees);
  double octants = std::floor(size / 45.0);
  if (std::fmod(octants, 2.0) != 0) octants += 1;  // to the nearest multiple of 90
  const double rest = (size - octants * 45.0) * kRadiansPerDegree;
  const double square = rest * rest;
  const double sine = rest + rest * (square * Polynomial(square, kSine));
  const double cosine = 1.0 - square * Polynomial(square, kCosine);
  const double sign = degrees < 0 ? -1.0 : 1.0;
  switch (static_cast<int>(std::fmod(octants, 8.0)) / 2) {
    case 0:
      return {.sine = sign * sine, .cosine = cosine};
    case 1:
      return {.sine = sign * cosine, .cosine = -sine};
    case 2:
      return {.sine = sign * -sine, .cosine = -cosine};
    default:
      return {.sine = sign * -cosine, .cosine = sine};
  }
}

SplineImage::SplineImage(absl::Span<const uint8_t> pixels, int64_t height, int64_t width)
    : height_(height), width_(width), coefficients_(pixels.begin(), pixels.end()) {
  for (int64_t column = 0; column < width; ++column) FilterLine(coefficients_.data() + column, height, width);
  for (int64_t row = 0; row < height; ++row) FilterLine(coefficients_.data() + row * width, width, 1);
}

void SplineImage::Rotate(double degrees, absl::Span<uint8_t> out) const {
  const auto [sine, cosine] = OfDegrees(degrees);
  const double middle_row = static_cast<double>(height_ - 1) / 2, middle_column = static_cast<double>(width_ - 1) / 2;
  const double row_offset = middle_row - (cosine * middle_row + sine * middle_column);
  const double column_offset = middle_column - (-sine * middle_row + cosine * middle_column);
  for (int64_t y = 0; y < height_; ++y) {
    for (int64_t x = 0; x < width_; ++x) {
      const double from_y = static_cast<double>(y), from_x = static_cast<double>(x);
      const SplineTaps rows = TapsAt((from_y * cosine + from_x * sine) + row_offset, height_);
      const SplineTaps columns = TapsAt((from_y * -sine + from_x * cosine) + column_offset, width_);
      double value = 0;
      if (rows.inside && columns.inside) {
        for (int a = 0; a < 4; ++a) {
          const double* row = coefficients_.data() + rows.index[a] * width_;
          for (int b = 0; b < 4; ++b) value += row[columns.index[b]] * rows.weight[a] * columns.weight[b];
        }
      }
      out[static_cast<size_t>(y * width_ + x)] = RoundedPixel(value);
    }
  }
}

void SplineImage::Shift(double down, double right, absl::Span<uint8_t> out) const {
  ShiftSpline(coefficients_, ShiftedAxis(height_, down), ShiftedAxis(width_, right), out);
}

std::vector<uint8_t> RotatedThenShifted(absl::Span<const uint8_t> image, int64_t channels, int64_t height,
                                        int64_t width, const RotationAndShift& move) {
  return TransformedOverGrid(image, channels, height, width, absl::MakeConstSpan(&move, 1));
}

std::vector<uint8_t> TransformedOverGrid(absl::Span<const uint8_t> image, int64_t channels, int64_t height,
                                         int64_t width, absl::Span<const RotationAndShift> grid) {
  const size_t plane = static_cast<size_t>(height * width);
  std::vector<uint8_t> transformed(grid.size() * image.size());
  std::vector<uint8_t> turned(plane);
  for (size_t channel = 0; channel < static_cast<size_t>(channels); ++channel) {
    const SplineImage upright(image.subspan(channel * plane, plane), height, width);
    std::map<double, SplineImage> rotations;
    for (size_t i = 0; i < grid.size(); ++i) {
      auto rotation = rotations.find(grid[i].degrees);
      if (rotation == rotations.end()) {
        upright.Rotate(grid[i].degrees, absl::MakeSpan(turned));
        rotation = rotations.emplace(grid[i].degrees, SplineImage(turned, height, width)).first;
      }
      rotation->second.Shift(grid[i].down, grid[i].right,
                             absl::MakeSpan(transformed).subspan(i * image.size() + channel * plane, plane));
    }
  }
  return transformed;
}

}  // namespace tightrope
