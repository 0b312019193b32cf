#include "core/robustness/invariance/linf_attack.h"

#include <cmath>
#include <random>

#include "core/robustness/invariance/invariance_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::FloatEq;
using ::testing::HasSubstr;

// The neighbours and targets that the authors stored for source i.
struct Stored {
  std::vector<ClassNeighbour> neighbours;
  std::vector<std::vector<uint8_t>> targets;
};
Stored StoredNeighbours(const std::vector<uint8_t>& classes, const std::vector<uint8_t>& images, size_t i) {
  Stored stored;
  for (size_t at = 9 * i; at < 9 * i + 9; ++at) {
    stored.neighbours.push_back({.label = classes[at]});
    stored.targets.emplace_back(ImageAt(images, at).begin(), ImageAt(images, at).end());
  }
  return stored;
}

TEST(LinfAttackTest, TheBackgroundStaysBlackUnlessTheTargetIsClearlyNot) {
  const std::vector<uint8_t> source = {0, 0, 100, 100, 100, 255};
  const std::vector<uint8_t> target = {76, 77, 30, 200, 10, 0};
  const std::vector<float> moved = MovedTowards(source, target, 0.3);
  EXPECT_THAT(moved, ElementsAre(0.0f, FloatEq(0.3f), FloatEq(30 / 255.0f), FloatEq(100 / 255.0f + 0.3f),
                                 FloatEq(100 / 255.0f - 0.3f), FloatEq(0.7f)));
  EXPECT_THAT(MovedTowardsAsPublished(source, target, 0.3), ElementsAre(0, 76.5, 30, 176.5, 23.5, 178.5));
}

TEST(LinfAttackTest, NoPixelLeavesTheBallOrTheRangeByEvenABit) {
  std::vector<uint8_t> source, target;
  for (int x = 0; x < 256; ++x) {
    for (int t = 0; t < 256; ++t) {
      source.push_back(static_cast<uint8_t>(x));
      target.push_back(static_cast<uint8_t>(t));
    }
  }
  for (const double epsilon : {0.3, 0.4, 0.1, 1.0 / 3, 8 / 255.0, 1e-3, 1e-9, 1.0}) {
    const std::vector<float> moved = MovedTowards(source, target, epsilon);
    for (size_t i = 0; i < moved.size(); ++i) {
      const float x = static_cast<float>(source[i]) / 255.0f, t = static_cast<float>(target[i]) / 255.0f;
      ASSERT_LE(std::abs(double{moved[i]} - x), epsilon) << int{source[i]} << " to " << int{target[i]};
      ASSERT_LE(std::abs(moved[i] - x), static_cast<float>(epsilon));
      ASSERT_TRUE(moved[i] >= 0 && moved[i] <= 1);
      // And it goes as far as it may: what remains is within the target's, or the rest is beyond the radius.
      if (moved[i] != t && source[i] > 0) {
        ASSERT_GE(std::abs(double{moved[i]} - x), epsilon - 1e-7);
      }
    }
  }
}

TEST(LinfAttackTest, TheTargetThatTakesLeastAwayIsChosenAndOfSeveralTheFirst) {
  const std::vector<uint8_t> source = {200, 200};
  const std::vector<ClassNeighbour> neighbours = {{.label = 1}, {.label = 2}, {.label = 3}, {.label = 4}};
  const std::vector<std::vector<uint8_t>> targets = {{0, 0}, {200, 190}, {190, 200}, {255, 255}};
  const auto chosen = [&](const TargetTable& table, bool published_form) {
    return LinfExampleFrom(source, 0, neighbours, targets,
                           {.epsilon = 0.3, .targets = table, .published_form = published_form})
        ->neighbour.label;
  };
  for (const bool published_form : {false, true}) {
    EXPECT_EQ(chosen({}, published_form), 4);
    EXPECT_EQ(chosen({{1, 3, 2}}, published_form), 2);
    EXPECT_EQ(chosen({{1}}, published_form), 1);
    EXPECT_EQ(chosen({{}, {2}}, published_form), 4);  // a row without classes allows all
  }
  const auto example = LinfExampleFrom(source, 0, neighbours, targets, {.epsilon = 0.3, .targets = {{3}}});
  EXPECT_NEAR(example->removed, 10 / 255.0, 1e-7);
}

TEST(LinfAttackTest, WhatCannotBeAttackedIsRefused) {
  const std::vector<uint8_t> source = {200, 200};
  const std::vector<ClassNeighbour> neighbours = {{.label = 1}};
  const std::vector<std::vector<uint8_t>> targets = {{0, 0}};
  for (const double epsilon : {0.0, -0.1, 1.1, std::nan("")}) {
    EXPECT_THAT(LinfExampleFrom(source, 0, neighbours, targets, {.epsilon = epsilon, .targets = {}}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("radius")));
  }
  EXPECT_THAT(LinfExampleFrom(source, 0, neighbours, targets, {.epsilon = 0.3, .targets = {{2}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no training image of a class")));

  EXPECT_OK(CheckTargets(PublishedTargets(), 10));
  EXPECT_THAT(CheckTargets(PublishedTargets(), 9),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("10 rows for a data set of 9")));
  EXPECT_THAT(CheckTargets({{1}, {1}}, 3),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 1: the class 1 is")));
  EXPECT_THAT(CheckTargets({{1, 3}}, 3),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("class 3 does not exist")));
  EXPECT_THAT(CheckTargets({{1, 2, 1}}, 3),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("class 1 is named twice")));
}

TEST(LinfAttackTest, ARangeOfSourcesIsItsPartsAndErrorsNameTheExample) {
  const Dataset training = RandomImages(60, 1, 8, 8, 3, 1, 1), sources = RandomImages(6, 1, 8, 8, 3, 1, 2);
  const auto search = NeighbourSearch::Create(training);
  ASSERT_OK(search);
  const std::vector<RotationAndShift> grid = {{0, 0, 0}, {1, -1, 10}};
  const auto all = LinfAttack(*search, sources, 0, 6, grid, {});
  ASSERT_OK(all);
  ASSERT_EQ(all->size(), 6u);
  for (uint64_t i = 0; i < 6; ++i) {
    const auto one = LinfAttack(*search, sources, i, i + 1, grid, {});
    ASSERT_OK(one);
    EXPECT_EQ(one->front().pixels, (*all)[i].pixels);
    EXPECT_EQ(one->front().neighbour, (*all)[i].neighbour);
    EXPECT_NE(one->front().neighbour.label, sources.labels[i]);
  }
  EXPECT_THAT(LinfAttack(*search, sources, 4, 7, grid, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[4, 7) in a data set of 6")));
  EXPECT_THAT(LinfAttack(*search, sources, 4, 4, grid, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[4, 4)")));
  EXPECT_THAT(LinfAttack(*search, sources, 4, 5, {}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("example 4"), HasSubstr("grid"))));
  EXPECT_THAT(LinfAttack(*search, sources, 4, 5, grid, {.targets = {{3}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 0")));
}

TEST(LinfAttackTest, ReproducesThePublishedExamplesFromThePublishedNeighbours) {
  TIGHTROPE_NEEDS_SHARED("data/mnist");
  TIGHTROPE_NEEDS_SHARED("data/invariance-human-labels");
  const Dataset sources = PublishedSources();
  const std::vector<uint8_t> images = Published<uint8_t>("linf/all_nns"),
                             classes = Published<uint8_t>("linf/all_y_nns");
  const std::vector<float> published = Published<float>("linf/automated_eps03");
  const std::vector<uint8_t> eps04 = Published<uint8_t>("linf/automated_eps04");
  LinfAttackOptions options = {.epsilon = 0.3, .targets = PublishedTargets(), .published_form = true};
  for (size_t i = 0; i < 100; ++i) {
    const auto [neighbours, targets] = StoredNeighbours(classes, images, i);
    const auto source = ImageAt(sources.pixels, i);
    options.published_form = true;
    const auto example = LinfExampleFrom(source, sources.labels[i], neighbours, targets, options);
    ASSERT_OK(example);
    EXPECT_THAT(example->pixels, ElementsAreArray(ImageAt(published, i))) << "source " << i;
    EXPECT_THAT(PublishedScalingOfEps03ToEps04(source, example->pixels), ElementsAreArray(ImageAt(eps04, i)))
        << "source " << i;

    // The corrected form makes the same choice and moves pixels to the same places.
    options.published_form = false;
    const auto corrected = LinfExampleFrom(source, sources.labels[i], neighbours, targets, options);
    ASSERT_OK(corrected);
    EXPECT_EQ(corrected->neighbour.label, example->neighbour.label) << "source " << i;
    EXPECT_NEAR(corrected->removed, example->removed, 1e-4);
    for (size_t e = 0; e < 784; ++e) ASSERT_NEAR(corrected->pixels[e], example->pixels[e] / 255, 1e-6);
  }
}

TEST(LinfAttackTest, ReproducesPublishedExamplesFromTheImagesAlone) {
  TIGHTROPE_NEEDS_SHARED("data/mnist");
  TIGHTROPE_NEEDS_SHARED("data/invariance-human-labels");
  const Dataset training = Mnist(v1::SPLIT_TRAIN), sources = PublishedSources();
  const std::vector<float> published = Published<float>("linf/automated_eps03");
  const auto search = NeighbourSearch::Create(training);
  ASSERT_OK(search);
  const auto examples = LinfAttack(*search, sources, 40, 45, PublishedGrid(),
                                   {.epsilon = 0.3, .targets = PublishedTargets(), .published_form = true});
  ASSERT_OK(examples);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_THAT((*examples)[i].pixels, ElementsAreArray(ImageAt(published, 40 + i))) << "source " << 40 + i;
  }
}

}  // namespace
}  // namespace tightrope
