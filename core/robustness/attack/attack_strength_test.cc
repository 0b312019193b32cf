// That attacks find more the more they may do, and more than chance does.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/robustness/attack/attack_test_support.h"
#include "core/robustness/attack/loss.h"
#include "core/robustness/attack/square_schedule.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

class AttackStrengthTest : public ::testing::Test {
 protected:
  // How many examples stand one radius alone.
  int Undecided(const std::string& attack, v1::Norm norm, double epsilon) {
    const auto outcome = Attacked(JobOf(attack, norm, {epsilon}), data_, linear_);
    EXPECT_THAT(outcome, IsOk()) << attack;
    return outcome.ok() ? Count(*outcome, v1::VERDICT_UNDECIDED) : -1;
  }

  Dataset data_ = MakeToyDataset(24, 8, 4, 0.2);
  LinearModel linear_{ToyWeights(data_)};
};

TEST_F(AttackStrengthTest, WhatSearchesBreaksMoreThanNoise) {
  for (const v1::Norm norm : kAttackNorms) {
    const double epsilon = ToyRadii(norm)[1];
    const int noise = Undecided("noise { distribution: NOISE_DISTRIBUTION_UNIFORM draws: 30 }", norm, epsilon);
    for (const std::string& attack : EveryAttack(norm)) {
      if (IsEnsemble(attack) || absl::StartsWith(attack, "noise") || absl::StartsWith(attack, "square")) continue;
      EXPECT_LT(Undecided(attack, norm, epsilon), noise) << Norm_Name(norm) << " " << attack;
    }
  }
}

// Each list of attacks, run at one radius: every one does what the one before it did, and goes on.
TEST_F(AttackStrengthTest, MoreStepsRestartsQueriesOrDrawsNeverHelpTheModel) {
  const std::string fab = "fab { alpha_max: 0.1 eta: 1.05 beta: 0.9 ";
  const auto series = [](const std::string& before, std::vector<int> values, const std::string& after) {
    std::vector<std::string> attacks;
    for (const int value : values) attacks.push_back(absl::StrCat(before, value, after));
    return attacks;
  };
  const auto counts = [&](const std::vector<std::string>& attacks, v1::Norm norm, double epsilon) {
    std::vector<int> undecided;
    for (const std::string& attack : attacks) undecided.push_back(Undecided(attack, norm, epsilon));
    EXPECT_TRUE(std::is_sorted(undecided.rbegin(), undecided.rend()))
        << attacks.front() << " " << Norm_Name(norm) << ": " << ::testing::PrintToString(undecided);
    return undecided;
  };
  for (const v1::Norm norm : kAttackNorms) {
    const double epsilon = ToyRadii(norm)[0];
    counts(series("pgd { steps: 1 random_start: true restarts: ", {1, 2, 8}, " }"), norm, epsilon);
    counts(series("apgd { loss: ATTACK_LOSS_CE steps: 3 rho: 0.75 eot: 1 restarts: ", {1, 4}, " }"), norm, epsilon);
    counts(series(fab + "restarts: 1 steps: ", {1, 5, 25}, " }"), norm, epsilon);
    counts(series(fab + "steps: 2 restarts: ", {1, 4}, " }"), norm, epsilon);
    counts(series("square { restarts: 1 p_init: 0.1 queries: ", {1, 10, 100}, " }"), norm, epsilon);
    counts(series("square { queries: 5 p_init: 0.1 restarts: ", {1, 4}, " }"), norm, epsilon);
    counts(series("noise { draws: ", {1, 10, 100}, " }"), norm, epsilon);
  }
  const auto falls = [](const std::vector<int>& undecided) { return undecided.front() > undecided.back(); };
  const std::string pgd = "pgd { step_size: 0.004 random_start: true restarts: 1 steps: ";
  EXPECT_TRUE(falls(counts(series(pgd, {1, 4, 16}, " }"), v1::NORM_LINF, 0.05)));
  EXPECT_TRUE(falls(counts(series("square { restarts: 1 p_init: 0.1 queries: ", {1, 100}, " }"), v1::NORM_LINF, 0.05)));
  EXPECT_TRUE(falls(counts(series("noise { draws: ", {1, 100}, " }"), v1::NORM_LINF, 0.2)));
}

TEST_F(AttackStrengthTest, ALargerRadiusNeverHelpsTheModel) {
  for (const v1::Norm norm : kAttackNorms) {
    for (const std::string& attack : EveryAttack(norm)) {
      if (IsEnsemble(attack) || absl::StartsWith(attack, "square")) continue;
      // Goes from ever farther starts along the same twentieth of the pixels.
      if (norm == v1::NORM_L1 && absl::StartsWith(attack, "pgd")) continue;
      std::vector<int> undecided = {Undecided(attack, norm, 0)};
      for (const double epsilon : ToyRadii(norm)) undecided.push_back(Undecided(attack, norm, epsilon));
      EXPECT_TRUE(std::is_sorted(undecided.rbegin(), undecided.rend()) && undecided.front() > undecided.back())
          << Norm_Name(norm) << " " << attack << ": " << ::testing::PrintToString(undecided);
    }
  }
}

// Every proposal of one search, as the model saw it: it differs from the best point before it in one square only, so a
// worse point was never gone on from.
TEST_F(AttackStrengthTest, TheMarginOfASquareSearchNeverFalls) {
  constexpr uint64_t kQueries = 120;
  LabelAsPredicted(data_, linear_);
  std::vector<torch::Tensor> points, logits;
  Made recording([&](const torch::Tensor& inputs) {
    points.push_back(inputs.clone());
    return logits.emplace_back(linear_.Logits(inputs));
  });
  v1::Shard first;
  first.set_end(1);
  const v1::AttackJob job =
      JobOf(absl::StrCat("square { restarts: 1 p_init: 0.3 queries: ", kQueries, " }"), v1::NORM_LINF, {0.001});
  const auto outcome = RunAttack(job, "job", first, data_, recording, [](const EvaluationProgress&) { return true; });
  ASSERT_OK(outcome);
  ASSERT_EQ(Count(*outcome, v1::VERDICT_UNDECIDED), 1);
  ASSERT_EQ(points.size(), 2 + kQueries);  // the example, its stripes, then the squares
  const torch::Tensor label = torch::tensor(std::vector<int64_t>{data_.labels[0]});
  torch::Tensor best = points[1];
  float margin = MarginLoss(logits[1], label).item<float>();
  uint64_t better = 0;
  for (uint64_t i = 0; i < kQueries; ++i) {
    const torch::Tensor& proposal = points[2 + i];
    const torch::Tensor changed = (proposal != best).nonzero();  // rows of (0, 0, row, column)
    const int64_t side = SquareSide(SquareShare(0.3, i, kQueries, false), 8, 8);
    if (changed.size(0) > 0) {
      const torch::Tensor extent = std::get<0>(changed.max(0)) - std::get<0>(changed.min(0)) + 1;
      EXPECT_LE(extent.max().item<int64_t>(), side) << i;
    }
    const float now = MarginLoss(logits[2 + i], label).item<float>();
    if (now <= margin) continue;
    margin = now;
    best = proposal;
    ++better;
  }
  EXPECT_GT(better, 3u);
  EXPECT_LT(better, kQueries - 3);
}

TEST_F(AttackStrengthTest, ASquareSearchInWindowsBreaksWhatOneWithWholeImagesBreaks) {
  const std::unique_ptr<Classifier> network = ToyNetwork(data_);
  ASSERT_NE(network->InWindows(AllInputs(data_)), nullptr);
  Made whole([&](const torch::Tensor& inputs) { return network->Logits(inputs); });
  const v1::AttackJob job = JobOf("square { restarts: 1 p_init: 0.1 queries: 300 }", v1::NORM_LINF, {0.03});
  const auto in_windows = Attacked(job, data_, *network);
  const auto with_images = Attacked(job, data_, whole);
  ASSERT_OK(in_windows);
  ASSERT_OK(with_images);
  EXPECT_GT(in_windows->witnesses.rows, 0);
  ExpectRecordsHold(*in_windows, job, data_, *network);
  EXPECT_NEAR(Count(*in_windows, v1::VERDICT_UNDECIDED), Count(*with_images, v1::VERDICT_UNDECIDED),
              1);  // logits differ by rounding
}

}  // namespace
}  // namespace tightrope
