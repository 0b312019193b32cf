#include "core/robustness/alignment/distance_rows.h"

#include <cstdlib>
#include <numeric>
#include <random>
#include <string>

#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

constexpr v1::Norm kNorms[] = {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1, v1::NORM_L0};

Dataset Images(uint64_t count, uint32_t pixels) {
  return {.count = count,
          .channels = 1,
          .height = 1,
          .width = pixels,
          .pixels = std::vector<uint8_t>(count * pixels),
          .labels = std::vector<uint8_t>(count),
          .classes = 1};
}

// Noise, black and white, sparse strokes, greys that differ by little, and flat images.
Dataset MixedImages(uint64_t count, uint32_t pixels) {
  Dataset data = Images(count, pixels);
  std::mt19937 random(pixels);
  for (uint64_t i = 0; i < count; ++i) {
    for (uint32_t k = 0; k < pixels; ++k) {
      const auto value = static_cast<uint8_t>(random());
      uint8_t& pixel = data.pixels[i * pixels + k];
      switch (i % 5) {
        case 0:
          pixel = value;
          break;
        case 1:
          pixel = value < 128 ? 0 : 255;
          break;
        case 2:
          pixel = value < 200 ? 0 : value;
          break;
        case 3:
          pixel = static_cast<uint8_t>(126 + value % 4);
          break;
        default:
          pixel = static_cast<uint8_t>(i % 2 * 255);
      }
    }
  }
  return data;
}

std::vector<uint32_t> InOrder(const Dataset& data) {
  std::vector<uint32_t> order(data.count);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

uint32_t Oracle(const Dataset& data, const PixelDistance& distance, uint64_t a, uint64_t b) {
  uint64_t result = 0;
  for (uint32_t k = 0; k < data.width; ++k) {
    const auto difference =
        static_cast<uint64_t>(std::abs(data.pixels[a * data.width + k] - data.pixels[b * data.width + k]));
    switch (distance.norm) {
      case v1::NORM_LINF:
        result = std::max(result, difference);
        break;
      case v1::NORM_L2:
        result += difference * difference;
        break;
      case v1::NORM_L1:
        result += difference;
        break;
      default:
        result += difference > distance.threshold;
    }
  }
  return static_cast<uint32_t>(result);
}

std::string Name(const PixelDistance& distance, InstructionSet instructions) {
  return v1::Norm_Name(distance.norm) + " threshold " + std::to_string(distance.threshold) + ", instruction set " +
         std::to_string(static_cast<int>(instructions));
}

TEST(DistanceRowsTest, EveryInstructionSetGivesTheNumbersOfAScalarLoop) {
  // 16,320 is where counts in bytes are added up.
  for (const uint32_t pixels : {1u, 5u, 63u, 64u, 65u, 784u, 3072u, 16'320u, 16'321u, 40'000u}) {
    const uint64_t count = pixels > 10'000 ? 11 : 37;
    const Dataset data = MixedImages(count, pixels);
    const std::vector<uint32_t> all = InOrder(data);
    std::vector<PixelDistance> distances = {{v1::NORM_LINF}, {v1::NORM_L2}, {v1::NORM_L1}};
    for (const int threshold : {0, 1, 2, 25, 127, 128, 254, 255}) {
      distances.push_back({v1::NORM_L0, static_cast<uint8_t>(threshold)});
    }
    for (const PixelDistance& distance : distances) {
      std::vector<uint32_t> wanted;
      for (uint64_t a = 0; a < count; ++a) {
        for (uint64_t b = 0; b < count; ++b) wanted.push_back(Oracle(data, distance, a, b));
      }
      for (const InstructionSet instructions : UsableInstructionSets()) {
        const auto rows = DistanceRows::Create(data, all, distance, instructions);
        ASSERT_OK(rows);
        std::vector<uint32_t> computed(count * count);
        rows->Compute(all, 0, rows->count(), absl::MakeSpan(computed));
        ASSERT_EQ(computed, wanted) << Name(distance, instructions) << ", pixels " << pixels;
      }
    }
  }
}

TEST(DistanceRowsTest, TheLargestImagesDoNotOverflow) {
  constexpr uint32_t kPixels = DistanceRows::kMaxPixelsPerImage;
  Dataset data = Images(3, kPixels);  // black, white, and pixels that make the sum of products largest
  std::fill_n(data.pixels.begin() + kPixels, kPixels, 255);
  std::fill_n(data.pixels.begin() + 2 * kPixels, kPixels, 254);
  const std::vector<uint32_t> all = InOrder(data);
  for (const InstructionSet instructions : UsableInstructionSets()) {
    for (const v1::Norm norm : kNorms) {
      const PixelDistance distance = {.norm = norm};
      const auto rows = DistanceRows::Create(data, all, distance, instructions);
      ASSERT_OK(rows);
      std::vector<uint32_t> computed(9);
      rows->Compute(all, 0, 3, absl::MakeSpan(computed));
      for (uint32_t a = 0; a < 3; ++a) {
        for (uint32_t b = 0; b < 3; ++b) {
          EXPECT_EQ(computed[a * 3 + b], Oracle(data, distance, a, b)) << Name(distance, instructions);
        }
      }
    }
  }
  EXPECT_THAT(DistanceRows::Create(Images(1, kPixels + 1), {0}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("images of 1 to 65793 values: got 65794")));
}

TEST(DistanceRowsTest, PartsOfTheSetInAnotherOrderAreTheSameDistances) {
  const Dataset data = MixedImages(60, 100);
  const std::vector<uint32_t> order = {59, 3, 3, 17, 0, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27};
  for (const v1::Norm norm : kNorms) {
    const PixelDistance distance = {.norm = norm};
    const auto rows = DistanceRows::Create(data, order, distance);
    ASSERT_OK(rows);
    ASSERT_EQ(rows->count(), order.size());
    const std::vector<uint32_t> anchors = {20, 0, 0, 5};
    for (uint32_t begin = 0; begin <= order.size(); begin += 3) {
      for (uint32_t end = begin; end <= order.size(); ++end) {
        std::vector<uint32_t> computed(anchors.size() * (end - begin));
        rows->Compute(anchors, begin, end, absl::MakeSpan(computed));
        for (size_t r = 0; r < anchors.size(); ++r) {
          for (uint32_t i = begin; i < end; ++i) {
            ASSERT_EQ(computed[r * (end - begin) + i - begin], Oracle(data, distance, order[anchors[r]], order[i]));
          }
        }
      }
    }
  }
}

TEST(DistanceRowsTest, CopiesAndMovedRowsKeepTheirNumbers) {
  const Dataset data = MixedImages(7, 65);
  auto rows = DistanceRows::Create(data, InOrder(data), {.norm = v1::NORM_L2});
  ASSERT_OK(rows);
  const auto distances = [&](const DistanceRows& of) {
    std::vector<uint32_t> computed(7);
    of.Compute({2}, 0, 7, absl::MakeSpan(computed));
    return computed;
  };
  const std::vector<uint32_t> wanted = distances(*rows);
  const DistanceRows copy = *rows;
  const DistanceRows moved = *std::move(rows);
  EXPECT_EQ(distances(copy), wanted);
  EXPECT_EQ(distances(moved), wanted);
}

TEST(DistanceRowsTest, WhatIsNoDistanceOfPixelsIsRefused) {
  const Dataset data = Images(2, 4);
  const auto refused = [&](const PixelDistance& distance, const std::string& message) {
    EXPECT_THAT(DistanceRows::Create(data, {0, 1}, distance),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused({.norm = v1::NORM_SPATIAL}, "give linf, l2, l1 or l0");
  refused({.norm = v1::NORM_UNSPECIFIED}, "give linf, l2, l1 or l0");
  refused({.norm = v1::NORM_L1, .threshold = 3}, "only l0 counts differences above a threshold, give none: 3");
  Dataset truncated = data;
  truncated.pixels.pop_back();
  EXPECT_THAT(DistanceRows::Create(truncated, {0}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got 7, want 2 x 4")));
  EXPECT_THAT(DistanceRows::Create(Images(1, 0), {0}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got 0")));
}

TEST(DistanceRowsTest, ARadiusWrittenInGreyLevelsContainsThem) {
  for (int k = 0; k <= 255; ++k) {
    EXPECT_LE(DistanceOfModelInputs(v1::NORM_LINF, static_cast<uint32_t>(k)), k / 255.0);
    EXPECT_EQ(DistanceOfModelInputs(v1::NORM_L2, static_cast<uint32_t>(k * k)), k / 255.0);
  }
  EXPECT_LE(DistanceOfModelInputs(v1::NORM_LINF, 102), 0.4);
  EXPECT_GT(DistanceOfModelInputs(v1::NORM_LINF, 77), 0.3);
  EXPECT_EQ(DistanceOfModelInputs(v1::NORM_L1, 510), 2);
  EXPECT_EQ(DistanceOfModelInputs(v1::NORM_L0, 25), 25);
}

}  // namespace
}  // namespace tightrope
