#include "core/robustness/invariance/affine_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/robustness/invariance/invariance_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

// Blobs, which keep their mass under small transforms.
Dataset Blobs(uint64_t count, uint32_t height, uint32_t width, uint32_t classes, uint32_t seed) {
  Dataset data = RandomImages(count, 1, height, width, classes, 1, seed);
  std::mt19937 generator(seed);
  std::fill(data.pixels.begin(), data.pixels.end(), uint8_t{0});
  for (uint64_t i = 0; i < count; ++i) {
    const uint32_t top = 2 + generator() % (height - 8), left = 2 + generator() % (width - 8);
    for (uint32_t y = top; y < top + 3 + generator() % 3; ++y) {
      for (uint32_t x = left; x < left + 3 + generator() % 3; ++x) {
        data.pixels[(i * height + y) * width + x] = static_cast<uint8_t>(90 + generator() % 166);
      }
    }
  }
  return data;
}

// One transform of one image, pixel by pixel.
struct Moved {
  std::vector<float> values;  // darkened
  double kept = 0;
};
Moved Move(const Dataset& data, size_t image, const AffineDraw& draw, bool published) {
  std::vector<float> bits;
  for (const uint8_t pixel : ImageAt(data.pixels, image, data.pixels.size() / data.count))
    bits.push_back(pixel > 127.5);
  const AffineMap map = MapOf(draw, data.height, data.width, published);
  const auto there = BilinearTapsOf(map, data.height, data.width);
  const auto back = BilinearTapsOf(map.Inverse(), data.height, data.width);
  Moved moved = {.values = Interpolated(there, bits)};
  double before = 0, after = 0;
  for (const float value : bits) before += value;
  for (const float value : Interpolated(back, moved.values)) after += value;
  for (float& value : moved.values) value = static_cast<float>(Darkened(value, draw.darkening));
  moved.kept = after / before;
  return moved;
}

std::vector<std::optional<AffineCandidate>> BruteForce(const Dataset& training, const Dataset& sources,
                                                       const AffineSearchOptions& options, const RandomStream& stream,
                                                       uint32_t transforms) {
  std::vector<std::optional<AffineCandidate>> best(sources.count);
  const size_t elements = sources.pixels.size() / sources.count;
  for (uint32_t t = 0; t < transforms; ++t) {
    const AffineDraw draw = DrawAffine(stream, t, options.ranges);
    if (draw.darkening <= 0) continue;
    std::vector<Moved> all;
    for (size_t i = 0; i < training.count; ++i) all.push_back(Move(training, i, draw, options.published_form));
    for (size_t s = 0; s < sources.count; ++s) {
      const auto source = ImageAt(sources.pixels, s, elements);
      std::optional<AffineCandidate> found;
      double least = std::numeric_limits<double>::infinity();
      for (uint32_t i = 0; i < training.count; ++i) {
        uint32_t distance = 0;
        double score = 0;
        for (size_t e = 0; e < elements; ++e) {
          const bool white = source[e] > 127.5;
          distance += (all[i].values[e] > 0.5f) != white;
          score += double{all[i].values[e]} * all[i].values[e] - (white ? 2.0 * all[i].values[e] : 0.0);
        }
        const bool lost = !(all[i].kept > options.kept_mass), same = training.labels[i] == sources.labels[s];
        if (options.published_form) {
          score += (lost ? 1000 : 0) + (same ? 1000 : 0);
        } else {
          if (lost || same) continue;
          score = distance;
        }
        if (score >= least) continue;
        least = score;
        found = {.training_index = i, .transform = t, .distance = distance, .draw = draw};
      }
      if (found && (!best[s] || found->distance < best[s]->distance)) best[s] = found;
    }
  }
  return best;
}

void ExpectSame(const std::vector<std::optional<AffineCandidate>>& found,
                const std::vector<std::optional<AffineCandidate>>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].has_value(), expected[i].has_value()) << i;
    if (!found[i]) continue;
    EXPECT_EQ(found[i]->training_index, expected[i]->training_index) << i;
    EXPECT_EQ(found[i]->transform, expected[i]->transform) << i;
    EXPECT_EQ(found[i]->distance, expected[i]->distance) << i;
  }
}

TEST(AffineSearchTest, FindsWhatALoopOverEveryTransformImageAndPixelFinds) {
  for (const uint32_t seed : {1u, 2u, 3u}) {
    const Dataset training = Blobs(150, 13, 12, 3, seed), sources = Blobs(8, 13, 12, 3, seed + 50);
    const RandomStream stream(seed, "digest", "transforms");
    const AffineSearchOptions options = {.ranges = {.shift = 2}};
    const auto bits = BitImages::Create(training);
    ASSERT_OK(bits);
    auto search = AffineSearch::Create(*bits, sources, 0, sources.count, options, stream);
    ASSERT_OK(search);
    search->Run(12);
    ExpectSame(search->best(), BruteForce(training, sources, options, stream, 12));
  }
}

TEST(AffineSearchTest, ThePublishedFormChoosesByItsScoreAndReportsBits) {
  const Dataset training = Blobs(150, 13, 12, 3, 4), sources = Blobs(8, 13, 12, 3, 54);
  const RandomStream stream(4, "digest", "transforms");
  const AffineSearchOptions options = {.ranges = {.shift = 2, .least_darkening = -0.25}, .published_form = true};
  const auto bits = BitImages::Create(training);
  ASSERT_OK(bits);
  auto search = AffineSearch::Create(*bits, sources, 0, sources.count, options, stream);
  ASSERT_OK(search);
  search->Run(12);
  ExpectSame(search->best(), BruteForce(training, sources, options, stream, 12));
}

TEST(AffineSearchTest, MoreThanOneChunkOfImagesAndAnySplitOfTheSourcesGiveTheSame) {
  const Dataset training = Blobs(1100, 12, 12, 3, 5), sources = Blobs(7, 12, 12, 3, 55);
  const RandomStream stream(5, "digest", "transforms");
  const auto bits = BitImages::Create(training);
  ASSERT_OK(bits);
  for (const bool published : {false, true}) {
    const AffineSearchOptions options = {.ranges = {.shift = 2}, .published_form = published};
    auto whole = AffineSearch::Create(*bits, sources, 0, 7, options, stream);
    ASSERT_OK(whole);
    whole->Run(3);
    whole->Run(2);  // nothing more to try
    whole->Run(6);
    if (!published) ExpectSame(whole->best(), BruteForce(training, sources, options, stream, 6));
    std::vector<std::optional<AffineCandidate>> parts;
    for (const auto& [begin, end] : std::vector<std::pair<uint64_t, uint64_t>>{{0, 3}, {3, 3}, {3, 4}, {4, 7}}) {
      auto part = AffineSearch::Create(*bits, sources, begin, end, options, stream);
      ASSERT_OK(part);
      part->Run(6);
      parts.insert(parts.end(), part->best().begin(), part->best().end());
    }
    ExpectSame(parts, whole->best());
  }
}

TEST(AffineSearchTest, WhereEveryImageIsExcludedNothingIsFound) {
  Dataset training = Blobs(20, 12, 12, 2, 6);
  std::fill(training.labels.begin(), training.labels.end(), uint8_t{1});
  Dataset sources = training;
  const RandomStream stream(6, "digest", "transforms");
  const auto bits = BitImages::Create(training);
  ASSERT_OK(bits);
  auto own_class_only = AffineSearch::Create(*bits, sources, 0, 2, {}, stream);
  own_class_only->Run(3);
  EXPECT_FALSE(own_class_only->best()[0].has_value());
  std::fill(training.labels.begin(), training.labels.end(), uint8_t{0});
  auto none_keeps_its_mass = AffineSearch::Create(*bits, sources, 0, 2, {.kept_mass = 100}, stream);
  none_keeps_its_mass->Run(3);
  EXPECT_FALSE(none_keeps_its_mass->best()[1].has_value());
}

TEST(AffineSearchTest, WhatCannotBeSearchedIsRefused) {
  const Dataset training = Blobs(20, 12, 12, 2, 7);
  const RandomStream stream(7, "digest", "transforms");
  const auto bits = BitImages::Create(training);
  ASSERT_OK(bits);
  const auto refused = [&](const Dataset& sources, uint64_t begin, uint64_t end, const AffineSearchOptions& options,
                           const std::string& why) {
    EXPECT_THAT(AffineSearch::Create(*bits, sources, begin, end, options, stream),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(why)));
  };
  refused(Blobs(2, 12, 13, 2, 1), 0, 1, {}, "1×12×13");
  refused(training, 3, 2, {}, "[3, 2)");
  refused(training, 3, 21, {}, "[3, 21)");
  refused(training, 0, 1, {.ranges = {.scale = 1}}, "inside out");
  refused(training, 0, 1, {.ranges = {.shift = std::nan("")}}, "nan");
  refused(training, 0, 1, {.ranges = {.least_darkening = 5}}, "from 5 to 2");
  refused(training, 0, 1, {.ranges = {.least_darkening = 0}}, "above 0");
  EXPECT_THAT(BitImages::Create(RandomImages(2, 3, 4, 4, 2, 1, 1)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one channel")));
  EXPECT_THAT(BitImages::Create(Dataset()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least one")));
}

}  // namespace
}  // namespace tightrope
