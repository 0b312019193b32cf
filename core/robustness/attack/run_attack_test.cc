#include "core/robustness/attack/run_attack.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/random/random_stream.h"
#include "core/robustness/attack/attack_test_support.h"
#include "core/robustness/attack/ball.h"
#include "core/robustness/attack/dataset_batch.h"
#include "core/robustness/attack/toy_dataset.h"
#include "core/robustness/model/network.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

const EvaluationCallback kGoOn = [](const EvaluationProgress&) { return true; };

v1::Shard Range(uint64_t begin, uint64_t end) {
  v1::Shard range;
  range.set_begin(begin);
  range.set_end(end);
  return range;
}

v1::AttackJob PgdJob(v1::Norm norm, double epsilon, uint32_t steps = 10, uint32_t restarts = 1, double step_size = 0) {
  v1::AttackJob job;
  job.set_seed(1);
  job.mutable_attack()->set_norm(norm);
  job.add_epsilons(epsilon);
  v1::PgdAttack& pgd = *job.mutable_attack()->mutable_pgd();
  pgd.set_steps(steps);
  pgd.set_restarts(restarts);
  if (step_size > 0) pgd.set_step_size(step_size);
  pgd.set_random_start(true);
  return job;
}

v1::AttackJob FgsmJob(v1::Norm norm, double epsilon) {
  v1::AttackJob job;
  job.mutable_attack()->set_norm(norm);
  job.add_epsilons(epsilon);
  job.mutable_attack()->mutable_fgsm();
  return job;
}

// Two classes with logits (0, w·x + b). Rows do not meet in any product, so that a row's logits are the same in every
// batch.
class LinearClassifier : public Classifier {
 public:
  LinearClassifier(torch::Tensor weight, double bias) : weight_(std::move(weight)), bias_(bias) {}

  torch::Tensor Logits(const torch::Tensor& inputs) override {
    batch_sizes.push_back(inputs.size(0));
    const torch::Tensor score = (inputs.flatten(1) * weight_).sum(1) + bias_;
    return torch::stack({torch::zeros_like(score), score}, 1);
  }
  torch::Device device() const override { return torch::kCPU; }

  std::vector<int64_t> batch_sizes;  // of every look so far

 private:
  torch::Tensor weight_;
  double bias_;
};

// Passes on to another classifier and spoils the logits of some rows.
class SpoiledClassifier : public Classifier {
 public:
  // `spoil`: N×C×H×W → N bool.
  SpoiledClassifier(Classifier& good, std::function<torch::Tensor(const torch::Tensor&)> spoil, float with)
      : good_(good), spoil_(std::move(spoil)), with_(with) {}

  torch::Tensor Logits(const torch::Tensor& inputs) override {
    return good_.Logits(inputs).masked_fill(spoil_(inputs).view({-1, 1}), with_);
  }
  torch::Device device() const override { return torch::kCPU; }

 private:
  Classifier& good_;
  std::function<torch::Tensor(const torch::Tensor&)> spoil_;
  float with_;
};

// A toy data set and a linear model for it.
class RunAttackTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kExamples = 60;
  static constexpr uint32_t kSide = 8;

  Dataset data_ = MakeToyDataset(kExamples, kSide, 2, 0.5);
  torch::Tensor weight_ = MakeWeight();
  LinearClassifier linear_{weight_, 0};  // gets all of them right

  // Class 1 has its odd pixels brighter, class 0 its even ones; not all weights are equal.
  static torch::Tensor MakeWeight() {
    torch::Tensor weight = torch::empty({kSide * kSide});
    for (int64_t i = 0; i < weight.numel(); ++i) {
      weight[i] = (i % 2 == 1 ? 1.0f : -1.0f) * (1.0f + 0.01f * static_cast<float>(i % 7));
    }
    return weight;
  }

  float Score(uint64_t example) {
    const uint32_t index = static_cast<uint32_t>(example);
    return linear_.Logits(MakeBatch(data_, {index}, torch::kCPU).inputs)[0][1].item<float>();
  }
};

// The score moves by at most ε‖w‖₁ (linf) or ε‖w‖₂ (l2), and both attacks reach it: an example is broken exactly when
// its score is nearer to zero than that. Pixels are far enough from 0 and 1 not to be clipped.
TEST_F(RunAttackTest, OnALinearModelExactlyTheExamplesNearerThanTheDualNormAreBroken) {
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2}) {
    const double dual = (norm == v1::NORM_LINF ? weight_.abs().sum() : weight_.norm()).item<double>();
    std::vector<double> distances;
    for (uint64_t i = 0; i < kExamples; ++i) distances.push_back(std::abs(Score(i)) / dual);
    std::vector<double> sorted = distances;
    std::sort(sorted.begin(), sorted.end());
    const double epsilon = (sorted[kExamples / 2 - 1] + sorted[kExamples / 2]) / 2;  // breaks half of them
    // Long steps: what a random start has across the gradient is shrunk away by the projections.
    for (const v1::AttackJob& job : {FgsmJob(norm, epsilon), PgdJob(norm, epsilon, 20, 1, 2 * epsilon)}) {
      const auto outcome = RunAttack(job, "job", Range(0, kExamples), data_, linear_, kGoOn);
      ASSERT_OK(outcome);
      for (const v1::ExampleRecord& record : outcome->records) {
        ASSERT_EQ(record.clean_prediction(), record.label());
        EXPECT_EQ(record.verdict(), distances[record.index()] < epsilon ? v1::VERDICT_BROKEN : v1::VERDICT_UNDECIDED)
            << job.DebugString() << record.DebugString() << distances[record.index()];
      }
      EXPECT_EQ(Count(*outcome, v1::VERDICT_BROKEN), kExamples / 2);
      ExpectRecordsHold(*outcome, job, data_, linear_);
    }
  }
}

TEST_F(RunAttackTest, WithRadiusZeroRobustAccuracyIsCleanAccuracy) {
  LinearClassifier biased(weight_, 6.5);  // gets some of them wrong
  for (const v1::AttackJob& job :
       {PgdJob(v1::NORM_LINF, 0), PgdJob(v1::NORM_L2, 0), FgsmJob(v1::NORM_LINF, 0), FgsmJob(v1::NORM_L2, 0)}) {
    const auto outcome = RunAttack(job, "job", Range(0, kExamples), data_, biased, kGoOn);
    ASSERT_OK(outcome);
    int wrong = 0;
    for (const v1::ExampleRecord& record : outcome->records) wrong += record.clean_prediction() != record.label();
    EXPECT_GT(wrong, 0);
    EXPECT_LT(wrong, static_cast<int>(kExamples));
    EXPECT_EQ(Count(*outcome, v1::VERDICT_BROKEN), wrong);
    EXPECT_EQ(outcome->witnesses.rows, 0);
  }
}

TEST_F(RunAttackTest, AMisclassifiedExampleIsItsOwnWitnessAndIsNotAttacked) {
  LinearClassifier always_one(torch::zeros({kSide * kSide}), 1.0);
  const auto outcome = RunAttack(PgdJob(v1::NORM_LINF, 0.1), "job", Range(0, 2), data_, always_one, kGoOn);
  ASSERT_OK(outcome);
  const v1::ExampleRecord& wrong = outcome->records[0];
  EXPECT_EQ(wrong.label(), 0);
  EXPECT_EQ(wrong.clean_prediction(), 1);
  EXPECT_EQ(wrong.verdict(), v1::VERDICT_BROKEN);
  EXPECT_EQ(wrong.adversarial_prediction(), 1);
  EXPECT_EQ(wrong.distance(), 0);
  EXPECT_EQ(wrong.witness_row(), -1);
  EXPECT_EQ(wrong.forward_passes(), 1u);
  EXPECT_EQ(wrong.backward_passes(), 0u);
}

TEST_F(RunAttackTest, PassesAreCountedPerExample) {
  LinearClassifier always_right(torch::zeros({kSide * kSide}), 1.0);
  const auto outcome = RunAttack(PgdJob(v1::NORM_LINF, 0.1, 7, 3), "job", Range(1, 2), data_, always_right, kGoOn);
  ASSERT_OK(outcome);
  const v1::ExampleRecord& record = outcome->records[0];
  EXPECT_EQ(record.index(), 1u);
  EXPECT_EQ(record.verdict(), v1::VERDICT_UNDECIDED);
  EXPECT_EQ(record.adversarial_prediction(), -1);
  EXPECT_EQ(record.forward_passes(), 1u + 3 * (7 + 1));
  EXPECT_EQ(record.backward_passes(), 3u * 7);
}

TEST_F(RunAttackTest, ABrokenExampleLeavesTheBatchAtOnce) {
  const auto outcome = RunAttack(PgdJob(v1::NORM_LINF, 0.08, 20), "job", Range(0, kExamples), data_, linear_, kGoOn);
  ASSERT_OK(outcome);
  EXPECT_GT(Count(*outcome, v1::VERDICT_BROKEN), 0);
  const std::vector<int64_t>& sizes = linear_.batch_sizes;
  int64_t looked = 0;
  for (const int64_t size : sizes) looked += size;
  int64_t counted = 0;
  for (const v1::ExampleRecord& record : outcome->records) {
    counted += static_cast<int64_t>(record.forward_passes());
    // Clean, one a step, one after the last unless it broke before, and the verdict of what is broken.
    const bool broken = record.verdict() == v1::VERDICT_BROKEN;
    const bool before_the_last = record.backward_passes() < 20 || record.forward_passes() == 20 + 2;
    EXPECT_EQ(record.forward_passes(), record.backward_passes() + (broken && !before_the_last ? 3 : 2))
        << record.DebugString();
  }
  EXPECT_EQ(looked, counted);
}

TEST_F(RunAttackTest, ARepetitionIsBitIdentical) {
  const v1::AttackJob job = PgdJob(v1::NORM_L2, 0.9, 5, 2);
  const auto first = RunAttack(job, "job", Range(0, kExamples), data_, linear_, kGoOn);
  const auto second = RunAttack(job, "job", Range(0, kExamples), data_, linear_, kGoOn);
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_GT(first->witnesses.rows, 0);
  EXPECT_EQ(BytesOf(*first), BytesOf(*second));
}

TEST_F(RunAttackTest, DrawsDoNotDependOnShardBoundaries) {
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2}) {
    // Of several restarts, which may share a batch, the shard could decide which is first.
    const v1::AttackJob job = PgdJob(norm, norm == v1::NORM_L2 ? 0.6 : 0.08, 5, 1);
    const auto whole = RunAttack(job, "job", Range(0, kExamples), data_, linear_, kGoOn);
    ASSERT_OK(whole);
    AttackOutcome joined;
    for (const v1::Shard& range : {Range(0, 13), Range(13, 14), Range(14, kExamples)}) {
      const auto part = RunAttack(job, "job", range, data_, linear_, kGoOn);
      ASSERT_OK(part);
      for (v1::ExampleRecord record : part->records) {
        if (record.witness_row() >= 0)
          record.set_witness_row(record.witness_row() + static_cast<int>(joined.witnesses.rows));
        joined.records.push_back(record);
      }
      joined.witnesses.rows += part->witnesses.rows;
      joined.witnesses.values.insert(joined.witnesses.values.end(), part->witnesses.values.begin(),
                                     part->witnesses.values.end());
    }
    EXPECT_GT(whole->witnesses.rows, 0);
    EXPECT_EQ(BytesOf(*whole), BytesOf(joined));
  }
}

TEST_F(RunAttackTest, AnotherSeedOrJobDrawsOtherPoints) {
  const v1::AttackJob job = PgdJob(v1::NORM_LINF, 0.3, 3);
  v1::AttackJob other_seed = job;
  other_seed.set_seed(2);
  const auto first = RunAttack(job, "job", Range(0, kExamples), data_, linear_, kGoOn);
  const auto by_seed = RunAttack(other_seed, "job", Range(0, kExamples), data_, linear_, kGoOn);
  const auto by_job = RunAttack(job, "another", Range(0, kExamples), data_, linear_, kGoOn);
  ASSERT_OK(first);
  EXPECT_NE(first->witnesses.values, by_seed->witnesses.values);
  EXPECT_NE(first->witnesses.values, by_job->witnesses.values);
}

TEST_F(RunAttackTest, MoreRadiusStepsOrRestartsNeverHelpTheModel) {
  const auto unbroken = [&](const v1::AttackJob& job) {
    const auto outcome = RunAttack(job, "job", Range(0, kExamples), data_, linear_, kGoOn);
    EXPECT_THAT(outcome, IsOk());
    ExpectRecordsHold(*outcome, job, data_, linear_);
    return Count(*outcome, v1::VERDICT_UNDECIDED);
  };
  std::vector<int> by_radius, by_steps, by_restarts;
  for (const double epsilon : {0.0, 0.05, 0.09, 0.1, 0.11})
    by_radius.push_back(unbroken(PgdJob(v1::NORM_LINF, epsilon)));
  for (const uint32_t steps : {1, 2, 4, 8}) by_steps.push_back(unbroken(PgdJob(v1::NORM_L2, 1, steps, 1, 0.2)));
  for (const uint32_t restarts : {1, 2, 4, 8}) {
    by_restarts.push_back(unbroken(PgdJob(v1::NORM_LINF, 0.15, 1, restarts, 0.11)));
  }
  for (const std::vector<int>& counts : {by_radius, by_steps, by_restarts}) {
    EXPECT_TRUE(std::is_sorted(counts.rbegin(), counts.rend())) << ::testing::PrintToString(counts);
    EXPECT_GT(counts.front(), counts.back()) << ::testing::PrintToString(counts);
  }
}

TEST_F(RunAttackTest, NonFiniteLogitsOnACleanExampleAreAnErrorThatNamesIt) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    int64_t seen = 0;
    SpoiledClassifier spoiled(
        linear_,
        [&](const torch::Tensor& inputs) {
          torch::Tensor rows = torch::zeros({inputs.size(0)}, torch::kBool);
          if (seen <= 17 && 17 < seen + inputs.size(0)) rows[17 - seen] = true;
          seen += inputs.size(0);
          return rows;
        },
        bad);
    EXPECT_THAT(RunAttack(PgdJob(v1::NORM_LINF, 0.1), "job", Range(20, 50), data_, spoiled, kGoOn),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("first such example: 37")));
    seen = 0;
    EXPECT_THAT(RunEvaluation(Range(20, 50), data_, spoiled, kGoOn).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("first such example: 37")));
  }
}

TEST_F(RunAttackTest, LogitsThatAreNotFiniteUnderAttackEndItSoThatNothingIsCountedAsRobust) {
  const torch::Tensor clean = MakeBatch(data_, {0, 1, 2, 3}, torch::kCPU).inputs;
  SpoiledClassifier spoiled(
      linear_,
      [&](const torch::Tensor& inputs) {
        const torch::Tensor distance =
            (inputs.flatten(1).unsqueeze(1) - clean.flatten(1).unsqueeze(0)).abs().amax(2).amin(1);
        return distance > 0;
      },
      std::numeric_limits<float>::quiet_NaN());
  for (const v1::AttackJob& job :
       {PgdJob(v1::NORM_LINF, 0.5), PgdJob(v1::NORM_L2, 4), FgsmJob(v1::NORM_LINF, 0.5), FgsmJob(v1::NORM_L2, 4)}) {
    EXPECT_THAT(RunAttack(job, "job", Range(0, 4), data_, spoiled, kGoOn),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("robust accuracy cannot be said")));
  }
}

// Gets every point wrong once, and its stored copy right: what a logit near a tie does in a batch of other size.
TEST_F(RunAttackTest, AnExampleWhoseWitnessDoesNotHoldIsSearchedOnInTheNextRestart) {
  class Wavering : public Classifier {
   public:
    torch::Tensor Logits(const torch::Tensor& inputs) override {
      // Looks: clean, starts of both restarts (wrong), the stored copy of the first (right), start of restart 1 once
      // more (wrong), its copy (wrong).
      const bool right = look_ == 0 || look_ == 2;
      ++look_;
      return torch::tensor({right ? 1.0f : 0.0f, right ? 0.0f : 1.0f}).expand({inputs.size(0), 2});
    }
    torch::Device device() const override { return torch::kCPU; }

   private:
    int look_ = 0;
  };
  Wavering wavering;
  const auto outcome = RunAttack(PgdJob(v1::NORM_LINF, 0.1, 5, 2), "job", Range(0, 1), data_, wavering, kGoOn);
  ASSERT_OK(outcome);
  const v1::ExampleRecord& record = outcome->records[0];
  EXPECT_EQ(record.verdict(), v1::VERDICT_BROKEN);
  EXPECT_EQ(record.forward_passes(), 6u);
  EXPECT_EQ(outcome->witnesses.rows, 1);
}

// One candidate ends all searches of an example; when it does not hold, each of the others is due again, whichever it
// was.
TEST_F(RunAttackTest, SearchesThatAWitnessEndedWhichDoesNotHoldAreAllMadeUpFor) {
  constexpr int kRestarts = 8;
  class WrongButForOneLook : public Classifier {
   public:
    torch::Tensor Logits(const torch::Tensor& inputs) override {
      // Looks: clean (right), eight starts (wrong), the stored copy of one (right), seven starts (wrong), a copy
      // (wrong).
      const bool right = look_ == 0 || look_ == 2;
      ++look_;
      return torch::tensor({right ? 1.0f : 0.0f, right ? 0.0f : 1.0f}).expand({inputs.size(0), 2});
    }
    torch::Device device() const override { return torch::kCPU; }

   private:
    int look_ = 0;
  };
  WrongButForOneLook model;
  const auto outcome = RunAttack(PgdJob(v1::NORM_LINF, 0.1, 5, kRestarts), "job", Range(0, 1), data_, model, kGoOn);
  ASSERT_OK(outcome);
  EXPECT_EQ(outcome->records[0].verdict(), v1::VERDICT_BROKEN);
  EXPECT_EQ(outcome->records[0].forward_passes(), 1u + kRestarts + 1 + (kRestarts - 1) + 1);
}

TEST_F(RunAttackTest, ACallerThatSaysStopGetsCancelled) {
  int calls = 0;
  const EvaluationCallback stop = [&](const EvaluationProgress&) { return ++calls < 3; };
  EXPECT_EQ(
      RunAttack(PgdJob(v1::NORM_LINF, 0.01, 50), "job", Range(0, kExamples), data_, linear_, stop).status().code(),
      absl::StatusCode::kCancelled);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(
      RunEvaluation(Range(0, 10), data_, linear_, [](const EvaluationProgress&) { return false; }).status().code(),
      absl::StatusCode::kCancelled);
}

TEST_F(RunAttackTest, ProgressGrowsToOne) {
  double last = 0;
  uint64_t done = 0;
  const EvaluationCallback watch = [&](const EvaluationProgress& progress) {
    EXPECT_GE(progress.fraction, last);
    EXPECT_GE(progress.examples_done, done);
    last = progress.fraction;
    done = progress.examples_done;
    return true;
  };
  ASSERT_OK(RunAttack(PgdJob(v1::NORM_LINF, 0.05, 4, 3), "job", Range(0, kExamples), data_, linear_, watch));
  EXPECT_EQ(last, 1);
  EXPECT_EQ(done, kExamples);
}

TEST_F(RunAttackTest, EvaluationPredictsEveryExample) {
  const auto records = RunEvaluation(Range(5, 9), data_, linear_, kGoOn);
  ASSERT_OK(records.status());
  ASSERT_EQ(records->size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    const v1::ExampleRecord& record = (*records)[i];
    EXPECT_EQ(record.index(), 5 + i);
    EXPECT_EQ(record.label(), data_.labels[5 + i]);
    EXPECT_EQ(record.clean_prediction(), Score(5 + i) > 0 ? 1 : 0);
    EXPECT_EQ(record.verdict(), v1::VERDICT_UNSPECIFIED);
    EXPECT_EQ(record.forward_passes(), 1u);
  }
}

TEST_F(RunAttackTest, AnEmptyRangeGivesNothing) {
  const auto outcome = RunAttack(PgdJob(v1::NORM_LINF, 0.1), "job", Range(3, 3), data_, linear_, kGoOn);
  ASSERT_OK(outcome);
  EXPECT_TRUE(outcome->records.empty());
}

TEST_F(RunAttackTest, WhatCannotBeRunIsRefused) {
  const auto refused = [&](const v1::AttackJob& job, const v1::Shard& range, Classifier& classifier) {
    return RunAttack(job, "job", range, data_, classifier, kGoOn).status();
  };
  const auto invalid = [](const char* text) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)); };
  const v1::AttackJob good = PgdJob(v1::NORM_LINF, 0.1);
  EXPECT_THAT(refused(good, Range(0, kExamples + 1), linear_), invalid("[0, 61)"));
  EXPECT_THAT(refused(good, Range(3, 2), linear_), invalid("[3, 2)"));
  v1::AttackJob job = good;
  job.mutable_attack()->set_norm(v1::NORM_UNSPECIFIED);
  EXPECT_THAT(refused(job, Range(0, 2), linear_), invalid("takes the norms linf, l2, l1; `unspecified` is not"));
  job = good;
  job.mutable_attack()->clear_method();
  EXPECT_THAT(refused(job, Range(0, 2), linear_), invalid("method"));
  job = good;
  job.set_epsilons(0, std::nan(""));
  EXPECT_THAT(refused(job, Range(0, 2), linear_), invalid("epsilon"));
  EXPECT_THAT(refused(PgdJob(v1::NORM_LINF, 0.1, 0), Range(0, 2), linear_), invalid("`steps` of pgd"));
  EXPECT_THAT(refused(PgdJob(v1::NORM_LINF, 0.1, 5, 0), Range(0, 2), linear_), invalid("`restarts` of pgd"));
  LinearClassifier of_another_shape(torch::ones({9}), 0);
  EXPECT_THAT(refused(good, Range(0, 2), of_another_shape), invalid("this model and data"));
}

// The same code path on a GPU. Radii at which this model keeps some examples and loses others.
TEST(CudaTest, PgdOnAGpuBreaksWhatItBreaksOnTheCpu) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU that LibTorch can use";
  const Dataset data = MakeToyDataset(60, 8, 2, 0.5);
  v1::Architecture architecture;
  architecture.mutable_mlp()->add_hidden(16);
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2}) {
    const v1::AttackJob job = PgdJob(norm, norm == v1::NORM_L2 ? 0.75 : 0.12);
    int unbroken[2] = {};
    for (const bool cuda : {false, true}) {
      auto network = MakeNetwork(architecture, ToyReference(data));
      ASSERT_OK(network);
      InitialiseWeights(**network, RandomStream(3, "job", "weights"));
      const auto classifier = MakeClassifier(*network, cuda ? torch::Device("cuda:0") : torch::Device("cpu"));
      const auto outcome = RunAttack(job, "job", Range(0, 60), data, *classifier, kGoOn);
      ASSERT_OK(outcome);
      unbroken[cuda] = Count(*outcome, v1::VERDICT_UNDECIDED);
      EXPECT_GT(unbroken[cuda], 0);
      EXPECT_GT(outcome->witnesses.rows, 0);
      ExpectRecordsHold(*outcome, job, data, *classifier);
      const auto again = RunAttack(job, "job", Range(0, 60), data, *classifier, kGoOn);
      ASSERT_OK(again);
      EXPECT_EQ(again->witnesses.values, outcome->witnesses.values);
    }
    EXPECT_NEAR(unbroken[0], unbroken[1], 3);
  }
}

}  // namespace
}  // namespace tightrope
