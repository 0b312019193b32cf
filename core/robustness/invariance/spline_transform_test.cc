#include "core/robustness/invariance/spline_transform.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "core/robustness/invariance/invariance_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

std::vector<uint8_t> RandomImage(int64_t height, int64_t width, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<uint8_t> image(static_cast<size_t>(height * width));
  for (uint8_t& pixel : image) pixel = static_cast<uint8_t>(generator());
  return image;
}

std::vector<uint8_t> Shifted(const std::vector<uint8_t>& image, int64_t height, int64_t width, double down,
                             double right) {
  std::vector<uint8_t> out(image.size(), 77);
  SplineImage(image, height, width).Shift(down, right, absl::MakeSpan(out));
  return out;
}

std::vector<uint8_t> Rotated(const std::vector<uint8_t>& image, int64_t height, int64_t width, double degrees) {
  std::vector<uint8_t> out(image.size(), 77);
  SplineImage(image, height, width).Rotate(degrees, absl::MakeSpan(out));
  return out;
}

// The coefficients of the interpolating spline of one line with mirrored ends, by elimination.
std::vector<long double> SolvedCoefficients(std::vector<long double> samples) {
  const size_t n = samples.size();
  if (n == 1) return samples;
  std::vector<long double> below(n, 1.0L / 6), on(n, 4.0L / 6), above(n, 1.0L / 6);
  above[0] = below[n - 1] = 2.0L / 6;
  for (size_t i = 1; i < n; ++i) {
    const long double factor = below[i] / on[i - 1];
    on[i] -= factor * above[i - 1];
    samples[i] -= factor * samples[i - 1];
  }
  samples[n - 1] /= on[n - 1];
  for (size_t i = n - 1; i-- > 0;) samples[i] = (samples[i] - above[i] * samples[i + 1]) / on[i];
  return samples;
}

long double BSpline(long double t) {
  t = std::abs(t);
  if (t < 1) return 2.0L / 3 - t * t + t * t * t / 2;
  return t < 2 ? (2 - t) * (2 - t) * (2 - t) / 6 : 0;
}

// The spline of an image anywhere, by its definition: a sum over every coefficient and its mirror images.
class SlowSpline {
 public:
  SlowSpline(const std::vector<uint8_t>& image, size_t height, size_t width)
      : height_(height), width_(width), coefficients_(image.begin(), image.end()) {
    for (size_t x = 0; x < width; ++x) Solve(x, height, width);
    for (size_t y = 0; y < height; ++y) Solve(y * width, width, 1);
  }
  long double At(long double y, long double x) const {
    if (y < 0 || x < 0 || y > static_cast<long double>(height_ - 1) || x > static_cast<long double>(width_ - 1))
      return 0;
    long double value = 0;
    for (size_t i = 0; i < height_; ++i) {
      for (size_t j = 0; j < width_; ++j) {
        value += coefficients_[i * width_ + j] * Weight(y, i, height_) * Weight(x, j, width_);
      }
    }
    return value;
  }

 private:
  static long double Weight(long double place, size_t index, size_t length) {
    const long double end = static_cast<long double>(length - 1), at = static_cast<long double>(index);
    if (length == 1) return 1;
    long double weight = BSpline(place - at);
    for (int turn = 1; turn <= 3; ++turn) {  // mirror images are 2·end apart
      weight += BSpline(place - at - 2 * end * turn) + BSpline(place - at + 2 * end * turn);
    }
    if (index == 0 || index + 1 == length) return weight;
    for (int turn = -3; turn <= 3; ++turn) weight += BSpline(place + at - 2 * end * turn);
    return weight;
  }
  void Solve(size_t first, size_t length, size_t stride) {
    std::vector<long double> line;
    for (size_t i = 0; i < length; ++i) line.push_back(coefficients_[first + i * stride]);
    line = SolvedCoefficients(line);
    for (size_t i = 0; i < length; ++i) coefficients_[first + i * stride] = line[i];
  }

  size_t height_, width_;
  std::vector<long double> coefficients_;
};

// A pixel stands for every value that rounds to it.
void ExpectRounded(uint8_t pixel, long double value) {
  value = std::clamp(value, 0.0L, 255.0L);
  EXPECT_LE(std::abs(static_cast<long double>(pixel) - value), 0.5L + 1e-9L);
}

TEST(SplineTransformTest, TheIdentityGivesTheImageBack) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const std::vector<uint8_t> image = RandomImage(28, 28, seed);
    EXPECT_THAT(Rotated(image, 28, 28, 0), ElementsAreArray(image));
    EXPECT_THAT(Shifted(image, 28, 28, 0, 0), ElementsAreArray(image));
    EXPECT_THAT(Shifted(image, 28, 28, -0.0, -0.0), ElementsAreArray(image));
  }
}

TEST(SplineTransformTest, AWholeShiftMovesPixelsDownAndRightAndLeavesZeros) {
  const std::vector<uint8_t> image = {1, 2, 3,  //
                                      4, 5, 6,  //
                                      7, 8, 9};
  EXPECT_THAT(Shifted(image, 3, 3, 1, 0), ElementsAre(0, 0, 0, 1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Shifted(image, 3, 3, 0, -1), ElementsAre(2, 3, 0, 5, 6, 0, 8, 9, 0));
  EXPECT_THAT(Shifted(image, 3, 3, 5, 0), Each(0));
}

TEST(SplineTransformTest, AQuarterTurnIsExactAndAnticlockwise) {
  const std::vector<uint8_t> image = {1, 2, 3,  //
                                      4, 5, 6,  //
                                      7, 8, 9};
  EXPECT_THAT(Rotated(image, 3, 3, 90), ElementsAre(3, 6, 9, 2, 5, 8, 1, 4, 7));
  EXPECT_THAT(Rotated(image, 3, 3, 180), ElementsAre(9, 8, 7, 6, 5, 4, 3, 2, 1));
  EXPECT_THAT(Rotated(image, 3, 3, -90), ElementsAreArray(Rotated(image, 3, 3, 270)));
  EXPECT_THAT(Rotated(image, 3, 3, 720), ElementsAreArray(image));
}

TEST(SplineTransformTest, ShiftsAreTheRoundedSplineThroughThePixels) {
  for (const auto& [height, width, down, right] : std::vector<std::array<double, 4>>{
           {7, 9, 1.5, -1.5}, {9, 7, -0.25, 3.1}, {1, 6, 0, 0.5}, {6, 1, 2.75, 0}, {2, 2, 0.3, -0.4}, {1, 1, 0, 0}}) {
    const int64_t rows = static_cast<int64_t>(height), columns = static_cast<int64_t>(width);
    const std::vector<uint8_t> image = RandomImage(rows, columns, 5);
    const SlowSpline spline(image, static_cast<size_t>(rows), static_cast<size_t>(columns));
    const std::vector<uint8_t> shifted = Shifted(image, rows, columns, down, right);
    for (int64_t y = 0; y < rows; ++y) {
      for (int64_t x = 0; x < columns; ++x) {
        SCOPED_TRACE(testing::Message() << rows << "×" << columns << ": " << y << ", " << x);
        ExpectRounded(shifted[static_cast<size_t>(y * columns + x)],
                      spline.At(static_cast<long double>(y) - down, static_cast<long double>(x) - right));
      }
    }
  }
}

TEST(SplineTransformTest, RotationsAreTheRoundedSplineThroughThePixels) {
  for (const double degrees : {30.0, -2.0, 14.0, 45.0, 101.5, -170.0}) {
    const std::vector<uint8_t> image = RandomImage(9, 12, 6);
    const SlowSpline spline(image, 9, 12);
    const std::vector<uint8_t> rotated = Rotated(image, 9, 12, degrees);
    const long double angle = degrees * std::acos(-1.0L) / 180;
    for (int y = 0; y < 9; ++y) {
      for (int x = 0; x < 12; ++x) {
        SCOPED_TRACE(testing::Message() << degrees << " degrees: " << y << ", " << x);
        const long double from_y = 4.0L + std::cos(angle) * (y - 4.0L) + std::sin(angle) * (x - 5.5L);
        const long double from_x = 5.5L - std::sin(angle) * (y - 4.0L) + std::cos(angle) * (x - 5.5L);
        ExpectRounded(rotated[static_cast<size_t>(y * 12 + x)], spline.At(from_y, from_x));
      }
    }
  }
}

TEST(SplineTransformTest, WhatSwingsBeyondBlackAndWhiteIsClippedAfterEachStep) {
  std::vector<uint8_t> image(64, 0);
  image[3 * 8 + 3] = image[3 * 8 + 4] = image[4 * 8 + 3] = image[4 * 8 + 4] = 255;  // a spline overshoots beside it
  const std::vector<uint8_t> once = Shifted(image, 8, 8, 0.5, 0.5);
  const std::vector<uint8_t> back = Shifted(once, 8, 8, -0.5, -0.5);
  EXPECT_EQ(*std::max_element(once.begin(), once.end()), 255);
  EXPECT_NE(back, image);
}

TEST(SplineTransformTest, BothStepsAreRoundedOneAfterTheOther) {
  const std::vector<uint8_t> image = RandomImage(28, 28, 7);
  const RotationAndShift move = {.down = -1.5, .right = 3, .degrees = 12};
  EXPECT_THAT(RotatedThenShifted(image, 1, 28, 28, move),
              ElementsAreArray(Shifted(Rotated(image, 28, 28, 12), 28, 28, -1.5, 3)));
}

TEST(SplineTransformTest, EachChannelIsItsOwnPlane) {
  const std::vector<uint8_t> red = RandomImage(5, 6, 8), green = RandomImage(5, 6, 9);
  std::vector<uint8_t> both = red;
  both.insert(both.end(), green.begin(), green.end());
  const RotationAndShift move = {.down = 1, .right = -0.5, .degrees = -8};
  std::vector<uint8_t> expected = RotatedThenShifted(red, 1, 5, 6, move);
  const std::vector<uint8_t> second = RotatedThenShifted(green, 1, 5, 6, move);
  expected.insert(expected.end(), second.begin(), second.end());
  EXPECT_THAT(RotatedThenShifted(both, 2, 5, 6, move), ElementsAreArray(expected));
}

TEST(SplineTransformTest, AGridIsItsPointsOneByOne) {
  const std::vector<uint8_t> image = RandomImage(10, 10, 10);
  const std::vector<RotationAndShift> grid = PublishedGrid();
  ASSERT_EQ(grid.size(), 775u);
  EXPECT_EQ(grid[1].degrees, -28);  // angles are the fastest
  EXPECT_EQ(grid[31].right, -1.5);
  EXPECT_EQ(grid[155].down, -1.5);
  const std::vector<uint8_t> all = TransformedOverGrid(image, 1, 10, 10, grid);
  for (const size_t i : {0u, 17u, 387u, 400u, 774u}) {
    EXPECT_THAT(ImageAt(all, i, 100), ElementsAreArray(RotatedThenShifted(image, 1, 10, 10, grid[i])));
  }
}

TEST(SplineTransformTest, AGridGoesEvenlyFromMinusTheLargestToTheLargest) {
  const std::vector<RotationAndShift> grid =
      MoveGrid({.max_shift = 1, .shifts = 3, .max_rotation = 10, .rotations = 2});
  ASSERT_EQ(grid.size(), 18u);
  EXPECT_EQ(grid.front().down, -1);
  EXPECT_EQ(grid.front().right, -1);
  EXPECT_EQ(grid.front().degrees, -10);
  EXPECT_EQ(grid[1].degrees, 10);
  EXPECT_EQ(grid[8].down, 0);
  EXPECT_EQ(grid[8].right, 0);
  EXPECT_EQ(grid.back().down, 1);
  EXPECT_EQ(grid.back().degrees, 10);
  const std::vector<RotationAndShift> alone = MoveGrid({.shifts = 1, .rotations = 1});
  ASSERT_EQ(alone.size(), 1u);
  EXPECT_EQ(alone[0].down, 0);
  EXPECT_EQ(alone[0].degrees, 0);
}

TEST(SplineTransformTest, AnglesAtMultiplesOf90DegreesAreExact) {
  for (int turn = -9; turn <= 9; ++turn) {
    const auto [sine, cosine] = OfDegrees(90.0 * turn);
    const int quarter = ((turn % 4) + 4) % 4;
    EXPECT_EQ(sine, (std::array{0, 1, 0, -1}[static_cast<size_t>(quarter)])) << turn;
    EXPECT_EQ(cosine, (std::array{1, 0, -1, 0}[static_cast<size_t>(quarter)])) << turn;
  }
  for (double degrees = -400; degrees < 400; degrees += 0.37) {
    const auto [sine, cosine] = OfDegrees(degrees);
    EXPECT_NEAR(sine, std::sin(degrees * std::acos(-1.0) / 180), 2e-15);
    EXPECT_NEAR(cosine, std::cos(degrees * std::acos(-1.0) / 180), 2e-15);
  }
}

}  // namespace
}  // namespace tightrope
