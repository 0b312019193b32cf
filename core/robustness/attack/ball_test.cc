#include "core/robustness/attack/ball.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/robustness/attack/toy_dataset.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

constexpr double kRadii[] = {0, 1e-3, 8.0 / 255, 0.1, 0.3, 0.5, 1};

absl::Span<const float> Values(const torch::Tensor& tensor) {
  return {tensor.data_ptr<float>(), size_t(tensor.numel())};
}

absl::Span<const float> Row(const torch::Tensor& tensor, int64_t row) {
  const int64_t elements = tensor.numel() / tensor.size(0);
  return {tensor.data_ptr<float>() + row * elements, static_cast<size_t>(elements)};
}

torch::Tensor Uniform(torch::IntArrayRef shape, uint32_t ordinal, double low, double high) {
  torch::Tensor tensor = torch::empty(shape, torch::kFloat32);
  RandomStream(1, "ball", "test")
      .Uniform({.example = ordinal}, absl::MakeSpan(tensor.data_ptr<float>(), tensor.numel()));
  return tensor.mul_(high - low).add_(low);
}

// As data sets have them: multiples of 1/255, 0 and 1 among them.
torch::Tensor Pixels(torch::IntArrayRef shape, uint32_t ordinal) {
  return Uniform(shape, ordinal, -20, 275).clamp_(0, 255).round_().div_(255);
}

torch::Tensor Radii(int64_t rows, double epsilon) { return torch::full({rows}, epsilon, torch::kFloat64); }

torch::Tensor Steps(int64_t rows, double step) { return torch::full({rows, 1, 1, 1}, step); }

std::vector<uint32_t> Examples(int64_t rows) {
  std::vector<uint32_t> examples(rows);
  std::iota(examples.begin(), examples.end(), 0);
  return examples;
}

void ExpectLinfFeasible(const torch::Tensor& centers, const torch::Tensor& points, double epsilon) {
  const absl::Span<const float> from = Values(centers);
  const absl::Span<const float> to = Values(points);
  for (size_t i = 0; i < from.size(); ++i) {
    ASSERT_LE(std::abs(double{to[i]} - double{from[i]}), epsilon) << from[i] << " → " << to[i];
    ASSERT_LE(double{std::abs(to[i] - from[i])}, epsilon) << from[i] << " → " << to[i];
    ASSERT_GE(to[i], 0.0f);
    ASSERT_LE(to[i], 1.0f);
  }
}

TEST(BallTest, LinfProjectionIsFeasibleWithNoTolerance) {
  const torch::Tensor centers = Pixels({40, 1, 28, 28}, 0);
  for (const double epsilon : kRadii) {
    torch::Tensor points = Uniform({40, 1, 28, 28}, 1, -0.5, 1.5);
    const Ball ball(v1::NORM_LINF, centers, Radii(40, epsilon));
    ball.Project(points);
    ExpectLinfFeasible(centers, points, epsilon);
    ASSERT_EQ(ball.MakeFeasible(points).numel(), 0);
  }
}

TEST(BallTest, LinfProjectionAgreesWithBisection) {
  const torch::Tensor centers = Pixels({8, 1, 28, 28}, 2);
  const torch::Tensor outside = Uniform({8, 1, 28, 28}, 3, -0.5, 1.5);
  for (const double epsilon : kRadii) {
    torch::Tensor points = outside.clone();
    Ball(v1::NORM_LINF, centers, Radii(8, epsilon)).Project(points);
    for (int64_t i = 0; i < points.numel(); ++i) {
      const double center = Values(centers)[i];
      const double wanted = Values(outside)[i];
      double low = 0;  // the largest share of the way from the center that is feasible
      double high = 1;
      for (int round = 0; round < 60; ++round) {
        const double share = (low + high) / 2;
        const double point = center + share * (wanted - center);
        (std::abs(point - center) <= epsilon && point >= 0 && point <= 1 ? low : high) = share;
      }
      ASSERT_NEAR(Values(points)[i], center + low * (wanted - center), 1.2e-7);
    }
  }
}

TEST(BallTest, L2ProjectionAgreesWithBisection) {
  const torch::Tensor centers = Pixels({8, 1, 28, 28}, 4);
  const torch::Tensor outside = Uniform({8, 1, 28, 28}, 5, -0.5, 1.5);
  for (const double epsilon : {0.0, 0.05, 0.5, 2.0, 28.0}) {
    torch::Tensor points = outside.clone();
    Ball(v1::NORM_L2, centers, Radii(8, epsilon)).Project(points);
    for (int64_t row = 0; row < 8; ++row) {
      const absl::Span<const float> center = Row(centers, row);
      const absl::Span<const float> wanted = Row(outside, row);
      double low = 0;
      double high = 1;
      for (int round = 0; round < 60; ++round) {
        const double share = (low + high) / 2;
        double squares = 0;
        for (size_t i = 0; i < center.size(); ++i) squares += std::pow(share * (double{wanted[i]} - center[i]), 2);
        (std::sqrt(squares) <= epsilon ? low : high) = share;
      }
      for (size_t i = 0; i < center.size(); ++i) {
        const double point = std::clamp(center[i] + low * (double{wanted[i]} - center[i]), 0.0, 1.0);
        ASSERT_NEAR(Row(points, row)[i], point, 2e-6);
      }
    }
  }
}

TEST(BallTest, L2PointsAreFeasibleWithNoToleranceOnceMadeSo) {
  const torch::Tensor centers = Pixels({40, 1, 28, 28}, 6);
  for (const double epsilon : {0.0, 1e-6, 1e-3, 0.1, 0.5, 2.0, 5.0}) {
    for (const bool projected : {true, false}) {
      torch::Tensor points = Uniform({40, 1, 28, 28}, 7, 0, 1);
      const Ball ball(v1::NORM_L2, centers, Radii(40, epsilon));
      if (projected) ball.Project(points);
      ball.MakeFeasible(points);
      for (int64_t row = 0; row < 40; ++row) {
        ASSERT_LE(Distance(v1::NORM_L2, Row(centers, row), Row(points, row)), epsilon);
      }
      EXPECT_GE(points.min().item<float>(), 0.0f);
      EXPECT_LE(points.max().item<float>(), 1.0f);
    }
  }
}

TEST(BallTest, OnlyRowsOutsideAreMadeFeasible) {
  const torch::Tensor centers = torch::full({3, 1, 4, 4}, 0.5f);
  torch::Tensor points = centers.clone();
  points[0] += 0.01f;
  points[1] += 0.2f;  // at l2 distance 0.8
  const torch::Tensor before = points.clone();
  const torch::Tensor moved = Ball(v1::NORM_L2, centers, Radii(3, 0.5)).MakeFeasible(points);
  ASSERT_EQ(moved.numel(), 1);
  EXPECT_EQ(moved.item<int64_t>(), 1);
  EXPECT_TRUE(torch::equal(points[0], before[0]));
  EXPECT_TRUE(torch::equal(points[2], before[2]));
  EXPECT_LE(Distance(v1::NORM_L2, Row(centers, 1), Row(points, 1)), 0.5);
  EXPECT_GT(Distance(v1::NORM_L2, Row(centers, 1), Row(points, 1)), 0.49);
}

TEST(BallTest, EachRowHasItsOwnRadius) {
  const torch::Tensor centers = torch::full({3, 1, 2, 2}, 0.5f);
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2}) {
    torch::Tensor points = torch::ones({3, 1, 2, 2});
    const Ball ball(norm, centers, torch::tensor({0.0, 0.1, 0.25}, torch::kFloat64));
    ball.Project(points);
    EXPECT_EQ(Distance(norm, Row(centers, 0), Row(points, 0)), 0);
    EXPECT_NEAR(Distance(norm, Row(centers, 1), Row(points, 1)), 0.1, 1e-6);
    EXPECT_NEAR(Distance(norm, Row(centers, 2), Row(points, 2)), 0.25, 1e-6);
    torch::Tensor one = torch::ones({1, 1, 2, 2});
    ball.Select(torch::tensor({int64_t{2}})).Project(one);
    EXPECT_TRUE(torch::equal(one[0], points[2]));
  }
}

TEST(BallTest, LinfRandomPointsAreUniformInTheBox) {
  const torch::Tensor centers = torch::full({500, 1, 8, 8}, 0.5f);
  const torch::Tensor points =
      Ball(v1::NORM_LINF, centers, Radii(500, 0.25))
          .RandomPoints(RandomStream(1, "job", "attack"), Examples(500), std::vector<uint32_t>(500, 0));
  const torch::Tensor share = (points - centers) / 0.25;  // of 32,000 draws from [-1, 1)
  EXPECT_NEAR(share.mean().item<float>(), 0, 5 * std::sqrt(1.0 / 3 / 32000));
  EXPECT_NEAR(share.square().mean().item<float>(), 1.0 / 3, 5 * std::sqrt(4.0 / 45 / 32000));
  ExpectLinfFeasible(centers, points, 0.25);
}

TEST(BallTest, L2RandomPointsAreUniformInTheBall) {
  const torch::Tensor centers = torch::full({2000, 1, 3, 3}, 0.5f);
  const torch::Tensor points =
      Ball(v1::NORM_L2, centers, Radii(2000, 0.4))
          .RandomPoints(RandomStream(1, "job", "attack"), Examples(2000), std::vector<uint32_t>(2000, 0));
  double volume = 0;  // the share of the ball's volume inside the point's radius, uniform in [0, 1)
  for (int64_t row = 0; row < 2000; ++row) {
    volume += std::pow(Distance(v1::NORM_L2, Row(centers, row), Row(points, row)) / 0.4, 9) / 2000;
  }
  EXPECT_NEAR(volume, 0.5, 5 * std::sqrt(1.0 / 12 / 2000));
  EXPECT_NEAR((points - centers).mean().item<float>(), 0, 5 * 0.4 / std::sqrt(11.0 * 18000));
}

TEST(BallTest, ARandomPointDependsOnTheExampleAndNotOnItsRow) {
  const RandomStream stream(1, "job", "attack");
  const torch::Tensor centers = torch::full({3, 1, 5, 5}, 0.5f);
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2}) {
    const Ball ball(norm, centers, Radii(3, 0.3));
    const torch::Tensor forward = ball.RandomPoints(stream, {7, 8, 9}, {1, 1, 1});
    const torch::Tensor backward = ball.RandomPoints(stream, {9, 8, 7}, {1, 1, 1});
    EXPECT_TRUE(torch::equal(forward, backward.flip(0)));
    EXPECT_FALSE(torch::equal(forward[0], forward[1]));
    EXPECT_FALSE(torch::equal(forward, ball.RandomPoints(stream, {7, 8, 9}, {2, 2, 2})));
  }
}

TEST(BallTest, AStepHasItsLengthAndDirection) {
  const torch::Tensor centers = torch::full({1, 1, 1, 2}, 0.5f);
  const torch::Tensor gradient = torch::tensor({3e-20f, -4e-20f}).view({1, 1, 1, 2});
  torch::Tensor linf = centers.clone();
  Ball(v1::NORM_LINF, centers, Radii(1, 0.5)).Ascend(linf, gradient.clone(), Steps(1, 0.1));
  EXPECT_TRUE(torch::allclose(linf.flatten(), torch::tensor({0.6f, 0.4f}), 0, 1e-6));
  torch::Tensor l2 = centers.clone();
  Ball(v1::NORM_L2, centers, Radii(1, 0.5)).Ascend(l2, gradient.clone(), Steps(1, 0.1));
  EXPECT_TRUE(torch::allclose(l2.flatten(), torch::tensor({0.56f, 0.42f}), 0, 1e-6));
}

TEST(BallTest, ARowWithoutAGradientStays) {
  const torch::Tensor centers = Pixels({4, 1, 3, 3}, 8);
  torch::Tensor gradient = torch::zeros({4, 1, 3, 3});
  gradient[1].fill_(std::numeric_limits<float>::quiet_NaN());
  gradient[2].fill_(std::numeric_limits<float>::denorm_min());
  gradient[3][0][0][0] = std::numeric_limits<float>::quiet_NaN();
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2}) {
    torch::Tensor points = centers.clone();
    Ball(norm, centers, Radii(4, 0.1)).Ascend(points, gradient.clone(), Steps(4, 0.05));
    EXPECT_TRUE(torch::equal(points[0], centers[0]));
    EXPECT_TRUE(torch::equal(points[1], centers[1]));
    EXPECT_TRUE(torch::equal(points[3], centers[3]));
    EXPECT_TRUE(points.isfinite().all().item<bool>());
    if (norm == v1::NORM_L2) {
      EXPECT_TRUE(torch::equal(points[2], centers[2]));
    }
  }
}

TEST(BallTest, OnePassOfAutoPgdsStepIsItsSeveralOperations) {
  const torch::Tensor centers = Pixels({5, 1, 13, 7}, 40);
  const Ball ball(v1::NORM_LINF, centers, Radii(5, 0.2));
  torch::Tensor points = Uniform({5, 1, 13, 7}, 41, 0, 1), before = Uniform({5, 1, 13, 7}, 42, 0, 1);
  ball.Project(points);
  ball.Project(before);
  torch::Tensor gradient = Uniform({5, 1, 13, 7}, 43, -1, 1);
  gradient.view({-1})[3] = 0;
  gradient.view({-1})[4] = std::numeric_limits<float>::quiet_NaN();
  for (const double a : {1.0, 0.75}) {
    const torch::Tensor step = Steps(5, 0.4);
    torch::Tensor wanted = points.clone();
    ball.Ascend(wanted, gradient.nan_to_num(0), step);
    wanted = points + (wanted - points) * a + (points - before) * (1 - a);
    ball.Project(wanted);
    const torch::Tensor next = ball.AscendWithMomentum(points, before, gradient, step, a);
    EXPECT_TRUE(torch::allclose(next, wanted, 0, 1e-6));
    ExpectLinfFeasible(centers, next, 0.2);
  }
}

TEST(BallTest, L1ProjectionIsFeasibleWithNoTolerance) {
  const torch::Tensor centers = Pixels({40, 1, 9, 9}, 44);
  for (const double epsilon : {0.0, 1e-3, 0.5, 12.0, 81.0}) {
    torch::Tensor points = Uniform({40, 1, 9, 9}, 45, -0.5, 1.5);
    const Ball ball(v1::NORM_L1, centers, Radii(40, epsilon));
    ball.Project(points);
    ball.MakeFeasible(points);
    for (int64_t row = 0; row < 40; ++row) {
      ASSERT_LE(Distance(v1::NORM_L1, Row(centers, row), Row(points, row)), epsilon);
    }
    ASSERT_GE(points.min().item<float>(), 0);
    ASSERT_LE(points.max().item<float>(), 1);
  }
}

TEST(BallTest, StartsOnTheSurfaceHaveTheLengthOfTheRadius) {
  const torch::Tensor centers = torch::full({20, 1, 6, 6}, 0.5);  // no clipping
  const RandomStream stream(1, "job", "attack");
  const std::vector<std::pair<v1::Norm, double>> balls = {{v1::NORM_LINF, 0.3}, {v1::NORM_L2, 0.4}, {v1::NORM_L1, 0.5}};
  for (const auto& [norm, epsilon] : balls) {
    const torch::Tensor points =
        Ball(norm, centers, Radii(20, epsilon)).SurfacePoints(stream, Examples(20), std::vector<uint32_t>(20, 0));
    for (int64_t row = 0; row < 20; ++row) {
      EXPECT_NEAR(Distance(norm, Row(centers, row), Row(points, row)), epsilon, 1e-4);
    }
  }
}

TEST(BallTest, DistancesAreThoseThatAReaderComputes) {
  for (const int64_t side : {1, 4, 5, 28}) {
    const torch::Tensor from = Pixels({6, 1, side, side}, 46), to = Pixels({6, 1, side, side}, 47);
    const torch::Tensor distances = Distances(from, to);
    for (int64_t row = 0; row < 6; ++row) {
      for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1}) {
        EXPECT_NEAR(distances[row][DistanceColumn(norm)].item<double>(), Distance(norm, Row(from, row), Row(to, row)),
                    1e-9);
      }
      EXPECT_EQ(distances[row][DistanceColumn(v1::NORM_L0)].item<double>(),
                (from[row] != to[row]).sum().item<double>());
    }
  }
}

TEST(BallTest, ARowsLengthIsItsDistanceFromZero_AndInTheDualNormItsLargestProductWithTheUnitBall) {
  torch::manual_seed(1);
  const torch::Tensor rows = torch::randn({5, 1, 3, 7});
  const torch::Tensor flat = rows.flatten(1).to(torch::kFloat64), largest = std::get<1>(flat.abs().max(1, true));
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1}) {
    const torch::Tensor distances = Distances(torch::zeros_like(rows), rows).select(1, DistanceColumn(norm));
    EXPECT_TRUE(torch::allclose(RowLengths(norm, rows).to(torch::kFloat64), distances, 1e-6)) << norm;
    const torch::Tensor steepest =  // of length 1 in the norm
        norm == v1::NORM_LINF ? flat.sign()
        : norm == v1::NORM_L2 ? flat / flat.norm(2, 1, true)
                              : torch::zeros_like(flat).scatter(1, largest, flat.gather(1, largest).sign());
    EXPECT_TRUE(torch::allclose(RowLengths(DualOf(norm), rows).to(torch::kFloat64), (flat * steepest).sum(1), 1e-6))
        << norm;
  }
}

// The first of the largest changes, one after the other.
std::vector<float> KeepLargestChanges(absl::Span<const float> center, absl::Span<const float> point, double epsilon) {
  std::vector<float> kept(center.begin(), center.end());
  std::vector<bool> taken(center.size(), false);
  for (double count = 1; count <= epsilon && count <= static_cast<double>(center.size()); ++count) {
    size_t largest = center.size();
    const auto change = [&](size_t i) { return std::abs(std::clamp(point[i], 0.0f, 1.0f) - center[i]); };
    for (size_t i = 0; i < center.size(); ++i) {
      if (!taken[i] && (largest == center.size() || change(i) > change(largest))) largest = i;
    }
    taken[largest] = true;
    kept[largest] = std::clamp(point[largest], 0.0f, 1.0f);
  }
  return kept;
}

TEST(BallTest, L0ProjectionKeepsTheLargestChangesAndTheOtherElementsBitForBit) {
  const torch::Tensor centers = Pixels({12, 2, 5, 4}, 50);
  for (const double epsilon : {0.0, 0.5, 1.0, 2.5, 7.0, 39.0, 40.0, 100.0}) {
    for (const bool many_alike : {false, true}) {
      torch::Tensor points = Uniform({12, 2, 5, 4}, 51, -0.5, 1.5);
      if (many_alike) points = (centers + (points > 0.5).to(torch::kFloat32) * 0.25).contiguous();
      const torch::Tensor before = points.clone();
      const Ball ball(v1::NORM_L0, centers, Radii(12, epsilon));
      ball.Project(points);
      for (int64_t row = 0; row < 12; ++row) {
        EXPECT_THAT(Row(points, row),
                    ::testing::ElementsAreArray(KeepLargestChanges(Row(centers, row), Row(before, row), epsilon)))
            << epsilon << many_alike;
        EXPECT_LE(Distance(v1::NORM_L0, Row(centers, row), Row(points, row)), epsilon);
      }
      EXPECT_EQ(ball.MakeFeasible(points).numel(), 0);
    }
  }
}

TEST(BallTest, L0RadiiAreThoseOfTheirRows) {
  const torch::Tensor centers = torch::full({4, 1, 3, 3}, 0.5f);
  const Ball ball(v1::NORM_L0, centers, torch::tensor({0.0, 1.9, 5.0, 20.0}, torch::kFloat64));
  const std::vector<double> changed = {0, 1, 5, 9};
  torch::Tensor projected = torch::ones({4, 1, 3, 3});
  ball.Project(projected);
  const torch::Tensor random =
      ball.WithRandomElements(RandomStream(1, "job", "attack"), Examples(4), {0, 0, 0, 0}, torch::ones({4, 1, 3, 3}));
  for (int64_t row = 0; row < 4; ++row) {
    EXPECT_EQ(Distance(v1::NORM_L0, Row(centers, row), Row(projected, row)), changed[row]);
    EXPECT_EQ(Distance(v1::NORM_L0, Row(centers, row), Row(random, row)), changed[row]);
  }
  torch::Tensor one = torch::ones({1, 1, 3, 3});
  ball.Select(torch::tensor({int64_t{2}})).Project(one);
  EXPECT_TRUE(torch::equal(one[0], projected[2]));
}

TEST(BallTest, L0RandomElementsAreAnyAlikeAndTheOthersStayBitForBit) {
  constexpr int64_t kRows = 3000, kElements = 12, kChanged = 4;
  const torch::Tensor centers = Pixels({kRows, 1, 3, 4}, 52);
  const torch::Tensor values = Uniform({kRows, 1, 3, 4}, 53, 2, 3);  // in no example
  const RandomStream stream(1, "job", "attack");
  const Ball ball(v1::NORM_L0, centers, Radii(kRows, kChanged + 0.5));
  const torch::Tensor points =
      ball.WithRandomElements(stream, Examples(kRows), std::vector<uint32_t>(kRows, 0), values);
  const torch::Tensor changed = (points != centers).flatten(1);
  EXPECT_TRUE(torch::equal(points, torch::where(changed.view(points.sizes()), values, centers)));
  EXPECT_TRUE((changed.sum(1) == kChanged).all().item<bool>());
  // Each element in a third of the rows, and each pair as often as chance has it.
  const torch::Tensor rows = changed.to(torch::kFloat64);
  const torch::Tensor together = rows.t().matmul(rows) / static_cast<double>(kRows);
  for (int64_t i = 0; i < kElements; ++i) {
    for (int64_t j = 0; j < kElements; ++j) {
      const double expected = i == j ? 4.0 / 12 : 4.0 / 12 * 3 / 11;
      EXPECT_NEAR(together[i][j].item<double>(), expected, 5 * std::sqrt(expected * (1 - expected) / kRows));
    }
  }
  // Others in another run; the same in another place of the batch.
  const torch::Tensor two = ball.Select(torch::tensor({int64_t{1}, int64_t{0}}))
                                .WithRandomElements(stream, {1, 0}, {0, 0}, values.slice(0, 0, 2).flip(0));
  EXPECT_TRUE(torch::equal(two, points.slice(0, 0, 2).flip(0)));
  EXPECT_FALSE(
      torch::equal(ball.WithRandomElements(stream, Examples(kRows), std::vector<uint32_t>(kRows, 1), values), points));
}

TEST(BallTest, L0RandomPointsHaveUniformValuesWhereTheyDiffer) {
  constexpr int64_t kRows = 2000, kChanged = 3;
  const torch::Tensor centers = torch::full({kRows, 1, 3, 4}, 0.1f);
  const torch::Tensor points =
      Ball(v1::NORM_L0, centers, Radii(kRows, kChanged))
          .RandomPoints(RandomStream(1, "job", "attack"), Examples(kRows), std::vector<uint32_t>(kRows, 0));
  const torch::Tensor drawn = points.masked_select(points != centers);
  ASSERT_EQ(drawn.numel(), kRows * kChanged);
  EXPECT_NEAR(drawn.mean().item<double>(), 0.5, 5 * std::sqrt(1.0 / 12 / (kRows * kChanged)));
  EXPECT_NEAR(drawn.square().mean().item<double>(), 1.0 / 3, 5 * std::sqrt(4.0 / 45 / (kRows * kChanged)));
  EXPECT_GE(drawn.min().item<float>(), 0);
  EXPECT_LT(drawn.max().item<float>(), 1);
}

TEST(BallTest, OnlyTheChosenRowsAreCopied) {
  const torch::Tensor from = Uniform({4, 1, 3, 3}, 48, 0, 1);
  torch::Tensor into = torch::zeros({4, 1, 3, 3});
  CopyRows(torch::tensor({true, false, false, true}), from, into);
  EXPECT_TRUE(torch::equal(into[0], from[0]) && torch::equal(into[3], from[3]));
  EXPECT_EQ(into.slice(0, 1, 3).abs().sum().item<float>(), 0);
}

}  // namespace
}  // namespace tightrope
