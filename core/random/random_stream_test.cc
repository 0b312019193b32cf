#include "core/random/random_stream.h"

#include <Random123/philox.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAreArray;

std::vector<float> Uniform(const RandomStream& stream, RandomStream::At at, size_t n) {
  std::vector<float> values(n);
  stream.Uniform(at, absl::MakeSpan(values));
  return values;
}

std::vector<float> Normal(const RandomStream& stream, RandomStream::At at, size_t n) {
  std::vector<float> values(n);
  stream.Normal(at, absl::MakeSpan(values));
  return values;
}

// The published vectors of Random123's kat_vectors, philox4x32 10.
TEST(RandomStreamTest, TheGeneratorGivesItsPublishedVectors) {
  const auto draw = [](std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
    const philox4x32_ctr_t words = {{counter[0], counter[1], counter[2], counter[3]}};
    const philox4x32_key_t key_words = {{key[0], key[1]}};
    const philox4x32_ctr_t drawn = philox4x32(words, key_words);
    return std::vector<uint32_t>(drawn.v, drawn.v + 4);
  };
  EXPECT_THAT(draw({0, 0, 0, 0}, {0, 0}), ElementsAreArray({0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_THAT(draw({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
              ElementsAreArray({0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_THAT(draw({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
              ElementsAreArray({0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

// Computed apart, in Python: the key from hashlib, the words from a plain Philox. Results in every store depend on
// this: a change of these values is a change of every job's results.
TEST(RandomStreamTest, DrawsAreWhatTheyAlwaysWere) {
  const RandomStream stream(7, "abc", "attack");
  const RandomStream::At at{.example = 123, .restart = 2, .step = 1};
  EXPECT_THAT(Uniform(stream, at, 6), ElementsAreArray({0xc4c71fp-24f, 0xab6275p-24f, 0x3f5d3fp-24f, 0x7e5263p-24f,
                                                        0x91c099p-24f, 0x50dd6p-24f}));
  EXPECT_THAT(stream.Permutation(at, 8), ElementsAreArray({3u, 5u, 0u, 7u, 2u, 1u, 4u, 6u}));
}

TEST(RandomStreamTest, AnElementIsTheSameHoweverManyAreDrawn) {
  const RandomStream stream(1, "job", "test");
  const RandomStream::At at{.example = 9};
  const std::vector<float> uniform = Uniform(stream, at, 785);
  const std::vector<float> normal = Normal(stream, at, 785);
  for (const size_t n : {0, 1, 2, 3, 4, 5, 7, 784}) {
    EXPECT_EQ(Uniform(stream, at, n), std::vector<float>(uniform.begin(), uniform.begin() + n)) << n;
    EXPECT_EQ(Normal(stream, at, n), std::vector<float>(normal.begin(), normal.begin() + n)) << n;
  }
}

TEST(RandomStreamTest, EveryCoordinateGivesOtherDraws) {
  std::set<std::vector<float>> seen;
  for (const RandomStream& stream : {RandomStream(1, "job", "test"), RandomStream(2, "job", "test"),
                                     RandomStream(1, "bob", "test"), RandomStream(1, "job", "rest")}) {
    for (const RandomStream::At at : std::initializer_list<RandomStream::At>{
             {}, {.example = 1}, {.restart = 1}, {.step = 1}, {.example = 1, .restart = 1}}) {
      seen.insert(Uniform(stream, at, 4));
    }
  }
  EXPECT_EQ(seen.size(), 20u);
}

TEST(RandomStreamTest, UniformDrawsFillTheIntervalEvenly) {
  constexpr int kDraws = 1 << 20;
  const std::vector<float> values = Uniform(RandomStream(3, "job", "test"), {}, kDraws);
  std::array<int, 64> cells{};
  double sum = 0;
  double lag = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_GE(values[i], 0.0f);
    ASSERT_LT(values[i], 1.0f);
    ASSERT_EQ(values[i] * 0x1p24f, std::floor(values[i] * 0x1p24f));
    ++cells[static_cast<size_t>(values[i] * 64)];
    sum += values[i];
    if (i > 0) lag += (values[i] - 0.5) * (values[i - 1] - 0.5);
  }
  double chi_squared = 0;
  for (const int count : cells) chi_squared += std::pow(count - kDraws / 64.0, 2) / (kDraws / 64.0);
  // Five standard deviations each: chi squared of 63 degrees, the mean of 2^20 uniforms, and their lag-one product.
  EXPECT_NEAR(chi_squared, 63, 5 * std::sqrt(2.0 * 63));
  EXPECT_NEAR(sum / kDraws, 0.5, 5 / std::sqrt(12.0 * kDraws));
  EXPECT_NEAR(lag / kDraws, 0.0, 5 / (12.0 * std::sqrt(kDraws)));
}

TEST(RandomStreamTest, NormalDrawsHaveNormalMoments) {
  constexpr int kDraws = 1 << 20;
  const std::vector<float> values = Normal(RandomStream(4, "job", "test"), {}, kDraws);
  std::array<double, 5> moments{};
  int beyond_two = 0;
  for (const float value : values) {
    for (int k = 1; k <= 4; ++k) moments[k] += std::pow(value, k) / kDraws;
    beyond_two += std::abs(value) > 2;
  }
  const double sigma = 1 / std::sqrt(kDraws);
  EXPECT_NEAR(moments[1], 0, 5 * sigma);
  EXPECT_NEAR(moments[2], 1, 5 * sigma * std::sqrt(2.0));
  EXPECT_NEAR(moments[3], 0, 5 * sigma * std::sqrt(15.0));
  EXPECT_NEAR(moments[4], 3, 5 * sigma * std::sqrt(96.0));
  EXPECT_NEAR(beyond_two / static_cast<double>(kDraws), 0.0455003, 5 * sigma * std::sqrt(0.0455));
}

TEST(RandomStreamTest, APermutationHoldsEveryIndexOnce) {
  const RandomStream stream(5, "job", "shuffle");
  for (const uint32_t n : {0u, 1u, 2u, 1000u}) {
    std::vector<uint32_t> order = stream.Permutation({.step = 1}, n);
    std::sort(order.begin(), order.end());
    for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(order[i], i);
    EXPECT_EQ(order.size(), n);
  }
}

TEST(RandomStreamTest, EveryPermutationIsEquallyLikely) {
  const RandomStream stream(6, "job", "shuffle");
  constexpr int kDraws = 24000;
  std::map<std::vector<uint32_t>, int> counts;
  for (uint32_t i = 0; i < kDraws; ++i) ++counts[stream.Permutation({.step = i}, 4)];
  ASSERT_EQ(counts.size(), 24u);
  double chi_squared = 0;
  for (const auto& [order, count] : counts) chi_squared += std::pow(count - kDraws / 24.0, 2) / (kDraws / 24.0);
  EXPECT_LT(chi_squared, 23 + 5 * std::sqrt(2.0 * 23));
}

}  // namespace
}  // namespace tightrope
