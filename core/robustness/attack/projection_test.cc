#include "core/robustness/attack/projection.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/random/random_stream.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

constexpr v1::Norm kNorms[] = {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1};
constexpr int64_t kRows = 24;
constexpr int64_t kElements = 101;  // not a whole number of vectors
constexpr int kBisections = 200;

using Doubles = std::vector<double>;

Doubles Row(const torch::Tensor& tensor, int64_t row) {
  const float* values = tensor.data_ptr<float>() + row * tensor.size(1);
  return Doubles(values, values + tensor.size(1));
}

torch::Tensor Uniform(torch::IntArrayRef shape, uint32_t ordinal, double low, double high) {
  torch::Tensor tensor = torch::empty(shape, torch::kFloat32);
  RandomStream(1, "projection", "test")
      .Uniform({.example = ordinal}, absl::MakeSpan(tensor.data_ptr<float>(), tensor.numel()));
  return tensor.mul_(high - low).add_(low);
}

torch::Tensor Normal(torch::IntArrayRef shape, uint32_t ordinal) {
  torch::Tensor tensor = torch::empty(shape, torch::kFloat32);
  RandomStream(1, "projection", "normal")
      .Normal({.example = ordinal}, absl::MakeSpan(tensor.data_ptr<float>(), tensor.numel()));
  return tensor;
}

torch::Tensor Permutation(int64_t elements) {
  torch::Tensor permutation = torch::empty({elements}, torch::kInt64);
  const std::vector<uint32_t> order = RandomStream(1, "projection", "order").Permutation({}, elements);
  std::copy(order.begin(), order.end(), permutation.data_ptr<int64_t>());
  return permutation;
}

// As data sets have them: multiples of 1/255, many at the ends of the range.
torch::Tensor Pixels(torch::IntArrayRef shape, uint32_t ordinal) {
  return Uniform(shape, ordinal, -80, 335).clamp_(0, 255).round_().div_(255);
}

// Gradients of every kind: dense, sparse, with equal sizes, of sizes from 1e-9 to 1e9, one element alone, and tiny.
torch::Tensor Weights(uint32_t ordinal) {
  const torch::Tensor dense = Normal({kRows, kElements}, ordinal);
  torch::Tensor weights = dense.clone();
  for (int64_t row = 0; row < kRows; ++row) {
    torch::Tensor weight = weights[row];
    if (row % 6 == 1) weight.mul_(dense[(row + 1) % kRows] > 1);
    if (row % 6 == 2) weight.mul_(2).round_();
    if (row % 6 == 3) weight.mul_((dense[(row + 1) % kRows] * 7).exp_());
    if (row % 6 == 4) weight.slice(0, 1).zero_();
    if (row % 6 == 5) weight.mul_(1e-30);
  }
  return weights;
}

// Offsets of planes through a point of the box, whose w·x is this part of the way from the point's own to the furthest
// one in the box: 0 meets the point, above 1 misses the box, below 0 lies on the other side.
torch::Tensor Offsets(const torch::Tensor& points, const torch::Tensor& weights, double part) {
  const torch::Tensor x = points.to(torch::kFloat64);
  const torch::Tensor w = weights.to(torch::kFloat64);
  const torch::Tensor end = part < 0 ? (w < 0).to(torch::kFloat64) : (w > 0).to(torch::kFloat64);
  return (w * x).sum(1) + std::abs(part) * (w * (end - x)).sum(1);
}

constexpr double kParts[] = {0, 1e-9, 1e-3, -0.01, 0.1, -0.4, 0.7, -0.99, 1.5, -3};

double Dot(const Doubles& a, const Doubles& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

double Length(v1::Norm norm, const Doubles& values) {
  double largest = 0;
  double sum = 0;
  double squares = 0;
  for (const double value : values) {
    largest = std::max(largest, std::abs(value));
    sum += std::abs(value);
    squares += value * value;
  }
  return norm == v1::NORM_LINF ? largest : norm == v1::NORM_L2 ? std::sqrt(squares) : sum;
}

// Independent and slow: bisection on the multiplier.
Doubles L1ProjectionByBisection(const Doubles& x, const Doubles& c, double radius) {
  const auto at = [&](double multiplier) {
    Doubles z(x.size());
    for (size_t i = 0; i < x.size(); ++i) {
      const double offset = x[i] - c[i];
      z[i] = std::clamp(c[i] + std::copysign(std::max(std::abs(offset) - multiplier, 0.0), offset), 0.0, 1.0);
    }
    return z;
  };
  const auto inside = [&](const Doubles& z) {
    double sum = 0;
    for (size_t i = 0; i < z.size(); ++i) sum += std::abs(z[i] - c[i]);
    return sum <= radius;
  };
  if (inside(at(0))) return at(0);
  double low = 0;
  double high = 1e3;
  for (int round = 0; round < kBisections; ++round) {
    const double middle = (low + high) / 2;
    (inside(at(middle)) ? high : low) = middle;
  }
  return at(high);
}

// Independent and slow: bisection on the multiplier (linf, l2), a sort (l1, where elements of one size may move by
// other parts).
Doubles StepByOracle(v1::Norm norm, const Doubles& x, const Doubles& w, double offset) {
  const double gap = offset - Dot(w, x);
  const auto end = [&](size_t i) { return w[i] == 0 ? x[i] : (w[i] * gap > 0 ? 1.0 : 0.0); };
  Doubles step(x.size());
  if (norm == v1::NORM_L1) {
    std::vector<size_t> order(x.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return std::abs(w[a]) > std::abs(w[b]); });
    double rest = gap;
    for (const size_t i : order) {
      if (w[i] == 0) break;
      const double whole = w[i] * (end(i) - x[i]);
      const double part = whole == 0 ? 1 : std::clamp(rest / whole, 0.0, 1.0);
      step[i] = part * (end(i) - x[i]);
      rest -= part * whole;
    }
    return step;
  }
  const auto move = [&](double multiplier) {
    for (size_t i = 0; i < x.size(); ++i) {
      const double length = norm == v1::NORM_L2 ? multiplier * std::abs(w[i]) : multiplier;
      step[i] = std::copysign(std::min(length, std::abs(end(i) - x[i])), end(i) - x[i]);
    }
  };
  double low = 0;
  double high = 1e60;
  for (int round = 0; round < 2 * kBisections; ++round) {
    const double middle = low > 0 ? std::sqrt(low) * std::sqrt(high) : high * 1e-120;
    move(middle);
    (std::abs(Dot(w, step)) <= std::abs(gap) ? low : high) = middle;
  }
  move(low);
  return step;
}

TEST(L1BallProjectionTest, AgreesWithBisectionAndStaysInTheSet) {
  const torch::Tensor centers = Pixels({kRows, kElements}, 0);
  for (const double reach : {0.01, 0.5, 2.0, 50.0}) {
    const torch::Tensor points = centers + reach * Normal({kRows, kElements}, 1);
    for (const double radius : {0.0, 1e-20, 1e-6, 0.1, 1.0, 5.0, 12.0, 40.0, 1e6}) {
      const torch::Tensor projected = ProjectToL1Ball(points, centers, torch::full({kRows}, radius, torch::kFloat64));
      ASSERT_GE(projected.min().item<float>(), 0.0f);
      ASSERT_LE(projected.max().item<float>(), 1.0f);
      for (int64_t row = 0; row < kRows; ++row) {
        const Doubles center = Row(centers, row);
        const Doubles expected = L1ProjectionByBisection(Row(points, row), center, radius);
        double distance = 0;
        for (int64_t i = 0; i < kElements; ++i) {
          const double z = projected[row][i].item<float>();
          distance += std::abs(z - center[i]);
          ASSERT_NEAR(z, expected[i], 1e-7) << "reach " << reach << ", radius " << radius;
        }
        ASSERT_LE(distance, radius + kElements * 6e-8);
      }
    }
  }
}

TEST(L1BallProjectionTest, NoPointOfTheSetIsNearer) {
  const torch::Tensor centers = Pixels({kRows, kElements}, 2);
  const torch::Tensor points = centers + 0.5 * Normal({kRows, kElements}, 3);
  for (const double radius : {0.3, 3.0, 15.0}) {
    const torch::Tensor radii = torch::full({kRows}, radius, torch::kFloat64);
    const torch::Tensor projected = ProjectToL1Ball(points, centers, radii);
    for (uint32_t draw = 0; draw < 50; ++draw) {
      torch::Tensor other = (Uniform({kRows, kElements}, 100 + draw, 0, 1) - centers).to(torch::kFloat64);
      other = centers + other * (radius / other.abs().sum(1, true)).clamp_max_(1);
      // To the projection of a convex set, no point of it stands at an acute angle.
      const torch::Tensor angle = ((points - projected).to(torch::kFloat64) * (other - projected)).sum(1);
      ASSERT_LE(angle.max().item<double>(), 1e-5);
    }
  }
}

TEST(L1BallProjectionTest, PointsInTheSetStayBitForBit) {
  const torch::Tensor centers = Pixels({kRows, kElements}, 4);
  const torch::Tensor points = Uniform({kRows, kElements}, 5, 0, 1).pow(9);  // many of them tiny
  const torch::Tensor far = (points - centers).abs().sum(1, false, torch::kFloat64);
  EXPECT_TRUE(torch::equal(ProjectToL1Ball(points, centers, far * 1.0001), points));
  EXPECT_TRUE(torch::equal(ProjectToL1Ball(centers, centers, far * 0), centers));
  EXPECT_TRUE(torch::equal(ProjectToL1Ball(points, centers, far * -1), centers));
  EXPECT_FALSE(torch::equal(ProjectToL1Ball(points, centers, far * 0.9), points));
}

TEST(L1BallProjectionTest, EachRowHasItsOwnRadiusAndDependsOnNoOther) {
  const torch::Tensor centers = Pixels({kRows, kElements}, 6);
  const torch::Tensor points = centers + Normal({kRows, kElements}, 7);
  for (const auto type : {torch::kFloat32, torch::kFloat64}) {
    const torch::Tensor radii = Uniform({kRows}, 8, 0, 20).to(type);
    const torch::Tensor batch = ProjectToL1Ball(points, centers, radii);
    for (int64_t row = 0; row < kRows; ++row) {
      EXPECT_TRUE(torch::equal(ProjectToL1Ball(points.slice(0, row, row + 1), centers.slice(0, row, row + 1),
                                               radii.slice(0, row, row + 1))[0],
                               batch[row]));
    }
  }
}

TEST(L1BallProjectionTest, PermutedElementsGiveThePermutedProjection) {
  const torch::Tensor centers = Pixels({kRows, kElements}, 9);
  const torch::Tensor points = centers + Normal({kRows, kElements}, 10);
  const torch::Tensor radii = Uniform({kRows}, 11, 0, 20);
  const torch::Tensor order = Permutation(kElements);
  EXPECT_TRUE(torch::allclose(ProjectToL1Ball(points.index_select(1, order), centers.index_select(1, order), radii),
                              ProjectToL1Ball(points, centers, radii).index_select(1, order), 0, 1e-7));
}

TEST(L1BallProjectionTest, TensorOperationsGiveTheSame) {
  const torch::Tensor centers = Pixels({kRows, kElements}, 12);
  for (const double reach : {0.1, 3.0}) {
    const torch::Tensor points = centers + reach * Normal({kRows, kElements}, 13);
    for (const double radius : {0.0, 1e-20, 1e-6, 1.0, 12.0, 1e6}) {
      const torch::Tensor radii = torch::full({kRows}, radius) * Uniform({kRows}, 14, 0, 1);
      EXPECT_TRUE(torch::allclose(ProjectToL1BallByTensors(points, centers, radii),
                                  ProjectToL1Ball(points, centers, radii), 0, 1e-7));
    }
  }
}

TEST(HyperplaneStepTest, AgreesWithBisectionAndWithASort) {
  const torch::Tensor points = Pixels({kRows, kElements}, 20);
  const torch::Tensor weights = Weights(21);
  for (const v1::Norm norm : kNorms) {
    for (const double part : kParts) {
      const torch::Tensor offsets = Offsets(points, weights, part);
      const torch::Tensor steps = StepToHyperplane(norm, points, weights, offsets);
      for (int64_t row = 0; row < kRows; ++row) {
        const Doubles expected = StepByOracle(norm, Row(points, row), Row(weights, row), offsets[row].item<double>());
        const Doubles step = Row(steps, row);
        ASSERT_NEAR(Length(norm, step), Length(norm, expected), 1e-5 * Length(norm, expected) + 1e-12)
            << Norm_Name(norm) << ", part " << part << ", row " << row;
        if (norm == v1::NORM_L1 && row % 6 == 2) continue;  // equal sizes: more than one solution
        for (int64_t i = 0; i < kElements; ++i) {
          ASSERT_NEAR(step[i], expected[i], 1e-5 * std::abs(expected[i]) + 1e-7)
              << Norm_Name(norm) << ", part " << part << ", row " << row;
        }
      }
    }
  }
}

TEST(HyperplaneStepTest, EndsOnThePlaneAndInTheBox) {
  const torch::Tensor points = Pixels({kRows, kElements}, 22);
  const torch::Tensor weights = Weights(23);
  const torch::Tensor scale = weights.norm(2, {1}, false, torch::kFloat64);
  for (const v1::Norm norm : kNorms) {
    for (const double part : kParts) {
      if (std::abs(part) > 1) continue;
      const torch::Tensor offsets = Offsets(points, weights, part);
      const torch::Tensor reached =
          points.to(torch::kFloat64) + StepToHyperplane(norm, points, weights, offsets).to(torch::kFloat64);
      const torch::Tensor residual = (weights.to(torch::kFloat64) * reached).sum(1) - offsets;
      EXPECT_LE((residual.abs() / scale).max().item<double>(), 1e-6) << Norm_Name(norm) << ", part " << part;
      EXPECT_GE(reached.min().item<double>(), -1e-7);
      EXPECT_LE(reached.max().item<double>(), 1 + 1e-7);
    }
  }
}

TEST(HyperplaneStepTest, NoFeasibleStepIsShorter) {
  const torch::Tensor points = Pixels({kRows, kElements}, 24);
  const torch::Tensor weights = Weights(25);
  for (const double part : {0.05, -0.3, 0.8}) {
    const torch::Tensor offsets = Offsets(points, weights, part);
    for (const v1::Norm norm : kNorms) {
      const torch::Tensor steps = StepToHyperplane(norm, points, weights, offsets);
      for (int64_t row = 0; row < kRows; ++row) {
        const Doubles x = Row(points, row);
        const Doubles w = Row(weights, row);
        const double offset = offsets[row].item<double>();
        const double shortest = Length(norm, Row(steps, row));
        for (uint32_t draw = 0; draw < 40; ++draw) {
          // From a point near x towards a corner beyond the plane, until the plane: in the box, as both ends are.
          const double near = 0.3 * draw / 40;
          const Doubles noise = Row(Uniform({1, kElements}, 1000 + draw, 0, 1), 0);
          Doubles step(x.size());
          Doubles to_corner(x.size());
          for (size_t i = 0; i < x.size(); ++i) {
            step[i] = near * (noise[i] - x[i]);
            const bool up = (w[i] > 0) == (part > 0);
            to_corner[i] = w[i] == 0 ? 0 : (up ? 1 : 0) - x[i] - step[i];
          }
          const double share = (offset - Dot(w, x) - Dot(w, step)) / Dot(w, to_corner);
          if (!(share >= 0 && share <= 1)) continue;
          for (size_t i = 0; i < x.size(); ++i) step[i] += share * to_corner[i];
          ASSERT_GE(Length(norm, step), shortest * (1 - 1e-6)) << Norm_Name(norm) << ", row " << row;
          // Near the solution as well.
          const Doubles found = Row(steps, row);
          for (size_t i = 0; i < x.size(); ++i) step[i] = found[i] + 0.01 * (step[i] - found[i]);
          ASSERT_GE(Length(norm, step), shortest * (1 - 1e-6)) << Norm_Name(norm) << ", row " << row;
        }
      }
    }
  }
}

TEST(HyperplaneStepTest, FarFromTheEndsOfTheBoxItIsTheDistanceOverTheDualNorm) {
  const torch::Tensor points = torch::full({kRows, kElements}, 0.5f);
  const torch::Tensor weights = Normal({kRows, kElements}, 26);
  const torch::Tensor offsets = Offsets(points, weights, 1e-3);
  const std::pair<v1::Norm, double> duals[] = {
      {v1::NORM_LINF, 1}, {v1::NORM_L2, 2}, {v1::NORM_L1, std::numeric_limits<double>::infinity()}};
  for (const auto& [norm, dual] : duals) {
    const torch::Tensor steps = StepToHyperplane(norm, points, weights, offsets);
    for (int64_t row = 0; row < kRows; ++row) {
      const Doubles w = Row(weights, row);
      const double gap = offsets[row].item<double>() - Dot(w, Row(points, row));
      const double distance = gap / weights[row].to(torch::kFloat64).norm(dual).item<double>();
      EXPECT_NEAR(Length(norm, Row(steps, row)), distance, 1e-6 * distance);
    }
  }
}

TEST(HyperplaneStepTest, APlaneThatMissesTheBoxIsApproachedByTheNearestCorner) {
  const torch::Tensor points = Pixels({kRows, kElements}, 27);
  const torch::Tensor weights = Weights(28);
  for (const v1::Norm norm : kNorms) {
    for (const double part : {1.01, -7.0, 1e30}) {
      const torch::Tensor corner = part > 0 ? weights > 0 : weights < 0;
      const torch::Tensor expected = torch::where(weights == 0, points, corner.to(torch::kFloat32));
      const torch::Tensor steps = StepToHyperplane(norm, points, weights, Offsets(points, weights, part));
      EXPECT_TRUE(torch::allclose(points + steps, expected, 0, 1e-7)) << Norm_Name(norm) << ", part " << part;
    }
  }
}

TEST(HyperplaneStepTest, RowsWithoutADirectionStayAndNothingIsEverNotFinite) {
  const float kInfinity = std::numeric_limits<float>::infinity();
  const float kNan = std::numeric_limits<float>::quiet_NaN();
  const torch::Tensor points = Pixels({8, 5}, 29);
  torch::Tensor weights = torch::zeros({8, 5});
  torch::Tensor offsets = torch::tensor({1.0f, 0.0f, -kInfinity, kNan, kInfinity, 1e30f, 0.1f, -3e38f});
  weights[1].fill_(kNan);
  weights[2].fill_(kInfinity);
  weights[3].fill_(1);
  weights[4][0] = 1;
  weights[5].fill_(1e-45f);
  weights[6][1] = kNan;
  weights[6][2] = 1;
  weights[7].fill_(3e38f);
  for (const v1::Norm norm : kNorms) {
    for (const bool tensors : {false, true}) {
      const torch::Tensor steps = tensors ? StepToHyperplaneByTensors(norm, points, weights, offsets)
                                          : StepToHyperplane(norm, points, weights, offsets);
      EXPECT_TRUE(steps.isfinite().all().item<bool>());
      EXPECT_EQ(steps.slice(0, 0, 4).count_nonzero().item<int64_t>(), 0) << steps;
      EXPECT_FLOAT_EQ(steps[4][0].item<float>(), 1 - points[4][0].item<float>());
      EXPECT_EQ(steps[4].slice(0, 1).count_nonzero().item<int64_t>(), 0);
      EXPECT_TRUE(torch::allclose(points[5] + steps[5], torch::ones({5})));
      EXPECT_FLOAT_EQ((points[6] + steps[6])[2].item<float>(), 0.1f);
    }
  }
  EXPECT_EQ(StepToHyperplane(v1::NORM_L2, torch::zeros({0, 5}), torch::zeros({0, 5}), torch::zeros({0})).numel(), 0);
  EXPECT_EQ(StepToHyperplane(v1::NORM_L1, torch::zeros({3, 0}), torch::zeros({3, 0}), torch::ones({3})).numel(), 0);
}

TEST(HyperplaneStepTest, L1MovesTheFewestAndElementsOfOneSizeShare) {
  const torch::Tensor points = torch::tensor({0.5f, 0.5f, 0.8f, 0.5f, 0.0f}).view({1, 5});
  const torch::Tensor weights = torch::tensor({1.0f, 3.0f, 2.0f, -2.0f, 0.0f}).view({1, 5});
  // 1.5 from the second element; of the 1.4 that the third (0.2·2) and fourth (0.5·2) can give, half.
  const torch::Tensor offsets = (weights * points).sum(1) + 2.2;
  const torch::Tensor steps = StepToHyperplane(v1::NORM_L1, points, weights, offsets);
  EXPECT_TRUE(torch::allclose(steps, torch::tensor({0.0f, 0.5f, 0.1f, -0.25f, 0.0f}).view({1, 5}), 0, 1e-6)) << steps;
}

TEST(HyperplaneStepTest, ARowDependsOnNoOther) {
  const torch::Tensor points = Pixels({kRows, kElements}, 30);
  const torch::Tensor weights = Weights(31);
  for (const v1::Norm norm : kNorms) {
    for (const auto type : {torch::kFloat32, torch::kFloat64}) {
      const torch::Tensor offsets = Offsets(points, weights, 0.2).to(type);
      const torch::Tensor batch = StepToHyperplane(norm, points, weights, offsets);
      for (int64_t row = 0; row < kRows; ++row) {
        EXPECT_TRUE(torch::equal(StepToHyperplane(norm, points.slice(0, row, row + 1), weights.slice(0, row, row + 1),
                                                  offsets.slice(0, row, row + 1))[0],
                                 batch[row]));
      }
    }
  }
}

TEST(HyperplaneStepTest, PermutedElementsGiveThePermutedStep) {
  const torch::Tensor points = Pixels({kRows, kElements}, 32);
  const torch::Tensor weights = Weights(33);
  const torch::Tensor order = Permutation(kElements);
  for (const v1::Norm norm : kNorms) {
    for (const double part : kParts) {
      const torch::Tensor offsets = Offsets(points, weights, part);
      EXPECT_TRUE(torch::allclose(
          StepToHyperplane(norm, points.index_select(1, order), weights.index_select(1, order), offsets),
          StepToHyperplane(norm, points, weights, offsets).index_select(1, order), 1e-6, 1e-7));
    }
  }
}

TEST(HyperplaneStepTest, TensorOperationsGiveTheSame) {
  const torch::Tensor points = Pixels({kRows, kElements}, 34);
  const torch::Tensor weights = Weights(35);
  for (const v1::Norm norm : kNorms) {
    for (const double part : kParts) {
      const torch::Tensor offsets = Offsets(points, weights, part);
      EXPECT_TRUE(torch::allclose(StepToHyperplaneByTensors(norm, points, weights, offsets),
                                  StepToHyperplane(norm, points, weights, offsets), 1e-6, 1e-7))
          << Norm_Name(norm) << ", part " << part;
    }
  }
}

TEST(CudaTest, ProjectionsOnAGpuAreTheCpus) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU that LibTorch can use";
  const torch::Tensor points = Pixels({kRows, kElements}, 36);
  const torch::Tensor weights = Weights(37);
  const torch::Tensor far = points + Normal({kRows, kElements}, 38);
  const torch::Tensor radii = Uniform({kRows}, 39, 0, 20);
  EXPECT_TRUE(torch::allclose(ProjectToL1Ball(far.to(torch::kCUDA), points.to(torch::kCUDA), radii).cpu(),
                              ProjectToL1Ball(far, points, radii), 0, 1e-7));
  for (const v1::Norm norm : kNorms) {
    for (const double part : kParts) {
      const torch::Tensor offsets = Offsets(points, weights, part);
      EXPECT_TRUE(
          torch::allclose(StepToHyperplane(norm, points.to(torch::kCUDA), weights.to(torch::kCUDA), offsets).cpu(),
                          StepToHyperplane(norm, points, weights, offsets), 1e-6, 1e-7));
    }
  }
}

}  // namespace
}  // namespace tightrope
