#include "core/robustness/invariance/neighbour_search.h"

#include <limits>
#include <map>
#include <random>

#include "core/robustness/invariance/invariance_test_support.h"
#include "core/robustness/invariance/linf_attack.h"
#include "core/robustness/invariance/pixel_kernels.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {

// How GoogleTest prints one.
void PrintTo(const ClassNeighbour& n, std::ostream* out) {
  *out << "class " << int{n.label} << ", image " << n.training_index << ", transform " << n.grid_index << ", distance² "
       << n.squared_distance;
}

namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::vector<RotationAndShift> kSmallGrid = {{-1.5, 0, 20}, {0, 0, 0}, {0, 1.5, -10}, {1, 1, 0}, {0, 0, 0},
                                                  {0.5, -2, 90}, {0, 0, 2}, {3, 0, -30},   {0, 0, 4}, {0, 3, 6}};

// Every distance, in the order of the published loops.
std::vector<ClassNeighbour> BruteForce(const Dataset& training, absl::Span<const uint8_t> image,
                                       std::optional<uint8_t> except, absl::Span<const RotationAndShift> grid) {
  const size_t elements = image.size();
  std::map<uint8_t, ClassNeighbour> best;
  for (uint32_t g = 0; g < grid.size(); ++g) {
    const std::vector<uint8_t> moved =
        RotatedThenShifted(image, training.channels, training.height, training.width, grid[g]);
    for (uint32_t i = 0; i < training.count; ++i) {
      if (training.labels[i] == except) continue;
      int64_t distance = 0;
      for (size_t e = 0; e < elements; ++e) {
        const int64_t difference = int64_t{moved[e]} - training.pixels[i * elements + e];
        distance += difference * difference;
      }
      const ClassNeighbour candidate = {training.labels[i], i, g, distance};
      const auto [place, first] = best.emplace(training.labels[i], candidate);
      if (!first && distance < place->second.squared_distance) place->second = candidate;
    }
  }
  std::vector<ClassNeighbour> neighbours;
  for (const auto& [label, neighbour] : best) neighbours.push_back(neighbour);
  return neighbours;
}

TEST(NeighbourSearchTest, FindsWhatADoubleLoopOverEverythingFinds) {
  for (uint32_t seed = 0; seed < 12; ++seed) {
    // Few grey levels, so that several distances are the least.
    const Dataset training = RandomImages(20 + 37 * seed, 1 + seed % 3, 5, 6, 4, seed % 2 == 0 ? 128 : 1, seed);
    const Dataset sources = RandomImages(4, training.channels, 5, 6, 4, 64, seed + 100);
    const auto search = NeighbourSearch::Create(training);
    ASSERT_OK(search);
    for (size_t i = 0; i < sources.count; ++i) {
      const auto source = ImageAt(sources.pixels, i, sources.pixels.size() / sources.count);
      const auto nearest = search->Nearest(source, sources.labels[i], kSmallGrid);
      ASSERT_OK(nearest);
      EXPECT_THAT(nearest->neighbours, ElementsAreArray(BruteForce(training, source, sources.labels[i], kSmallGrid)));
    }
  }
}

TEST(NeighbourSearchTest, FindsWhatADoubleLoopFindsOnDigitsToo) {
  TIGHTROPE_NEEDS_SHARED("data/mnist");
  Dataset training = Mnist(v1::SPLIT_TEST);
  training.count = 1500;
  training.pixels.resize(1500 * 784);
  training.labels.resize(1500);
  const auto search = NeighbourSearch::Create(training);
  ASSERT_OK(search);
  uint64_t distances = 0;
  for (const size_t i : {0u, 700u, 1499u}) {
    const auto source = ImageAt(training.pixels, i);
    const auto nearest = search->Nearest(source, std::nullopt, kSmallGrid);
    ASSERT_OK(nearest);
    EXPECT_THAT(nearest->neighbours, ElementsAreArray(BruteForce(training, source, std::nullopt, kSmallGrid)));
    distances += nearest->distances_computed;
  }
  EXPECT_LT(distances, 3u * 1500u);  // of 3·1500·10: the bounds do their work
}

TEST(NeighbourSearchTest, OfTiesTheFirstTransformAndThenTheFirstImageIsTaken) {
  Dataset training = RandomImages(100, 1, 6, 6, 2, 1, 9);
  for (size_t i = 36; i < training.pixels.size(); ++i) training.pixels[i] = training.pixels[i - 36];  // all alike
  training.labels.assign(100, 1);
  training.labels[40] = training.labels[41] = 0;
  const auto search = NeighbourSearch::Create(training);
  ASSERT_OK(search);
  const auto source = ImageAt(training.pixels, 0, 36);
  const std::vector<RotationAndShift> grid = {{2, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 360}};
  EXPECT_THAT(search->Nearest(source, std::nullopt, grid)->neighbours,
              ElementsAre(ClassNeighbour{0, 40, 1, 0}, ClassNeighbour{1, 0, 1, 0}));
}

TEST(NeighbourSearchTest, ClassesWithoutImagesAndTheExceptedOneAreLeftOut) {
  Dataset training = RandomImages(40, 1, 4, 4, 10, 1, 10);
  for (size_t i = 0; i < 40; ++i) training.labels[i] = i % 2 == 0 ? 3 : 7;
  const auto search = NeighbourSearch::Create(training);
  ASSERT_OK(search);
  const auto source = ImageAt(training.pixels, 2, 16);
  EXPECT_THAT(search->Nearest(source, 3, kSmallGrid)->neighbours, ElementsAre(Field(&ClassNeighbour::label, 7)));
  EXPECT_THAT(search->Nearest(source, 5, kSmallGrid)->neighbours,
              ElementsAre(ClassNeighbour{3, 2, 1, 0}, Field(&ClassNeighbour::label, 7)));
  training.labels.assign(40, 3);
  EXPECT_THAT(NeighbourSearch::Create(training)->Nearest(source, 3, kSmallGrid)->neighbours, IsEmpty());
}

TEST(NeighbourSearchTest, WhatCannotBeSearchedIsRefused) {
  Dataset training = RandomImages(10, 1, 4, 4, 2, 1, 11);
  const auto search = NeighbourSearch::Create(training);
  ASSERT_OK(search);
  const std::vector<uint8_t> image(16), larger(17);
  EXPECT_THAT(search->Nearest(larger, 0, kSmallGrid),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("17 pixels and the training images 16")));
  EXPECT_THAT(search->Nearest(image, 0, {}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  for (const RotationAndShift& bad : {RotationAndShift{nan, 0, 0}, RotationAndShift{0, -infinity, 0},
                                      RotationAndShift{0, 0, nan}, RotationAndShift{0, 0, 1e7}}) {
    EXPECT_THAT(search->Nearest(image, 0, {{0, 0, 0}, bad}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("point 1")));
  }
  training.pixels.pop_back();
  EXPECT_THAT(NeighbourSearch::Create(training), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("159 pixels")));
  EXPECT_THAT(NeighbourSearch::Create(Dataset()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least one")));
}

// The authors' own 900 neighbours, classes and grid positions.
TEST(NeighbourSearchTest, ReproducesEveryPublishedNeighbourOfTheHundredSources) {
  TIGHTROPE_NEEDS_SHARED("data/mnist");
  TIGHTROPE_NEEDS_SHARED("data/invariance-human-labels");
  const Dataset training = Mnist(v1::SPLIT_TRAIN), sources = PublishedSources();
  const std::vector<uint8_t> images = Published<uint8_t>("linf/all_nns");
  const std::vector<uint8_t> classes = Published<uint8_t>("linf/all_y_nns");
  const std::vector<double> points = Published<double>("linf/all_grids_nns");
  const std::vector<RotationAndShift> grid = PublishedGrid();
  const auto search = NeighbourSearch::Create(training);
  ASSERT_OK(search);
  for (size_t i = 0; i < 100; ++i) {
    const auto nearest = search->Nearest(ImageAt(sources.pixels, i), sources.labels[i], grid);
    ASSERT_OK(nearest);
    ASSERT_EQ(nearest->neighbours.size(), 9u);
    for (size_t j = 0; j < 9; ++j) {
      const ClassNeighbour& neighbour = nearest->neighbours[j];
      const RotationAndShift& point = grid[neighbour.grid_index];
      const size_t at = i * 9 + j;
      EXPECT_EQ(neighbour.label, classes[at]) << "source " << i;
      EXPECT_THAT(ImageAt(points, at, 3), ElementsAre(-point.down, -point.right, -point.degrees)) << "source " << i;
      EXPECT_THAT(AlignedNeighbour(*search, neighbour, point), ElementsAreArray(ImageAt(images, at))) << "source " << i;
    }
  }
}

}  // namespace
}  // namespace tightrope
