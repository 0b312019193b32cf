// Carlini-Wagner, EAD, DDN and DeepFool: searches for the nearest point by gradients.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/robustness/attack/attack_test_support.h"
#include "core/robustness/attack/constant_search.h"
#include "core/robustness/attack/golden_test_support.h"
#include "core/robustness/attack/projection.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

constexpr char kCarliniWagner[] =
    "carlini_wagner { steps: 200 search_steps: 8 initial_const: 0.01 learning_rate: 0.02 ";
constexpr char kEad[] = "ead { steps: 200 search_steps: 8 initial_const: 0.01 learning_rate: 0.02 beta: 0.01 ";
constexpr char kDdn[] = "ddn { steps: 200 initial_radius: 1 gamma: 0.05 ";

// All attacks of this file once, short, with the norms they take.
const std::vector<std::pair<std::string, v1::Norm>> kSearches = {
    {"carlini_wagner { steps: 40 search_steps: 3 initial_const: 0.1 learning_rate: 0.05 }", v1::NORM_L2},
    {"ead { steps: 40 search_steps: 3 initial_const: 0.1 learning_rate: 0.02 beta: 0.01 }", v1::NORM_L1},
    {"ddn { steps: 40 initial_radius: 1 gamma: 0.05 }", v1::NORM_L2},
    {"deepfool { steps: 20 overshoot: 0.02 candidates: 9 }", v1::NORM_L2},
    {"deepfool { steps: 20 overshoot: 0.02 candidates: 9 }", v1::NORM_LINF}};

// A radius that ends nobody's search, and one that everything is within.
const std::vector<double> kAnyRadius = {1e-9, 60};

// Grey noise without classes, labelled as a linear model of two classes has it.
class MinimumNormTest : public ::testing::Test {
 protected:
  MinimumNormTest() {
    auto weight = weight_.accessor<float, 2>();
    for (int64_t i = 0; i < 64; ++i) {
      weight[1][i] = (i % 2 == 1 ? 1.0f : -1.0f) * (0.5f + 0.02f * static_cast<float>(i * 37 % 64));
    }
    LabelAsPredicted(data_, model_);
  }

  // Of every example to the plane between the classes, inside the box.
  std::vector<double> DistancesInBox(v1::Norm norm) const {
    const torch::Tensor points = AllInputs(data_).flatten(1);
    const torch::Tensor normals = weight_[1].expand_as(points).contiguous();
    const torch::Tensor step = StepToHyperplane(norm, points, normals, torch::zeros({points.size(0)}));
    std::vector<double> distances;
    for (int64_t i = 0; i < points.size(0); ++i) {
      distances.push_back(
          Distances(points[i].view({1, 1, 8, 8}), (points[i] + step[i]).view({1, 1, 8, 8}))[0][DistanceColumn(norm)]
              .item<double>());
    }
    return distances;
  }

  // How much farther than the nearest point the found ones are, at worst.
  double WorstRatio(const std::string& attack, v1::Norm norm) {
    SCOPED_TRACE(absl::StrCat(Norm_Name(norm), " ", attack));
    const v1::AttackJob job = JobOf(attack, norm, kAnyRadius);
    const auto outcome = Attacked(job, data_, model_);
    EXPECT_OK(outcome);
    if (!outcome.ok()) return 0;
    ExpectRecordsHold(*outcome, job, data_, model_);
    const std::vector<double> distances = DistancesInBox(norm);
    double worst = 0;
    for (uint32_t i = 0; i < data_.count; ++i) {
      const v1::ExampleRecord& record = outcome->records[i];
      EXPECT_EQ(record.verdict(), v1::VERDICT_BROKEN) << record.ShortDebugString();
      EXPECT_GE(NearestOf(record, norm), distances[i] * (1 - 1e-4) - 1e-5) << i;
      worst = std::max(worst, (NearestOf(record, norm) - 1e-4) / distances[i]);
    }
    std::cout << Norm_Name(norm) << " " << attack << ": at worst " << worst << " times as far as need be\n";
    return worst;
  }

  Dataset data_ = MakeToyDataset(30, 8, 2, /*contrast=*/0);
  torch::Tensor weight_ = torch::zeros({2, 64});
  LinearModel model_{weight_};
};

TEST_F(MinimumNormTest, OnALinearModelTheNearestPointIsFoundToAFewPercent) {
  for (const char* targets : {"}", "targets: 1 }"}) {
    EXPECT_LE(WorstRatio(absl::StrCat(kCarliniWagner, targets), v1::NORM_L2), 1.03);
    // What EAD minimises has ‖δ‖² in it as well, so that its points are not quite the nearest in l1.
    EXPECT_LE(WorstRatio(absl::StrCat(kEad, targets), v1::NORM_L1), 1.1);
    EXPECT_LE(WorstRatio(absl::StrCat(kDdn, targets), v1::NORM_L2), 1.03);
  }
}

// Most of MNIST: tanh has no gradient there, and a sphere is cut by the box.
TEST_F(MinimumNormTest, PixelsAtTheEndsOfTheRangeMove) {
  for (uint8_t& pixel : data_.pixels) pixel = pixel > 115 ? 255 : 0;
  LabelAsPredicted(data_, model_);
  EXPECT_LE(WorstRatio(absl::StrCat(kCarliniWagner, "}"), v1::NORM_L2), 1.1);
  EXPECT_LE(WorstRatio(absl::StrCat(kEad, "}"), v1::NORM_L1), 1.2);
  EXPECT_LE(WorstRatio(absl::StrCat(kDdn, "}"), v1::NORM_L2), 1.1);
}

TEST_F(MinimumNormTest, ARowIsSearchedAsIfItWereAlone) {
  for (const auto& [attack, norm] : kSearches) {
    SCOPED_TRACE(absl::StrCat(Norm_Name(norm), " ", attack));
    const v1::AttackJob job = JobOf(attack, norm, {0.05, 60});
    const auto together = Attacked(job, data_, model_);
    ASSERT_OK(together);
    for (const uint32_t i : {0u, 11u, 29u}) {
      v1::Shard one;
      one.set_begin(i);
      one.set_end(i + 1);
      const auto alone = RunAttack(job, "job", one, data_, model_, [](const EvaluationProgress&) { return true; });
      ASSERT_OK(alone);
      v1::ExampleRecord expected = alone->records[0];
      expected.set_witness_row(together->records[i].witness_row());
      EXPECT_EQ(together->records[i].ShortDebugString(), expected.ShortDebugString());
    }
  }
}

TEST_F(MinimumNormTest, DeepFoolGoesTheOvershootBeyondThePlaneAndStopsThere) {
  for (const v1::Norm norm : {v1::NORM_L2, v1::NORM_LINF}) {
    const std::vector<double> distances = DistancesInBox(norm);
    for (const double overshoot : {0.02, 0.5}) {
      const auto outcome = Attacked(
          JobOf(absl::StrCat("deepfool { steps: 50 candidates: 1 overshoot: ", overshoot, " }"), norm, kAnyRadius),
          data_, model_);
      ASSERT_OK(outcome);
      for (uint32_t i = 0; i < data_.count; ++i) {
        const v1::ExampleRecord& record = outcome->records[i];
        EXPECT_NEAR(NearestOf(record, norm), distances[i] * (1 + overshoot), 1e-3 * distances[i] + 1e-5);
        // The example, a gradient, where it led, and the confirmation.
        EXPECT_EQ(record.forward_passes(), 4u);
        EXPECT_EQ(record.backward_passes(), 1u);
      }
    }
  }
}

// Class 1 is nearly as likely as the label, but changes slowly; class 2 is unlikely and one pixel away.
TEST_F(MinimumNormTest, DeepFoolTakesTheNearestOfTheLikeliestClasses) {
  data_.classes = 3;
  Made model([](const torch::Tensor& inputs) {
    const torch::Tensor rows = inputs.flatten(1);
    const torch::Tensor first = rows.select(1, 0);
    return torch::stack({torch::zeros_like(first), 0.01 * (rows.sum(1) - 40), 10 * (first - 0.8)}, 1);
  });
  LabelAsPredicted(data_, model);
  const torch::Tensor rows = AllInputs(data_).flatten(1);
  for (const int candidates : {1, 2, 9}) {
    const auto outcome =
        Attacked(JobOf(absl::StrCat("deepfool { steps: 50 overshoot: 0.02 candidates: ", candidates, " }"), v1::NORM_L2,
                       kAnyRadius),
                 data_, model);
    ASSERT_OK(outcome);
    for (uint32_t i = 0; i < data_.count; ++i) {
      ASSERT_EQ(data_.labels[i], 0);
      const double nearest =
          candidates == 1 ? (40 - rows[i].sum().item<double>()) / 8 : 0.8 - rows[i][0].item<double>();
      EXPECT_NEAR(NearestOf(outcome->records[i], v1::NORM_L2), 1.02 * nearest, 1e-3) << candidates;
    }
  }
}

// What a model saw of a search for the first example: the example twice, then every point in turn.
class SeenPointsTest : public MinimumNormTest {
 protected:
  void See(const std::string& attack, v1::Norm norm) {
    Made recording([&](const torch::Tensor& inputs) {
      points_.push_back(inputs.detach().flatten().clone());
      return model_.Logits(inputs);
    });
    v1::Shard first;
    first.set_end(1);
    ASSERT_OK(RunAttack(JobOf(attack, norm, kAnyRadius), "job", first, data_, recording,
                        [](const EvaluationProgress&) { return true; }));
    ASSERT_GE(points_.size(), 2u);
    EXPECT_TRUE(points_[0].equal(points_[1]));
    toward_ = data_.labels[0] == 1 ? -weight_[1] : weight_[1].clone();  // where the margin rises
  }

  std::vector<torch::Tensor> points_;
  torch::Tensor toward_;
};

TEST_F(SeenPointsTest, DdnStepsAndRadiiAreThoseOfItsSchedule) {
  // A second pair of classes, so that the gradient's direction depends on the point.
  data_.classes = 4;
  weight_ = torch::cat({weight_, 0.5 * weight_.roll(5, 1).flip(0)}).contiguous();
  model_ = LinearModel(weight_);
  LabelAsPredicted(data_, model_);
  See("ddn { steps: 4 initial_radius: 0.6 gamma: 0.4 }", v1::NORM_L2);
  ASSERT_GE(points_.size(), 6u);
  const torch::Tensor label = torch::tensor(std::vector<int64_t>{data_.labels[0]});
  double radius = 0.6;
  int wrong_looks = 0;
  const double steps[] = {1, 0.855018, 0.505, 0.154982};
  for (int k = 0; k < 4; ++k) {
    torch::Tensor point = points_[k + 1].clone().set_requires_grad(true);
    const torch::Tensor logits = model_.Logits(point.view({1, 1, 8, 8}));
    const torch::Tensor gradient = torch::autograd::grad({CrossEntropyLoss(logits, label).sum()}, {point})[0];
    const bool wrong = Predictions(logits)[0] != data_.labels[0];
    wrong_looks += wrong ? 1 : 0;
    radius *= wrong ? 0.6 : 1.4;
    const torch::Tensor ahead = (point.detach() - points_[0]) + steps[k] * gradient / gradient.norm();
    const torch::Tensor next = (points_[0] + ahead * (radius / ahead.norm())).clamp(0, 1);
    EXPECT_TRUE(points_[k + 2].allclose(next, 1e-5, 1e-5)) << k;
  }
  EXPECT_GT(wrong_looks, 0);
  EXPECT_LT(wrong_looks, 4);
}

TEST_F(SeenPointsTest, DdnStaysWithinTheFarthestCorner) {
  See("ddn { steps: 3 initial_radius: 1000 gamma: 0.05 }", v1::NORM_L2);
  const torch::Tensor farthest = torch::maximum(points_[0], 1 - points_[0]).norm();
  const torch::Tensor direction = toward_ / toward_.norm();
  EXPECT_TRUE(points_[2].allclose((points_[0] + direction * farthest).clamp(0, 1), 1e-5, 1e-5));
}

TEST_F(SeenPointsTest, EadTakesTheStepsOfThePaper) {
  constexpr double kBeta = 0.02, kConstant = 2, kRate = 0.01;
  See(absl::StrCat("ead { steps: 4 search_steps: 1 initial_const: ", kConstant, " learning_rate: ", kRate,
                   " beta: ", kBeta, " }"),
      v1::NORM_L1);
  ASSERT_GE(points_.size(), 8u);
  const torch::Tensor& start = points_[0];
  torch::Tensor x = start, y = start;
  for (int k = 0; k < 3; ++k) {
    EXPECT_TRUE(points_[1 + 2 * k].allclose(y, 0, 1e-6)) << k;
    const bool wrong = (y * toward_).sum().item<float>() >= 0;
    const torch::Tensor gradient = 2 * (y - start) - (wrong ? 0 : kConstant) * toward_;
    const torch::Tensor z = y - kRate * std::sqrt(1 - k / 4.0) * gradient - start;
    const torch::Tensor next = start + z.sign() * (z.abs() - kBeta).clamp_min(0);
    EXPECT_TRUE(points_[2 + 2 * k].allclose(next, 0, 1e-6)) << k;
    // What the shrinkage takes back is as it was.
    EXPECT_EQ((points_[2 + 2 * k] != start).sum().item<int64_t>(), (z.abs() > kBeta).sum().item<int64_t>());
    y = next + k / (k + 3.0) * (next - x);
    x = next;
  }
  EXPECT_LT((x != start).sum().item<int64_t>(), 50);
  EXPECT_GT((x != start).sum().item<int64_t>(), 5);
}

TEST_F(MinimumNormTest, AShrinkageBringsEadNearerInL1) {
  const auto sum_of_nearest = [&](const char* beta) {
    const auto outcome = Attacked(
        JobOf(
            absl::StrCat("ead { steps: 100 search_steps: 6 initial_const: 0.1 learning_rate: 0.02 beta: ", beta, " }"),
            v1::NORM_L1, kAnyRadius),
        data_, model_);
    EXPECT_OK(outcome);
    double sum = 0;
    for (const v1::ExampleRecord& record : outcome->records) sum += NearestOf(record, v1::NORM_L1);
    return sum;
  };
  EXPECT_LT(sum_of_nearest("0.01"), 0.9 * sum_of_nearest("0"));
}

// Medians over test images, beside those of FAB, which is another algorithm altogether.
TEST(MinimumNormGoldenTest, OnARealModelTheSearchesComeAsNearAsFab) {
  GoldenModel golden;
  LoadGolden("std.pt", golden);
  if (::testing::Test::HasFatalFailure() || ::testing::Test::IsSkipped()) return;
  const auto median = [&](const std::string& attack, v1::Norm norm) {
    v1::Shard range;
    range.set_end(30);
    const auto outcome = RunAttack(JobOf(attack, norm, {1e-6, norm == v1::NORM_LINF ? 1.0 : 784.0}), "golden", range,
                                   golden.data, *golden.classifier, [](const EvaluationProgress&) { return true; });
    EXPECT_OK(outcome);
    std::vector<double> distances;
    uint64_t passes = 0;
    for (const v1::ExampleRecord& record : outcome->records) {
      distances.push_back(record.has_nearest() ? NearestOf(record, norm) : 784);
      passes += record.forward_passes();
    }
    std::sort(distances.begin(), distances.end());
    const double middle = (distances[14] + distances[15]) / 2;
    std::cout << Norm_Name(norm) << " " << attack << ": median " << middle << ", " << passes / 30 << " passes\n";
    return middle;
  };
  const std::string fab = "fab { steps: 20 restarts: 1 alpha_max: 0.1 eta: 1.05 beta: 0.9 }";
  const double linf = median(fab, v1::NORM_LINF), l2 = median(fab, v1::NORM_L2), l1 = median(fab, v1::NORM_L1);
  const std::string deepfool = "deepfool { steps: 50 overshoot: 0.02 candidates: 9 }";
  EXPECT_LE(median(deepfool, v1::NORM_LINF), 1.5 * linf);
  EXPECT_LE(median(deepfool, v1::NORM_L2), 1.5 * l2);
  EXPECT_LE(median("ddn { steps: 100 initial_radius: 1 gamma: 0.05 }", v1::NORM_L2), 1.05 * l2);
  EXPECT_LE(median("carlini_wagner { steps: 100 search_steps: 4 initial_const: 0.1 learning_rate: 0.1 }", v1::NORM_L2),
            1.1 * l2);
  EXPECT_LE(median("ead { steps: 100 search_steps: 4 initial_const: 0.1 learning_rate: 0.05 beta: 0.01 }", v1::NORM_L1),
            1.25 * l1);
}

// Two rows of a batch, whose looks are made up.
class ConstantSearchTest : public ::testing::Test {
 protected:
  static torch::Tensor Values(float first, float second) { return torch::tensor({first, second}); }
  static std::vector<float> Read(const torch::Tensor& values) {
    return {values.data_ptr<float>(), values.data_ptr<float>() + values.numel()};
  }

  Dataset data_ = MakeToyDataset(2, 8, 2, 0);
  LinearModel model_{torch::zeros({2, 64})};
  RandomStream stream_{1, "job", "attack"};
  v1::AttackDiagnostics diagnostics_;
  ActiveBatch::Run run_{.classifier = model_,
                        .surrogate = nullptr,
                        .stream = stream_,
                        .query_budget = UINT64_MAX,
                        .looks = 0,
                        .looked = [] { return absl::OkStatus(); },
                        .diagnostics = diagnostics_};
  std::vector<Standing> standings_{2};
  ActiveBatch batch_{run_,
                     Ball(v1::NORM_L2, AllInputs(data_), torch::ones({2}, torch::kFloat64)),
                     {{.standing = &standings_[0], .run = 0}, {.standing = &standings_[1], .run = 0}}};
};

TEST_F(ConstantSearchTest, EachRowsConstantGrowsUntilTheConfidenceIsReachedAndIsThenHalved) {
  ConstantSearch search(batch_, {.search_steps = 9, .initial_const = 0.001, .confidence = 2, .targets = 0});
  // The first row's descents succeed from c = 0.5 on; the second's are wrong, but never as wrong as was asked.
  const std::vector<float> first = {0.001f, 0.01f, 0.1f, 1, 0.55f, 0.325f, 0.4375f, 0.49375f, 0.521875f};
  size_t descents = 0;
  ASSERT_OK(search.Run([&] {
    const std::vector<float> constants = Read(search.constants());
    const double second = 0.001 * std::pow(10.0, static_cast<double>(descents));
    EXPECT_NEAR(constants[0], first[descents], 1e-5 * first[descents]);
    EXPECT_NEAR(constants[1], second, 1e-5 * second);
    search.See(Values(-1, 1.9f));
    search.See(Values(constants[0] >= 0.5f ? 2.0f : 1.9f, -1));
    search.See(Values(-1, -1));
    ++descents;
    return absl::OkStatus();
  }));
  EXPECT_EQ(descents, 9u);
}

TEST_F(ConstantSearchTest, ThePenaltyPullsBelowTheConfidenceOnly) {
  const ConstantSearch search(batch_, {.search_steps = 1, .initial_const = 3, .confidence = 0.5, .targets = 0});
  EXPECT_EQ(Read(search.PenaltySlope(Values(0.25f, 0.5f))), (std::vector<float>{-3, 0}));
}

// The constants of the rows that remain are theirs, and no descent begins without rows.
TEST_F(ConstantSearchTest, RowsThatLeaveTakeTheirConstantsAlong) {
  ConstantSearch search(batch_, {.search_steps = 9, .initial_const = 1, .confidence = 0, .targets = 0});
  int descents = 0;
  ASSERT_OK(search.Run([&] {
    if (descents == 0) search.See(Values(1, -1));
    if (descents == 1) batch_.End(torch::tensor(std::vector<uint8_t>{1, 0}).to(torch::kBool));
    if (descents == 2) {
      EXPECT_EQ(Read(search.constants()), std::vector<float>{100});
      batch_.End(torch::ones({1}, torch::kBool));
    }
    ++descents;
    return absl::OkStatus();
  }));
  EXPECT_EQ(descents, 3);
}

}  // namespace
}  // namespace tightrope
