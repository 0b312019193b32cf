#include "core/robustness/invariance/affine_map.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "core/robustness/invariance/spline_transform.h"

namespace tightrope {

AffineDraw DrawAffine(const RandomStream& stream, uint32_t index, const AffineRanges& ranges) {
  std::array<float, 9> uniform;  // in the order of the source, which draws a second darkening and does not use it
  stream.Uniform({.step = index}, absl::MakeSpan(uniform));
  const auto within = [&](size_t i, double low, double high) { return low + (high - low) * double{uniform[i]}; };
  return {.degrees = within(0, -ranges.degrees, ranges.degrees),
          .scale_x = within(1, 1 - ranges.scale, 1 + ranges.scale),
          .scale_y = within(2, 1 - ranges.scale, 1 + ranges.scale),
          .shear_x = within(3, -ranges.shear, ranges.shear),
          .shear_y = within(4, -ranges.shear, ranges.shear),
          .shift_x = within(5, -ranges.shift, ranges.shift),
          .shift_y = within(6, -ranges.shift, ranges.shift),
          .darkening = within(8, ranges.least_darkening, ranges.most_darkening)};
}

AffineMap AffineMap::Inverse() const {
  const double determinant = xx * yy - xy * yx;
  AffineMap inverse = {
      .xx = yy / determinant, .xy = -xy / determinant, .yx = -yx / determinant, .yy = xx / determinant};
  inverse.x0 = -(inverse.xx * x0 + inverse.xy * y0);
  inverse.y0 = -(inverse.yx * x0 + inverse.yy * y0);
  return inverse;
}

AffineMap MapOf(const AffineDraw& draw, int64_t height, int64_t width, bool published_form) {
  const auto [sine, cosine] = OfDegrees(draw.degrees);
  const double down_left = published_form ? sine : -sine;
  // Shear · scale, then the rotation on its right.
  const double a = draw.scale_x, b = draw.shear_x * draw.scale_y, c = draw.shear_y * draw.scale_x, d = draw.scale_y;
  AffineMap map = {.xx = a * cosine + b * down_left,
                   .xy = a * sine + b * cosine,
                   .x0 = a * draw.shift_x + b * draw.shift_y,
                   .yx = c * cosine + d * down_left,
                   .yy = c * sine + d * cosine,
                   .y0 = c * draw.shift_x + d * draw.shift_y};
  if (!published_form) {
    const double x = static_cast<double>(width - 1) / 2, y = static_cast<double>(height - 1) / 2;
    map.x0 += x - (map.xx * x + map.xy * y);
    map.y0 += y - (map.yx * x + map.yy * y);
  }
  return map;
}

std::vector<BilinearTaps> BilinearTapsOf(const AffineMap& map, int64_t height, int64_t width) {
  std::vector<BilinearTaps> all(static_cast<size_t>(height * width));
  for (int64_t row = 0; row < height; ++row) {
    for (int64_t column = 0; column < width; ++column) {
      const double x = map.xx * static_cast<double>(column) + map.xy * static_cast<double>(row) + map.x0;
      const double y = map.yx * static_cast<double>(column) + map.yy * static_cast<double>(row) + map.y0;
      // Written so that what is not a number is outside, too.
      if (!(x > -1 && y > -1 && x < static_cast<double>(width) && y < static_cast<double>(height))) continue;
      BilinearTaps& taps = all[static_cast<size_t>(row * width + column)];
      const double left = std::floor(x), top = std::floor(y);
      for (size_t i = 0; i < 4; ++i) {
        const int64_t u = static_cast<int64_t>(left) + static_cast<int64_t>(i % 2);
        const int64_t v = static_cast<int64_t>(top) + static_cast<int64_t>(i / 2);
        if (u < 0 || v < 0 || u >= width || v >= height) continue;
        taps.pixel[i] = static_cast<int32_t>(v * width + u);
        taps.weight[i] = (i % 2 == 0 ? 1 - (x - left) : x - left) * (i / 2 == 0 ? 1 - (y - top) : y - top);
      }
    }
  }
  return all;
}

std::vector<float> Interpolated(absl::Span<const BilinearTaps> taps, absl::Span<const float> image) {
  std::vector<float> out;
  out.reserve(taps.size());
  for (const BilinearTaps& tap : taps) {
    double value = 0;
    for (size_t i = 0; i < 4; ++i) value += tap.weight[i] * double{image[static_cast<size_t>(tap.pixel[i])]};
    out.push_back(static_cast<float>(value));
  }
  return out;
}

std::vector<double> KeptWeights(absl::Span<const BilinearTaps> there, absl::Span<const BilinearTaps> back) {
  std::vector<double> between(there.size()), kept(there.size());
  for (const BilinearTaps& tap : back) {
    for (size_t i = 0; i < 4; ++i) between[static_cast<size_t>(tap.pixel[i])] += tap.weight[i];
  }
  for (size_t j = 0; j < there.size(); ++j) {
    for (size_t i = 0; i < 4; ++i) kept[static_cast<size_t>(there[j].pixel[i])] += there[j].weight[i] * between[j];
  }
  return kept;
}

double Darkened(double value, double p) {
  return std::pow(1 - std::pow(1 - std::clamp(value, 0.0, 1.0), p), 1 / p);  // weights may sum to a little more than 1
}

double DarkeningThreshold(double p) { return 1 - std::pow(1 - std::pow(0.5, p), 1 / p); }

}  // namespace tightrope
