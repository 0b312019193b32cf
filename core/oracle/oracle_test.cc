#include "core/oracle/oracle.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <utility>

#include "core/oracle/byte_product.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Dataset RandomData(uint64_t seed, uint64_t count, uint32_t width, uint32_t classes, uint32_t levels) {
  std::mt19937_64 random(seed);
  Dataset data;
  data.count = count;
  data.channels = data.height = 1;
  data.width = width;
  data.classes = classes;
  for (uint64_t i = 0; i < count * width; ++i) {
    data.pixels.push_back(static_cast<uint8_t>(255 * (random() % levels) / (levels - 1)));
  }
  for (uint64_t i = 0; i < count; ++i) data.labels.push_back(static_cast<uint8_t>(random() % classes));
  return data;
}

// Questions of images alone.
struct Images {
  explicit Images(std::vector<float> given, size_t elements) : values(std::move(given)) {
    for (uint64_t i = 0; i < values.size() / elements; ++i) indices.push_back(i);
  }
  OracleQuestions Questions() const { return {indices, indices, values}; }

  std::vector<float> values;
  std::vector<uint64_t> indices;
};

TEST(OracleTest, TheDatasetOracleGivesTheSourcesLabel_TheTableTheExamples) {
  const auto dataset = MakeDatasetOracle({5, 6, 7});
  const auto table = MakeTableOracle(*LabelTable::Parse("index,a,b\n0,1,1\n1,none of these,-1\n2,1,2\n", {4, 10}));
  const std::vector<uint64_t> examples = {3, 2, 1, 0, 0};
  const std::vector<uint64_t> sources = {2, 2, 0, 1, 0};
  EXPECT_THAT(*dataset->Label({examples, sources, {}}), ElementsAre(7, 7, 5, 6, 5));
  EXPECT_THAT(*table->Label({examples, sources, {}}), ElementsAre(kUndecided, kUndecided, kNoneOfThese, 1, 1));
}

TEST(OracleTest, WhatTheOracleDoesNotKnowIsAnError) {
  const auto dataset = MakeDatasetOracle({5, 6, 7});
  const auto table = MakeTableOracle(*LabelTable::Parse("index,a\n0,1\n", {2, 10}));
  const std::vector<uint64_t> indices = {0, 1, 3};
  const std::vector<uint64_t> fewer = {0, 1};
  const auto refused = [](const Oracle& oracle, const OracleQuestions& questions, const std::string& message) {
    EXPECT_THAT(oracle.Label(questions), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused(*dataset, {indices, indices, {}}, "no label for source 3; give labels for all of them, got 3");
  refused(*table, {indices, indices, {}}, "no label for example 3; give labels for all of them, got 2");
  refused(*dataset, {indices, fewer, {}}, "every example must have one source: got 3 examples, 2 sources");
  const Dataset data = RandomData(1, 4, 2, 3, 256);
  const auto nearest = *MakeNearestOracle(data, {});
  refused(*nearest, Images({0, 1, 1}, 1).Questions(), "have 2 values an image; give images of that size: got 3 values");
  refused(*nearest, Images({0, 1, 1, 254}, 2).Questions(),
          "must be in [0, 1]; divide grey levels by 255: got 254 in example 1");
  refused(*nearest, Images({0, -0.1f}, 2).Questions(), "got -0.1");
  refused(*nearest, Images({0, std::numeric_limits<float>::quiet_NaN()}, 2).Questions(), "got nan");
}

TEST(OracleTest, NeighboursMustBeThere) {
  const Dataset data = RandomData(1, 4, 2, 3, 256);
  const auto refused = [&](const NearestOptions& options, const std::string& message) {
    EXPECT_THAT(MakeNearestOracle(data, options).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused({.begin = 4}, "begin < end <= 4, got 4 and 4");
  refused({.begin = 3, .end = 2}, "got 3 and 2");
  refused({.end = 5}, "got 0 and 5");
  refused({.neighbours = 0}, "from 1 to the number of images, 4; got 0");
  refused({.begin = 1, .end = 3, .neighbours = 3}, "from 1 to the number of images, 2; got 3");
}

// The rule of the header, from a full sort of floating-point distances that are exact here.
int32_t SlowNearest(const Dataset& data, const NearestOptions& options, const float* image) {
  std::vector<std::pair<double, uint64_t>> order;
  for (uint64_t i = options.begin; i < options.end; ++i) {
    double distance = 0;
    for (uint32_t j = 0; j < data.width; ++j) {
      const double offset =
          std::round(65280.0 * static_cast<double>(image[j])) - 256.0 * data.pixels[i * data.width + j];
      distance += offset * offset;
    }
    order.emplace_back(distance, i);
  }
  std::sort(order.begin(), order.end());
  std::map<int32_t, uint32_t> votes;
  uint32_t most = 0;
  for (uint32_t k = 0; k < options.neighbours; ++k) most = std::max(most, ++votes[data.labels[order[k].second]]);
  for (const auto& [distance, i] : order) {
    if (votes[data.labels[i]] == most) return data.labels[i];
  }
  return kUndecided;
}

TEST(OracleTest, NearestEqualsAFullSort_WithManyTies_OverAnyRange_AndFractionsOfGreyLevels) {
  for (const uint32_t levels : {2u, 3u, 256u}) {
    const Dataset data = RandomData(levels, 150, 7, 4, levels);
    for (const NearestOptions options :
         {NearestOptions{0, 150, 1}, NearestOptions{0, 150, 4}, NearestOptions{20, 90, 5}, NearestOptions{149, 150, 1},
          NearestOptions{3, 9, 6}}) {
      const auto oracle = *MakeNearestOracle(data, options);
      std::mt19937_64 random(1);
      std::vector<float> values(7 * 40);
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = i < values.size() / 2 ? static_cast<float>(255 * (random() % levels) / (levels - 1)) / 255
                                          : static_cast<float>(random() % 65281) / 65280;
      }
      const Images images(values, 7);
      const auto labels = oracle->Label(images.Questions());
      ASSERT_OK(labels);
      for (size_t i = 0; i < 40; ++i) EXPECT_EQ((*labels)[i], SlowNearest(data, options, &values[7 * i])) << i;
    }
  }
}

TEST(OracleTest, TheAnswerToOneDoesNotDependOnTheOthers) {
  const Dataset data = RandomData(5, 60, 3, 4, 3);
  const auto oracle = *MakeNearestOracle(data, {.neighbours = 3});
  const std::vector<float> values = {0, 0.5f, 1, 0.2f, 0.2f, 0.2f, 1, 1, 0};
  const auto together = *oracle->Label(Images(values, 3).Questions());
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_THAT(*oracle->Label(Images({values[3 * i], values[3 * i + 1], values[3 * i + 2]}, 3).Questions()),
                ElementsAre(together[i]));
  }
  EXPECT_THAT(*oracle->Label({}), ElementsAre());
}

TEST(ByteProductTest, IsExactForAnyLength) {
  std::mt19937_64 random(1);
  for (const size_t elements : {0u, 1u, 15u, 784u, 32768u, 32769u, 100'000u}) {
    std::vector<uint8_t> a(elements), b(elements);
    uint64_t sum = 0;
    for (size_t i = 0; i < elements; ++i) {
      a[i] = static_cast<uint8_t>(random() % 4 == 0 ? 255 : random());
      b[i] = static_cast<uint8_t>(random() % 4 == 0 ? 255 : random());
      sum += uint64_t{a[i]} * b[i];
    }
    EXPECT_EQ(ByteProduct(elements, a.data(), b.data()), sum) << elements;
    const std::vector<uint8_t> white(elements, 255);
    EXPECT_EQ(ByteProduct(elements, white.data(), white.data()), elements * 65025);
  }
}

}  // namespace
}  // namespace tightrope
