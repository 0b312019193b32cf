// On a linear model of two classes all distances are known: |w·x| over the dual norm of w.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/robustness/attack/attack_test_support.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

constexpr uint32_t kExamples = 60;
constexpr int64_t kPixels = 64;

// Grey noise, labelled as the model has it. Pixels lie between 0.3 and 0.6, so that the box is in nobody's way. Four
// weights are the largest, alike: as many as a step of pgd in l1 takes, with room enough for every distance in l1. No
// two others are alike, because a sparse step takes all that are.
class AttackLinearTest : public ::testing::Test {
 protected:
  AttackLinearTest() {
    auto weight = weight_.accessor<float, 2>();
    for (int64_t i = 0; i < kPixels; ++i) {
      const bool largest = i == 10 || i == 25 || i == 38 || i == 53;
      const float size = largest ? 5.0f : 0.5f + 0.01f * static_cast<float>(i * 37 % kPixels);
      weight[1][i] = i % 2 == 1 ? size : -size;
    }
    LabelAsPredicted(data_, model_);
  }

  // Of every example to the plane between the classes.
  std::vector<double> Distances(v1::Norm norm) const {
    const torch::Tensor w = weight_[1].to(torch::kFloat64);
    const torch::Tensor dual = norm == v1::NORM_LINF ? w.abs().sum() : norm == v1::NORM_L2 ? w.norm() : w.abs().max();
    const torch::Tensor distances = (AllInputs(data_).flatten(1).to(torch::kFloat64) * w).sum(1).abs() / dual;
    return {distances.data_ptr<double>(), distances.data_ptr<double>() + kExamples};
  }

  // The middle of the widest gap between neighbours among the `from`th to the `to`th nearest: attacks that stop a
  // percent short do not matter there.
  static double GapAmong(std::vector<double> distances, size_t from, size_t to) {
    std::sort(distances.begin(), distances.end());
    size_t widest = from;
    for (size_t i = from; i < to; ++i) {
      if (distances[i + 1] / distances[i] > distances[widest + 1] / distances[widest]) widest = i;
    }
    EXPECT_GT(distances[widest + 1] / distances[widest], 1.03);
    return std::sqrt(distances[widest] * distances[widest + 1]);
  }

  // Those that get to the nearest point. Steps of pgd are long, so that what a random start has across the gradient is
  // shrunk away by the projections.
  static std::vector<std::string> ExactAttacks(double epsilon) {
    const std::string pgd = absl::StrCat("pgd { steps: 20 restarts: 1 random_start: true step_size: ", 2 * epsilon);
    const std::string apgd = "apgd { steps: 100 restarts: 1 rho: 0.75 eot: 1 loss: ATTACK_LOSS_CE";
    const std::string fab = "fab { steps: 20 restarts: 1 alpha_max: 0.1 eta: 1.05 beta: 0.9";
    return {pgd + " loss: ATTACK_LOSS_CE }",
            pgd + " loss: ATTACK_LOSS_MARGIN }",
            apgd + " }",
            apgd + " targets: 1 }",
            fab + " }",
            fab + " targets: 1 }"};
  }

  Dataset data_ = MakeToyDataset(kExamples, 8, 2, /*contrast=*/0);
  torch::Tensor weight_ = torch::zeros({2, kPixels});
  LinearModel model_{weight_};
};

TEST_F(AttackLinearTest, ExactlyTheExamplesNearerThanTheRadiusAreBroken) {
  for (const v1::Norm norm : kAttackNorms) {
    const std::vector<double> distances = Distances(norm);
    const double epsilon = GapAmong(distances, 20, 40);
    for (const std::string& attack : ExactAttacks(epsilon)) {
      SCOPED_TRACE(absl::StrCat(Norm_Name(norm), " ", epsilon, " ", attack));
      const v1::AttackJob job = JobOf(attack, norm, {epsilon});
      const auto outcome = Attacked(job, data_, model_);
      ASSERT_OK(outcome);
      ExpectRecordsHold(*outcome, job, data_, model_);
      for (uint32_t i = 0; i < kExamples; ++i) {
        EXPECT_EQ(outcome->records[i].verdict() == v1::VERDICT_BROKEN, distances[i] < epsilon) << i << distances[i];
      }
    }
  }
}

TEST_F(AttackLinearTest, FabFindsTheNearestPointToAPercent) {
  for (const v1::Norm norm : kAttackNorms) {
    const std::vector<double> distances = Distances(norm);
    const double farthest = *std::max_element(distances.begin(), distances.end());
    for (const char* targets : {"", "targets: 1"}) {
      // The smallest radius is what a search may end at, the largest what it may find.
      const v1::AttackJob job =
          JobOf(absl::StrCat("fab { steps: 30 restarts: 1 alpha_max: 0.1 eta: 1.05 beta: 0.9 ", targets, " }"), norm,
                {1e-7, 2 * farthest});
      const auto outcome = Attacked(job, data_, model_);
      ASSERT_OK(outcome);
      ExpectRecordsHold(*outcome, job, data_, model_);
      for (uint32_t i = 0; i < kExamples; ++i) {
        const v1::ExampleRecord& record = outcome->records[i];
        const double nearest = NearestOf(record, norm);
        EXPECT_EQ(record.verdict(), v1::VERDICT_BROKEN) << record.ShortDebugString();
        EXPECT_GE(nearest, distances[i] * (1 - 1e-5) - 1e-6) << Norm_Name(norm) << targets << i;
        EXPECT_LE(nearest, distances[i] * 1.01 + 1e-5) << Norm_Name(norm) << targets << i;
      }
    }
  }
}

TEST_F(AttackLinearTest, RadiiThatShareAJobGetTheVerdictsOfJobsOfTheirOwnForFewerPasses) {
  for (const v1::Norm norm : kAttackNorms) {
    const std::vector<double> distances = Distances(norm);
    const std::vector<double> radii = {GapAmong(distances, 6, 14), GapAmong(distances, 20, 28),
                                       GapAmong(distances, 33, 41), GapAmong(distances, 45, 53)};
    for (const std::string& attack : ExactAttacks(radii.back())) {
      SCOPED_TRACE(absl::StrCat(Norm_Name(norm), " ", attack));
      const v1::AttackJob job = JobOf(attack, norm, radii);
      const auto shared = Attacked(job, data_, model_);
      ASSERT_OK(shared);
      ExpectRecordsHold(*shared, job, data_, model_);
      uint64_t passes_alone = 0, passes_shared = 0;
      for (const v1::ExampleRecord& record : shared->records) passes_shared += record.forward_passes();
      for (const double radius : radii) {
        const auto alone = Attacked(JobOf(attack, norm, {radius}), data_, model_);
        ASSERT_OK(alone);
        for (uint32_t i = 0; i < kExamples; ++i) {
          const v1::ExampleRecord& record = shared->records[i];
          const bool broken = alone->records[i].verdict() == v1::VERDICT_BROKEN;
          EXPECT_EQ(record.has_broken_at() && record.broken_at() <= radius, broken)
              << i << " " << radius << " " << distances[i] << record.ShortDebugString();
          passes_alone += alone->records[i].forward_passes();
        }
      }
      EXPECT_LT(passes_shared, passes_alone);
    }
  }
}

// The search at the largest radius comes first, and what stands there has stood everywhere.
TEST_F(AttackLinearTest, WhatStandsAtTheLargestOfFewRadiiStandsInAJobOfThatRadiusAndTheReverse) {
  for (const v1::Norm norm : kAttackNorms) {
    std::vector<double> radii = {GapAmong(Distances(norm), 20, 40)};
    radii.insert(radii.begin(), {radii[0] / 4, radii[0] / 2});
    for (const char* attack : {"fgsm {}", "pgd { steps: 3 restarts: 2 random_start: true }",
                               "apgd { steps: 5 restarts: 2 rho: 0.75 eot: 1 loss: ATTACK_LOSS_CE }",
                               "square { queries: 30 restarts: 1 p_init: 0.1 }", "noise { draws: 20 }"}) {
      SCOPED_TRACE(absl::StrCat(Norm_Name(norm), " ", attack));
      const auto shared = Attacked(JobOf(attack, norm, radii), data_, model_);
      const auto alone = Attacked(JobOf(attack, norm, {radii.back()}), data_, model_);
      ASSERT_OK(shared);
      ASSERT_OK(alone);
      EXPECT_GT(Count(*alone, v1::VERDICT_UNDECIDED), 0);
      EXPECT_LT(Count(*alone, v1::VERDICT_UNDECIDED), static_cast<int>(kExamples));
      for (uint32_t i = 0; i < kExamples; ++i) {
        EXPECT_EQ(shared->records[i].verdict(), alone->records[i].verdict()) << i;
      }
    }
  }
}

}  // namespace
}  // namespace tightrope
