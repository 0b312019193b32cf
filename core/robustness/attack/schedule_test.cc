#include <cstdint>
#include <vector>

#include "core/robustness/attack/apgd.h"
#include "core/robustness/attack/square_schedule.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

constexpr uint64_t kHalvings[] = {11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001};  // the first steps of half the share
constexpr uint64_t kRescaledHalvings[] = {6, 26, 101, 251, 501, 1001, 2001, 3001, 4001};

TEST(ApgdScheduleTest, CheckpointsAreThoseOfTheAuthorsCode) {
  EXPECT_THAT(ApgdCheckpoints(100), ElementsAre(22, 41, 57, 70, 80, 87, 93, 99));
  EXPECT_THAT(ApgdCheckpoints(200), ElementsAre(44, 82, 114, 140, 160, 174, 186, 198));
  EXPECT_THAT(ApgdCheckpoints(1000), ElementsAre(220, 410, 570, 700, 800, 870, 930, 990));
}

TEST(ApgdScheduleTest, FewStepsAreRoundedAsTheAuthorsCodeDoesAndNotAsThePaper) {
  EXPECT_THAT(ApgdCheckpoints(50), ElementsAre(11, 21, 30, 38, 45));
  EXPECT_THAT(ApgdCheckpoints(20), ElementsAre(4, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20));
  EXPECT_THAT(ApgdCheckpoints(10), ElementsAre(2, 3, 4, 5, 6, 7, 8, 9, 10));
  EXPECT_THAT(ApgdCheckpoints(1), ElementsAre(1));
}

TEST(SquareScheduleTest, SidesAreThoseOfTheAuthorsCode) {
  const auto sides = [](int64_t image) {
    std::vector<int64_t> found;
    for (const uint64_t step : {0, 11, 51, 201, 501, 1001, 2001, 4001}) {
      found.push_back(SquareSide(SquareShare(0.8, step, 10000, /*rescale=*/false), image, image));
    }
    return found;
  };
  EXPECT_THAT(sides(28), ElementsAre(25, 18, 13, 9, 6, 4, 3, 2));
  EXPECT_THAT(sides(32), ElementsAre(29, 20, 14, 10, 7, 5, 4, 3));
}

TEST(SquareScheduleTest, TheShareIsHalvedAfterTheNamedStepsOnly) {
  for (const bool rescale : {false, true}) {
    const uint64_t steps = rescale ? 5000 : 10000;
    std::vector<uint64_t> halvings;
    for (uint64_t step = 1; step < steps; ++step) {
      const double before = SquareShare(0.8, step - 1, steps, rescale);
      const double now = SquareShare(0.8, step, steps, rescale);
      if (now == before) continue;
      EXPECT_EQ(now, before / 2) << step;
      halvings.push_back(step);
    }
    EXPECT_THAT(halvings, ElementsAreArray(rescale ? kRescaledHalvings : kHalvings));
  }
}

TEST(SquareScheduleTest, WithoutRescalingFewerQueriesEndWithLargeSquares) {
  EXPECT_EQ(SquareSide(SquareShare(0.8, 4999, 5000, /*rescale=*/false), 28, 28), 2);
  EXPECT_EQ(SquareSide(SquareShare(0.8, 4999, 5000, /*rescale=*/true), 28, 28), 1);
}

TEST(SquareScheduleTest, ASquareFitsItsImageAndIsNeverEmpty) {
  EXPECT_EQ(SquareSide(1, 9, 4), 4);
  EXPECT_EQ(SquareSide(1, 4, 9), 4);
  EXPECT_EQ(SquareSide(1e-9, 28, 28), 1);
  EXPECT_EQ(SquareSide(1, 1, 1), 1);
}

}  // namespace
}  // namespace tightrope
