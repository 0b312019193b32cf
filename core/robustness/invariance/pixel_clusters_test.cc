#include "core/robustness/invariance/pixel_clusters.h"

#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

// '.' is not marked, anything else is.
std::string Clusters(const std::vector<std::string>& rows, const ClusterOptions& options = {}) {
  std::vector<bool> marked;
  for (const std::string& row : rows) {
    for (const char c : row) marked.push_back(c != '.');
  }
  const auto clusters =
      PixelClusters(marked, static_cast<int64_t>(rows.size()), static_cast<int64_t>(rows[0].size()), options);
  std::string shown;
  for (size_t i = 0; i < clusters.size(); ++i) {
    shown += clusters[i] == -1 ? '*' : clusters[i] == 0 ? '.' : static_cast<char>('0' + clusters[i]);
    if ((i + 1) % rows[0].size() == 0) shown += '\n';
  }
  return shown;
}

TEST(PixelClustersTest, DensePixelsAreClustersAndLonelyOnesNoise) {
  EXPECT_EQ(Clusters({"xxx.......",  //
                      "xxx.......",  //
                      "......xx.x",  //
                      ".x....xxx.",  //
                      "..........",  //
                      "x........."}),
            "111.......\n"
            "111.......\n"
            "......22.2\n"
            ".1....222.\n"
            "..........\n"
            "*.........\n");
}

TEST(PixelClustersTest, NothingMarkedIsNoCluster) { EXPECT_EQ(Clusters({"...", "..."}), "...\n...\n"); }

TEST(PixelClustersTest, APixelNextToTwoClustersBelongsToTheFirst) {
  // The middle one has two neighbours on either side within the radius: it is no core of its own at 6.
  EXPECT_EQ(Clusters({"xxx.x.xxx", "xxx...xxx"}, {.radius = 2, .min_neighbours = 6}),
            "111.1.222\n"
            "111...222\n");
}

TEST(PixelClustersTest, ClustersDoNotGrowThroughPixelsThatAreNoCores) {
  const std::string chain = Clusters({"xxxxx.x.x.x"}, {.radius = 2, .min_neighbours = 4});
  EXPECT_EQ(chain, "11111.1.*.*\n");
}

TEST(PixelClustersTest, CoresThatAreNearAreTogetherAndNoiseIsNearToNoCore) {
  std::mt19937 generator(1);
  for (int round = 0; round < 50; ++round) {
    constexpr int64_t kSide = 12;
    std::vector<bool> marked(kSide * kSide);
    for (size_t i = 0; i < marked.size(); ++i) marked[i] = generator() % 100 < 30;
    const auto clusters = PixelClusters(marked, kSide, kSide, {});
    const auto near = [&](int64_t a, int64_t b) {
      const int64_t dy = a / kSide - b / kSide, dx = a % kSide - b % kSide;
      return marked[static_cast<size_t>(a)] && marked[static_cast<size_t>(b)] && dy * dy + dx * dx <= 4;
    };
    const auto core = [&](int64_t a) {
      int64_t count = 0;
      for (int64_t b = 0; b < kSide * kSide; ++b) count += near(a, b);
      return count >= 5;
    };
    for (int64_t a = 0; a < kSide * kSide; ++a) {
      EXPECT_EQ(clusters[static_cast<size_t>(a)] != 0, marked[static_cast<size_t>(a)]);
      if (!core(a)) continue;
      EXPECT_GT(clusters[static_cast<size_t>(a)], 0);
      for (int64_t b = 0; b < kSide * kSide; ++b) {
        if (!near(a, b)) continue;
        EXPECT_GT(clusters[static_cast<size_t>(b)], 0);
        if (core(b)) {
          EXPECT_EQ(clusters[static_cast<size_t>(a)], clusters[static_cast<size_t>(b)]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace tightrope
