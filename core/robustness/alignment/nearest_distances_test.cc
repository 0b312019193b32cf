#include "core/robustness/alignment/nearest_distances.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Grey levels 0, 10 (class 0), 13, 51 (class 1), 200 (class 2, alone), and a class 3 without examples.
Misalignment OfFiveGreys(v1::Norm norm) {
  const Dataset data{.count = 5,
                     .channels = 1,
                     .height = 1,
                     .width = 1,
                     .pixels = {0, 10, 13, 51, 200},
                     .labels = {0, 0, 1, 1, 2},
                     .classes = 4};
  v1::Shard all;
  all.set_end(5);
  const auto result = MeasureMisalignment(data, {.distance = {.norm = norm}}, all, [](const auto&) { return true; });
  EXPECT_OK(result);
  return *result;
}

TEST(NearestDistancesTest, ByPairOfClassesOrOfAll) {
  const Misalignment greys = OfFiveGreys(v1::NORM_LINF);
  EXPECT_THAT(NearestDistances(greys, 0, 1), ElementsAre(3, 13));
  EXPECT_THAT(NearestDistances(greys, 1, 0), ElementsAre(3, 41));
  EXPECT_THAT(NearestDistances(greys, 1, 1), ElementsAre(38, 38));
  EXPECT_THAT(NearestDistances(greys, 2, {}), ElementsAre(149));
  EXPECT_THAT(NearestDistances(greys, {}, {}), ElementsAre(3, 3, 13, 41, 149));
  EXPECT_THAT(NearestDistances(greys, {}, 2), ElementsAre(149, 187, 190, 200)) << "never to itself";
  EXPECT_THAT(NearestDistances(greys, 2, 2), IsEmpty()) << "alone in its class";
  EXPECT_THAT(NearestDistances(greys, 0, 3), IsEmpty());
}

TEST(NearestDistancesTest, QuantilesAreDistancesThatOccur) {
  const std::vector<uint32_t> ascending = {3, 3, 13, 41, 149};
  EXPECT_EQ(Quantile(ascending, 0), 3u);
  EXPECT_EQ(Quantile(ascending, .4), 3u);
  EXPECT_EQ(Quantile(ascending, .41), 13u);
  EXPECT_EQ(Quantile(ascending, .5), 13u);
  EXPECT_EQ(Quantile(ascending, .8), 41u);
  EXPECT_EQ(Quantile(ascending, 1), 149u);
}

TEST(NearestDistancesTest, ABallIsClosed) {
  const std::vector<uint32_t> ascending = {3, 3, 51, 102};
  EXPECT_EQ(CountWithin(ascending, v1::NORM_LINF, 0), 0u);
  EXPECT_EQ(CountWithin(ascending, v1::NORM_LINF, 3 / 255.0), 2u);
  EXPECT_EQ(CountWithin(ascending, v1::NORM_LINF, .2), 3u);
  EXPECT_EQ(CountWithin(ascending, v1::NORM_LINF, .3999), 3u);
  EXPECT_EQ(CountWithin(ascending, v1::NORM_LINF, .4), 4u);
  EXPECT_EQ(CountWithin(ascending, v1::NORM_LINF, std::nan("")), 0u);
  EXPECT_EQ(CountWithin(ascending, v1::NORM_L0, 51), 3u);
  EXPECT_EQ(CountWithin({255 * 255, 255 * 255 * 4}, v1::NORM_L2, 1), 1u);
  EXPECT_EQ(CountWithin({255 * 255, 255 * 255 * 4}, v1::NORM_L2, 2), 2u);
}

TEST(NearestDistancesTest, AHistogramCountsEachDistanceOnce_AndTheLastBinHasItsUpperEdge) {
  const std::vector<uint32_t> ascending = {3, 3, 51, 102, 255};
  EXPECT_THAT(Histogram(ascending, v1::NORM_LINF, {0, .2, .4, 1}), ElementsAre(2, 1, 2));
  EXPECT_THAT(Histogram(ascending, v1::NORM_LINF, {0, .2, .4}), ElementsAre(2, 2));
  EXPECT_THAT(Histogram(ascending, v1::NORM_L0, {3, 51, 102}), ElementsAre(2, 2));
}

}  // namespace
}  // namespace tightrope
