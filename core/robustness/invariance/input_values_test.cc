#include "core/robustness/invariance/input_values.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;

TEST(InputValuesTest, APixelIsDividedInFloat32) {
  const std::vector<uint8_t> pixels = {0, 1, 128, 255};
  EXPECT_THAT(InputValues(pixels), ElementsAre(0.0f, 1.0f / 255.0f, 128.0f / 255.0f, 1.0f));
}

TEST(InputValuesTest, DistancesAreOfTheStoredValuesWithNoTolerance) {
  const std::vector<float> from = {0, 0.5f, 1, 0.25f}, to = {0.25f, 0.5f, 0, 0.25f};
  const v1::ExampleRecord::Nearest distances = InputDistances(from, to);
  EXPECT_EQ(distances.linf(), 1);
  EXPECT_EQ(distances.l2(), std::sqrt(1.0625));
  EXPECT_EQ(distances.l1(), 1.25);
  EXPECT_EQ(distances.l0(), 2);
  // The last bit of a float32 counts.
  const std::vector<float> next = {0.1f}, after = {std::nextafter(0.1f, 1.0f)};
  EXPECT_EQ(InputDistances(next, after).linf(), double{after[0]} - double{next[0]});
  EXPECT_EQ(InputDistances(next, after).l0(), 1);
  EXPECT_EQ(InputDistances(next, next).l0(), 0);
}

}  // namespace
}  // namespace tightrope
