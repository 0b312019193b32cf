#include "core/robustness/invariance/principal_directions.h"

#include <cmath>

#include "core/robustness/invariance/invariance_test_support.h"
#include "core/robustness/invariance/pixel_kernels.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

struct Numbers {
  std::vector<float> values;
  std::vector<double> norms;
};

Numbers NumbersOf(const PrincipalDirections& directions, const Dataset& data) {
  Numbers numbers = {std::vector<float>(data.count * static_cast<size_t>(directions.dimensions())),
                     std::vector<double>(data.count)};
  directions.Coordinates(data.pixels.data(), static_cast<int64_t>(data.count), absl::MakeSpan(numbers.values),
                         absl::MakeSpan(numbers.norms));
  return numbers;
}

// The largest share of a squared distance that the numbers see, at most 1 but for rounding; for the coarse ones, too.
double LargestShare(const Dataset& data, int64_t count) {
  const PrincipalDirections directions(data, count, count / 4);
  const Numbers numbers = NumbersOf(directions, data);
  const size_t dimensions = static_cast<size_t>(directions.dimensions()), elements = data.pixels.size() / data.count;
  const size_t coarse = static_cast<size_t>(directions.coarse());
  double largest = 0;
  for (size_t a = 0; a < data.count; ++a) {
    double norm = 0;
    for (size_t d = 0; d < dimensions; ++d) {
      norm += d == coarse ? 0 : std::pow(double{numbers.values[a * dimensions + d]}, 2);
    }
    EXPECT_NEAR(norm, numbers.norms[a], 1e-5 * numbers.norms[a]);
    for (size_t b = 0; b < a; ++b) {
      const double whole = static_cast<double>(SquaredDistance(
          static_cast<int64_t>(elements), data.pixels.data() + a * elements, data.pixels.data() + b * elements));
      const double slack = 1e-6 * (numbers.norms[a] + numbers.norms[b]);
      double seen = 0;
      for (size_t d = 0; d < dimensions; ++d) {
        const double part =
            std::pow(double{numbers.values[a * dimensions + d]} - numbers.values[b * dimensions + d], 2);
        if (d == coarse) {
          EXPECT_LE(seen + part, whole + slack);
        } else {
          seen += part;
        }
      }
      EXPECT_LE(seen, whole + slack);
      if (whole > 0) largest = std::max(largest, seen / whole);
    }
  }
  return largest;
}

TEST(PrincipalDirectionsTest, DistancesInThemNeverExceedDistancesBetweenImages) {
  EXPECT_GT(LargestShare(RandomImages(60, 1, 9, 7, 3, 1, 1), 32), 0.3);
  EXPECT_GT(LargestShare(RandomImages(60, 3, 4, 5, 3, 64, 2), 8), 0.1);
}

TEST(PrincipalDirectionsTest, AsManyDirectionsAsPixelsLoseNothing) {
  EXPECT_NEAR(LargestShare(RandomImages(50, 1, 2, 4, 3, 1, 3), 8), 1, 1e-5);
}

TEST(PrincipalDirectionsTest, MoreDirectionsThanTheImagesSpanAreNoTrouble) {
  EXPECT_NEAR(LargestShare(RandomImages(50, 1, 1, 3, 3, 1, 4), 32), 1, 1e-5);
  Dataset alike = RandomImages(5, 1, 4, 4, 2, 1, 5);
  for (size_t i = 16; i < alike.pixels.size(); ++i) alike.pixels[i] = alike.pixels[i - 16];
  EXPECT_EQ(LargestShare(alike, 32), 0);
}

TEST(PrincipalDirectionsTest, OneImageMoreOrLessAtATimeGivesTheSameNumbers) {
  const Dataset data = RandomImages(11, 1, 5, 5, 3, 1, 6);
  const PrincipalDirections directions(data, 8, 4);
  const Numbers all = NumbersOf(directions, data);
  for (size_t i = 0; i < data.count; ++i) {
    std::vector<float> row(static_cast<size_t>(directions.dimensions()));
    double norm = 0;
    directions.Coordinates(data.pixels.data() + i * 25, 1, absl::MakeSpan(row), absl::MakeSpan(&norm, 1));
    EXPECT_EQ(norm, all.norms[i]);
    for (size_t d = 0; d < row.size(); ++d) EXPECT_EQ(row[d], all.values[i * row.size() + d]);
  }
}

TEST(PrincipalDirectionsTest, OnDigitsTheySeeMostOfTheDistance) {
  TIGHTROPE_NEEDS_SHARED("data/mnist");
  Dataset digits = Mnist(v1::SPLIT_TEST);
  digits.count = 200;
  digits.pixels.resize(200 * 784);
  digits.labels.resize(200);
  EXPECT_GT(LargestShare(digits, 32), 0.9);
}

}  // namespace
}  // namespace tightrope
