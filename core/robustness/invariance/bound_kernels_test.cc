#include "core/robustness/invariance/bound_kernels.h"

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(BoundKernelsTest, ProjectionsAreInnerProducts) {
  std::mt19937 generator(2);
  std::vector<double> rows(4 * 24), basis(8 * 24), out(4 * 8);
  for (double& value : rows) value = static_cast<double>(generator() % 511) - 255;
  for (double& value : basis) value = static_cast<double>(generator() % 9) - 4;  // whole numbers: no rounding
  Projections(24, rows.data(), 8, basis.data(), out.data());
  for (size_t r = 0; r < 4; ++r) {
    for (size_t j = 0; j < 8; ++j) {
      double expected = 0;
      for (size_t i = 0; i < 24; ++i) expected += rows[r * 24 + i] * basis[j * 24 + i];
      EXPECT_EQ(out[r * 8 + j], expected);
    }
  }
}

struct Scene {
  static constexpr int64_t kDimensions = 7, kCoarse = 3;
  std::vector<float> candidates = std::vector<float>(kDimensions * kPanelRows);
  std::vector<float> queries = std::vector<float>(kDimensions * kPanelQueries);
  std::vector<float> candidate_offsets = std::vector<float>(kPanelRows);
  std::vector<float> query_offsets = std::vector<float>(kPanelQueries);
  float closeness[kPanelQueries][kPanelRows];
  uint32_t near[kPanelQueries];

  explicit Scene(uint32_t seed) {
    std::mt19937 generator(seed);
    for (std::vector<float>* values : {&candidates, &queries, &candidate_offsets, &query_offsets}) {
      for (float& value : *values) value = static_cast<float>(generator() % 17) - 8;  // whole numbers: no rounding
    }
    candidate_offsets[31] = query_offsets[7] = std::numeric_limits<float>::infinity();
  }
  bool Near(float least) {
    return NearPanel(kDimensions, kCoarse,
                     {candidates.data(), candidate_offsets.data(), queries.data(), query_offsets.data()}, least,
                     closeness, near);
  }
  // The sum over the dimensions [begin, end).
  float Product(int64_t q, int64_t c, int64_t begin, int64_t end) const {
    float sum = 0;
    for (int64_t d = begin; d < end; ++d) {
      sum += candidates[static_cast<size_t>(d * kPanelRows + c)] * queries[static_cast<size_t>(d * kPanelQueries + q)];
    }
    return sum;
  }
  float Offset(int64_t q, int64_t c) const {
    return -candidate_offsets[static_cast<size_t>(c)] - query_offsets[static_cast<size_t>(q)];
  }
};

TEST(BoundKernelsTest, NearPanelMarksWhatReachesTheThresholdAndNeverWhatIsFilledUp) {
  for (const float least : {std::numeric_limits<float>::lowest(), -20.0f, 3.0f, 90.0f}) {
    Scene scene(3);
    ASSERT_TRUE(scene.Near(least));
    for (int64_t q = 0; q < kPanelQueries; ++q) {
      for (int64_t c = 0; c < kPanelRows; ++c) {
        const float expected = scene.Offset(q, c) + scene.Product(q, c, 0, 3) + scene.Product(q, c, 4, 7);
        EXPECT_EQ(scene.closeness[q][c], expected);
        EXPECT_EQ(scene.near[q] >> c & 1, expected >= least ? 1u : 0u) << q << ", " << c;
      }
    }
    EXPECT_EQ(scene.near[7], 0u);
  }
}

TEST(BoundKernelsTest, APanelIsGivenUpExactlyWhereItsCoarseNumbersSayThatNothingIsNear) {
  for (uint32_t seed = 0; seed < 20; ++seed) {
    Scene scene(seed);
    float nearest = std::numeric_limits<float>::lowest();
    for (int64_t q = 0; q < kPanelQueries; ++q) {
      for (int64_t c = 0; c < kPanelRows; ++c) {
        nearest = std::max(nearest, scene.Offset(q, c) + scene.Product(q, c, 0, 4));
      }
    }
    EXPECT_TRUE(scene.Near(nearest));
    EXPECT_FALSE(scene.Near(nearest + 1));
  }
}

}  // namespace
}  // namespace tightrope
