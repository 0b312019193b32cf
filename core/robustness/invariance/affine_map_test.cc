#include "core/robustness/invariance/affine_map.h"

#include <cmath>
#include <numeric>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

std::vector<float> RandomValues(size_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(generator() % 256) / 255.0f;
  return values;
}

TEST(AffineMapTest, AShiftReadsToTheRightAndBelowAndZerosBeyond) {
  const std::vector<float> image = {1, 2, 3,  //
                                    4, 5, 6};
  EXPECT_THAT(Interpolated(BilinearTapsOf({}, 2, 3), image), ElementsAreArray(image));
  const AffineMap right = MapOf({.shift_x = 1}, 2, 3, false), below = MapOf({.shift_y = 1}, 2, 3, true);
  EXPECT_THAT(Interpolated(BilinearTapsOf(right, 2, 3), image), ElementsAre(2, 3, 0, 5, 6, 0));
  EXPECT_THAT(Interpolated(BilinearTapsOf(below, 2, 3), image), ElementsAre(4, 5, 6, 0, 0, 0));
  const AffineMap between = MapOf({.shift_x = 0.5, .shift_y = -0.5}, 2, 3, false);
  EXPECT_THAT(Interpolated(BilinearTapsOf(between, 2, 3), image), ElementsAre(0.75, 1.25, 0.75, 3, 4, 2.25));
}

TEST(AffineMapTest, TheDefaultTurnsAboutTheCentreAndThePublishedMatrixIsNoRotation) {
  std::vector<float> image(49);
  image[3 * 7 + 3] = 1;
  for (const double degrees : {-14.0, 5.0, 90.0}) {
    const std::vector<float> turned =
        Interpolated(BilinearTapsOf(MapOf({.degrees = degrees}, 7, 7, false), 7, 7), image);
    EXPECT_NEAR(turned[3 * 7 + 3], 1, 1e-6) << degrees;
  }
  const AffineMap map = MapOf({.degrees = 90}, 7, 7, false);
  EXPECT_NEAR(map.xx * map.yy - map.xy * map.yx, 1, 1e-12);
  const AffineMap published = MapOf({.degrees = 10}, 7, 7, true);
  const double angle = 10 * std::acos(-1.0) / 180;
  EXPECT_NEAR(published.xx, std::cos(angle), 1e-12);
  EXPECT_NEAR(published.xy, std::sin(angle), 1e-12);
  EXPECT_NEAR(published.yx, std::sin(angle), 1e-12);
  EXPECT_NEAR(published.yy, std::cos(angle), 1e-12);
}

// The product of matrices as the source writes it, with numpy's figures for one draw:
// [[1,.1],[-.2,1]]·diag(1.1,.9)·translate(3,-2)·[[cos,sin],[sin,cos]] of .2 radians.
TEST(AffineMapTest, ThePublishedProductOfMatricesIsInItsOrder) {
  const AffineDraw draw = {.degrees = 0.2 * 180 / std::acos(-1.0),
                           .scale_x = 1.1,
                           .scale_y = 0.9,
                           .shear_x = 0.1,
                           .shear_y = -0.2,
                           .shift_x = 3,
                           .shift_y = -2};
  const double c = std::cos(0.2), s = std::sin(0.2);
  const AffineMap map = MapOf(draw, 28, 28, true);
  EXPECT_NEAR(map.xx, 1.1 * c + 0.09 * s, 1e-12);
  EXPECT_NEAR(map.xy, 1.1 * s + 0.09 * c, 1e-12);
  EXPECT_NEAR(map.x0, 3.3 - 0.18, 1e-12);
  EXPECT_NEAR(map.yx, -0.22 * c + 0.9 * s, 1e-12);
  EXPECT_NEAR(map.yy, -0.22 * s + 0.9 * c, 1e-12);
  EXPECT_NEAR(map.y0, -0.66 - 1.8, 1e-12);
}

TEST(AffineMapTest, TheInverseUndoesTheMap) {
  const RandomStream stream(1, "digest", "transforms");
  for (uint32_t i = 0; i < 50; ++i) {
    for (const bool published : {false, true}) {
      const AffineMap map = MapOf(DrawAffine(stream, i, {}), 28, 28, published), back = map.Inverse();
      const double x = 3 + i, y = 20 - 2.0 * i;
      const double u = map.xx * x + map.xy * y + map.x0, v = map.yx * x + map.yy * y + map.y0;
      EXPECT_NEAR(back.xx * u + back.xy * v + back.x0, x, 1e-9);
      EXPECT_NEAR(back.yx * u + back.yy * v + back.y0, y, 1e-9);
    }
  }
}

TEST(AffineMapTest, KeptWeightsAreTheSumThatIsLeftAfterThereAndBack) {
  const RandomStream stream(2, "digest", "transforms");
  for (uint32_t i = 0; i < 30; ++i) {
    const AffineMap map = MapOf(DrawAffine(stream, i, {}), 9, 11, i % 2 == 0);
    const auto there = BilinearTapsOf(map, 9, 11), back = BilinearTapsOf(map.Inverse(), 9, 11);
    const std::vector<float> image = RandomValues(99, i), both = Interpolated(back, Interpolated(there, image));
    const std::vector<double> weights = KeptWeights(there, back);
    double kept = 0;
    for (size_t e = 0; e < image.size(); ++e) kept += weights[e] * double{image[e]};
    EXPECT_NEAR(kept, std::accumulate(both.begin(), both.end(), 0.0), 1e-3);
  }
}

TEST(AffineMapTest, DrawsStayInTheirRangesAndDependOnTheirNumberAlone) {
  const RandomStream stream(3, "digest", "transforms");
  const AffineRanges ranges = PublishedAffineRanges();
  double least_shift = 0, most_darkening = 0;
  for (uint32_t i = 0; i < 500; ++i) {
    const AffineDraw draw = DrawAffine(stream, i, ranges);
    EXPECT_LE(std::abs(draw.degrees), ranges.degrees);
    EXPECT_LE(std::abs(draw.scale_x - 1), 0.2);
    EXPECT_LE(std::abs(draw.shear_y), 0.2);
    EXPECT_LE(std::abs(draw.shift_x), 8);
    EXPECT_GE(draw.darkening, -0.25);
    EXPECT_LE(draw.darkening, 4);
    least_shift = std::min(least_shift, draw.shift_y);
    most_darkening = std::max(most_darkening, draw.darkening);
    EXPECT_EQ(draw.shear_x, DrawAffine(stream, i, ranges).shear_x);
  }
  EXPECT_LT(least_shift, -7.5);
  EXPECT_GT(most_darkening, 3.8);
}

TEST(AffineMapTest, DarkeningThickensAboveOneAndItsThresholdIsDarkenedToAHalf) {
  EXPECT_NEAR(Darkened(0.3, 1), 0.3, 1e-12);
  EXPECT_GT(Darkened(0.3, 3), 0.3);
  EXPECT_LT(Darkened(0.3, 0.5), 0.3);
  for (const double p : {0.25, 0.5, 1.0, 2.0, 4.0}) {
    EXPECT_EQ(Darkened(0, p), 0);
    EXPECT_EQ(Darkened(1, p), 1);
    EXPECT_EQ(Darkened(1 + 1e-15, p), 1);
    EXPECT_NEAR(Darkened(DarkeningThreshold(p), p), 0.5, 1e-9);
  }
}

}  // namespace
}  // namespace tightrope
