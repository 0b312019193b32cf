#include "core/robustness/invariance/interpolate_attack.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/robustness/attack/toy_dataset.h"
#include "core/robustness/invariance/invariance_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

constexpr v1::Norm kNorms[] = {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1};

std::vector<float> Values(absl::Span<const uint8_t> pixels) {
  std::vector<float> values;
  for (const uint8_t pixel : pixels) values.push_back(static_cast<float>(pixel) / 255.0f);
  return values;
}

// Of one source and one image of class 1.
absl::StatusOr<InterpolatedExample> Towards(const std::vector<uint8_t>& source, const std::vector<uint8_t>& target,
                                            v1::Norm norm, double epsilon) {
  const ClassNeighbour neighbour = {.label = 1};
  return InterpolatedExampleFrom(source, 0, {&neighbour, 1}, {&target, 1}, {.norm = norm, .epsilon = epsilon});
}

// Pixels of every kind of image: grey noise, black and white, nearly the same as `like`.
std::vector<uint8_t> RandomPixels(std::mt19937& generator, size_t elements, const std::vector<uint8_t>& like) {
  const uint32_t kind = generator() % 3;
  std::vector<uint8_t> pixels(elements);
  for (size_t i = 0; i < elements; ++i) {
    const uint32_t draw = generator();
    pixels[i] = static_cast<uint8_t>(kind == 0 || like.empty() ? draw % 256
                                     : kind == 1               ? draw % 2 * 255
                                                               : std::min(255u, like[i] + draw % 3));
  }
  return pixels;
}

TEST(InterpolateAttackTest, NoExampleLeavesTheBallOrTheRangeByEvenABit) {
  std::mt19937 generator(1);
  for (int draw = 0; draw < 400; ++draw) {
    const size_t elements = 1 + generator() % 60;
    const std::vector<uint8_t> source = RandomPixels(generator, elements, {});
    const std::vector<uint8_t> target = RandomPixels(generator, elements, source);
    const std::vector<float> from = Values(source), to = Values(target);
    for (const v1::Norm norm : kNorms) {
      const double whole = Distance(norm, from, to);
      // Also radii that are the distance itself, and next to it.
      const double fraction = draw % 8 == 0 ? 1.0 : static_cast<double>(generator() % 1200 + 1) / 1000;
      const double epsilon = std::max(1e-9, draw % 16 == 0 ? std::nextafter(whole, 0.0) : fraction * whole);
      const auto example = Towards(source, target, norm, epsilon);
      ASSERT_OK(example);
      SCOPED_TRACE(testing::Message() << v1::Norm_Name(norm) << ", radius " << epsilon << " of " << whole);
      const std::vector<float>& pixels = example->pixels;
      ASSERT_EQ(pixels.size(), elements);
      ASSERT_LE(Distance(norm, from, pixels), epsilon);
      // In another order of the sum as well.
      const std::vector<float> from_last(from.rbegin(), from.rend()), pixels_last(pixels.rbegin(), pixels.rend());
      ASSERT_LE(Distance(norm, from_last, pixels_last), epsilon);
      EXPECT_NEAR(example->distance, Distance(norm, from, pixels), 1e-12);
      for (size_t i = 0; i < elements; ++i) {
        ASSERT_TRUE(pixels[i] >= std::min(from[i], to[i]) && pixels[i] <= std::max(from[i], to[i]));
        if (norm == v1::NORM_LINF) {
          ASSERT_LE(double{std::abs(pixels[i] - from[i])}, epsilon);
        }
      }
      // And it goes as far as it may: the next point of the way is outside, for readers who add in any order.
      ASSERT_TRUE(example->share >= 0 && example->share <= 1);
      if (example->share == 1) {
        EXPECT_EQ(pixels, to);
      } else {
        const std::vector<float> next = PointBetween(source, target, std::nextafter(example->share, 1.0));
        EXPECT_GT(Distance(norm, from, next), epsilon * (1 - 2e-12) - 1e-7);
        EXPECT_GT(example->distance, epsilon - 2e-7 * static_cast<double>(elements));
      }
    }
  }
}

TEST(InterpolateAttackTest, ALargerRadiusNeverGoesLessFarAndTheLargestReachesTheTarget) {
  std::mt19937 generator(2);
  for (int draw = 0; draw < 20; ++draw) {
    const std::vector<uint8_t> source = RandomPixels(generator, 49, {}), target = RandomPixels(generator, 49, source);
    for (const v1::Norm norm : kNorms) {
      const double whole = Distance(norm, Values(source), Values(target));
      double share = 0, distance = 0;
      for (const double part : {1e-12, 1e-6, 0.01, 0.2, 0.2 + 1e-9, 0.5, 0.9, 1 - 1e-9}) {
        const auto example = Towards(source, target, norm, std::max(part * whole, 1e-300));
        ASSERT_OK(example);
        EXPECT_GE(example->share, share);
        EXPECT_GE(example->distance, distance);
        if (whole > 0) {
          EXPECT_NEAR(example->share, part, 1e-4);
        }
        share = example->share;
        distance = example->distance;
      }
      for (const double epsilon : {1.0001 * whole + 1e-3, 1e3, 1e300}) {
        const auto example = Towards(source, target, norm, epsilon);
        ASSERT_OK(example);
        EXPECT_EQ(example->share, 1);
        EXPECT_EQ(example->pixels, Values(target));
        EXPECT_NEAR(example->distance, whole, 1e-12);
      }
    }
  }
}

TEST(InterpolateAttackTest, TheEndsOfTheWayAreTheTwoImagesToTheBit) {
  std::vector<uint8_t> source, target;
  for (int x = 0; x < 256; ++x) {
    for (int t = 0; t < 256; ++t) {
      source.push_back(static_cast<uint8_t>(x));
      target.push_back(static_cast<uint8_t>(t));
    }
  }
  EXPECT_EQ(PointBetween(source, target, 0), Values(source));
  EXPECT_EQ(PointBetween(source, target, 1), Values(target));
  EXPECT_EQ(PointBetween({0, 255, 51}, {255, 0, 51}, 0.25), (std::vector<float>{0.25f, 0.75f, 0.2f}));
}

TEST(InterpolateAttackTest, TheTargetThatIsNearestInTheBallsOwnNormIsChosenAndOfSeveralTheFirst) {
  const std::vector<uint8_t> source = {100, 100, 100, 100};
  const std::vector<ClassNeighbour> neighbours = {{.label = 1}, {.label = 2}, {.label = 3}, {.label = 4}};
  const std::vector<std::vector<uint8_t>> images = {{140, 100, 100, 100},  // one pixel, far: l1 40
                                                    {79, 121, 79, 121},    // all, a little: linf 21
                                                    {128, 100, 72, 100},   // l2² 1568, against 1600 and 1764
                                                    {100, 100, 100, 60}};  // as far as the first
  const auto chosen = [&](v1::Norm norm, const TargetTable& targets) {
    return int{InterpolatedExampleFrom(source, 0, neighbours, images, {.norm = norm, .epsilon = 1, .targets = targets})
                   ->neighbour.label};
  };
  EXPECT_EQ(chosen(v1::NORM_LINF, {}), 2);
  EXPECT_EQ(chosen(v1::NORM_L2, {}), 3);
  EXPECT_EQ(chosen(v1::NORM_L1, {}), 1);
  for (const v1::Norm norm : kNorms) {
    EXPECT_EQ(chosen(norm, {{4, 1}}), 1);  // the first as neighbours come, not as the table has them
    EXPECT_EQ(chosen(norm, {{4}}), 4);
    EXPECT_EQ(chosen(norm, {{}, {4}}), chosen(norm, {}));  // a row without classes allows all
  }
}

TEST(InterpolateAttackTest, AnImageLikeTheSourceIsItsOwnExample) {
  const std::vector<uint8_t> source = {0, 7, 255};
  for (const v1::Norm norm : kNorms) {
    const auto example = Towards(source, source, norm, 1e-6);
    ASSERT_OK(example);
    EXPECT_EQ(example->pixels, Values(source));
    EXPECT_EQ(example->share, 1);
    EXPECT_EQ(example->distance, 0);
  }
}

TEST(InterpolateAttackTest, TheStraightPathLeadsToTheNearestTrainingImageOfAnotherClass) {
  // Grey levels in steps of 128, so that there are ties.
  for (const int step : {1, 128}) {
    const Dataset training = RandomImages(60, 2, 3, 3, 3, step, 5), sources = RandomImages(12, 2, 3, 3, 3, step, 6);
    const auto search = NeighbourSearch::Create(training);
    ASSERT_OK(search);
    // The grid is not looked at, even if it is none.
    const auto examples = InterpolateAttack(*search, sources, 0, 12, {}, {.norm = v1::NORM_L2, .epsilon = 100});
    ASSERT_OK(examples);
    for (size_t i = 0; i < 12; ++i) {
      int64_t least = std::numeric_limits<int64_t>::max();
      for (size_t k = 0; k < 60; ++k) {
        if (training.labels[k] == sources.labels[i]) continue;
        int64_t distance = 0;
        for (size_t e = 0; e < 18; ++e) {
          const int64_t difference = int64_t{training.pixels[18 * k + e]} - int64_t{sources.pixels[18 * i + e]};
          distance += difference * difference;
        }
        least = std::min(least, distance);
      }
      const InterpolatedExample& example = (*examples)[i];
      EXPECT_EQ(example.neighbour.squared_distance, least);
      EXPECT_NE(example.neighbour.label, sources.labels[i]);
      EXPECT_EQ(training.labels[example.neighbour.training_index], example.neighbour.label);
      EXPECT_EQ(example.pixels, Values(ImageAt(training.pixels, example.neighbour.training_index, 18)));
      EXPECT_NEAR(example.distance, std::sqrt(static_cast<double>(least)) / 255, 1e-6);
    }
  }
}

TEST(InterpolateAttackTest, TheTransformedPathLeadsToTheNeighbourAsItWasBroughtToTheSource) {
  // The source is a training image of another class, two pixels lower; no other is near to it.
  Dataset training = RandomImages(20, 1, 8, 8, 3, 1, 7);
  Dataset source = RandomImages(1, 1, 8, 8, 3, 1, 8);
  source.labels[0] = 0;
  training.labels[13] = 2;
  for (size_t y = 0; y < 8; ++y) {
    for (size_t x = 0; x < 8; ++x) {
      uint8_t& pixel = training.pixels[64 * 13 + 8 * y + x];
      if (y >= 6) pixel = 0;  // nothing leaves the image
      source.pixels[8 * ((y + 2) % 8) + x] = pixel;
    }
  }
  const auto search = NeighbourSearch::Create(training);
  ASSERT_OK(search);
  const std::vector<RotationAndShift> grid = {{0, 0, 0}, {1, 0, 10}, {-2, 0, 0}, {2, 0, 0}};
  const std::vector<RotationAndShift> as_it_is = {{0, 0, 0}};
  for (const v1::Norm norm : kNorms) {
    InterpolateAttackOptions options = {.norm = norm, .epsilon = 0.01, .transformed = true};
    const auto found = InterpolateAttack(*search, source, 0, 1, grid, options);
    ASSERT_OK(found);
    EXPECT_EQ(found->front().neighbour.training_index, 13u);
    EXPECT_EQ(found->front().neighbour.grid_index, 2u);
    EXPECT_EQ(found->front().distance, 0);
    EXPECT_EQ(found->front().pixels, Values(source.pixels));

    // Where nothing is moved, both paths are one.
    const auto unmoved = InterpolateAttack(*search, source, 0, 1, as_it_is, options);
    ASSERT_OK(unmoved);
    options.transformed = false;
    const auto straight = InterpolateAttack(*search, source, 0, 1, grid, options);
    ASSERT_OK(straight);
    EXPECT_EQ(unmoved->front().pixels, straight->front().pixels);
    EXPECT_EQ(unmoved->front().neighbour, straight->front().neighbour);
    EXPECT_NE(straight->front().pixels, Values(source.pixels));
  }
}

TEST(InterpolateAttackTest, WhatCannotBeAttackedIsRefused) {
  const std::vector<uint8_t> source = {200, 200}, target = {0, 0};
  for (const double epsilon :
       {0.0, -0.1, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_THAT(Towards(source, target, v1::NORM_L2, epsilon),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("radius")));
  }
  for (const v1::Norm norm : {v1::NORM_UNSPECIFIED, v1::NORM_L0, v1::NORM_SPATIAL}) {
    EXPECT_THAT(Towards(source, target, norm, 0.1),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(v1::Norm_Name(norm)), HasSubstr("give linf, l2 or l1"))));
  }
  const ClassNeighbour neighbour = {.label = 1};
  EXPECT_THAT(InterpolatedExampleFrom(source, 0, {&neighbour, 1}, {&target, 1},
                                      {.norm = v1::NORM_L2, .epsilon = 1, .targets = {{2}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no training image of a class")));
}

TEST(InterpolateAttackTest, ARangeOfSourcesIsItsPartsAndErrorsNameTheExample) {
  const Dataset training = RandomImages(60, 1, 8, 8, 3, 1, 1), sources = RandomImages(6, 1, 8, 8, 3, 1, 2);
  const auto search = NeighbourSearch::Create(training);
  ASSERT_OK(search);
  const std::vector<RotationAndShift> grid = {{0, 0, 0}, {1, -1, 10}};
  InterpolateAttackOptions options = {.norm = v1::NORM_L1, .epsilon = 5, .transformed = true};
  const auto all = InterpolateAttack(*search, sources, 0, 6, grid, options);
  ASSERT_OK(all);
  ASSERT_EQ(all->size(), 6u);
  for (uint64_t i = 0; i < 6; ++i) {
    const auto one = InterpolateAttack(*search, sources, i, i + 1, grid, options);
    ASSERT_OK(one);
    EXPECT_THAT(one->front().pixels, ElementsAreArray((*all)[i].pixels));
    EXPECT_EQ(one->front().neighbour, (*all)[i].neighbour);
    EXPECT_EQ(one->front().share, (*all)[i].share);
  }
  EXPECT_THAT(InterpolateAttack(*search, sources, 4, 7, grid, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[4, 7) in a data set of 6")));
  EXPECT_THAT(InterpolateAttack(*search, sources, 4, 4, grid, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[4, 4)")));
  EXPECT_THAT(InterpolateAttack(*search, sources, 4, 5, {}, options),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("example 4"), HasSubstr("grid"))));
  options.targets = {{3}};
  EXPECT_THAT(InterpolateAttack(*search, sources, 4, 5, grid, options),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 0")));
}

}  // namespace
}  // namespace tightrope
