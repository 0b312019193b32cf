// What the engine notes of a model that looks more robust than it is, and gradients of models that draw at random.
#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "core/robustness/attack/attack_test_support.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

constexpr uint32_t kExamples = 24;

class DiagnosticsTest : public ::testing::Test {
 protected:
  DiagnosticsTest() { LabelAsPredicted(data_, linear_); }

  v1::AttackDiagnostics Of(const std::string& attack, Classifier& classifier, double epsilon = 1e-5) {
    const auto outcome = Attacked(JobOf(attack, v1::NORM_LINF, {epsilon}), data_, classifier);
    EXPECT_OK(outcome);
    return outcome.ok() ? outcome->diagnostics : v1::AttackDiagnostics();
  }

  const std::string pgd_ = "pgd { steps: 5 restarts: 1 random_start: true loss: ATTACK_LOSS_CE }";
  Dataset data_ = MakeToyDataset(kExamples, 8, 4, 0.2);
  LinearModel linear_{ToyWeights(data_)};
};

TEST_F(DiagnosticsTest, AnHonestModelShowsNothing) {
  const v1::AttackDiagnostics seen = Of(pgd_, linear_);
  EXPECT_EQ(seen.gradients(), 5 * kExamples);
  EXPECT_EQ(seen.zero_gradients(), 0u);
  EXPECT_EQ(seen.nonfinite_gradients(), 0u);
  EXPECT_EQ(seen.probabilities(), 0u);
  EXPECT_EQ(seen.same_outputs(), 1u);  // the first one's own
  EXPECT_EQ(seen.late_successes(), 0u);
}

TEST_F(DiagnosticsTest, GradientsOfAQuantisedModelAreAllZero) {
  Made steps([&](const torch::Tensor& inputs) {
    const torch::Tensor predicted = linear_.Logits(inputs.detach()).argmax(1, /*keepdim=*/true);
    return torch::zeros({inputs.size(0), 4}).scatter(1, predicted, 1.0) + 0 * inputs.sum();
  });
  EXPECT_EQ(Of(pgd_, steps).zero_gradients(), 5 * kExamples);
}

TEST_F(DiagnosticsTest, AGradientThatIsNotFiniteSomewhereIsCounted) {
  Made spoiled([&](const torch::Tensor& inputs) {
    const torch::Tensor corner = inputs.select(3, 0).select(2, 0).sum(1);
    return linear_.Logits(inputs) +
           (corner - corner.detach()).sqrt().view({-1, 1}) * torch::tensor({1.0f, 0.0f, 0.0f, 0.0f});
  });
  const v1::AttackDiagnostics seen = Of(pgd_, spoiled);
  EXPECT_EQ(seen.nonfinite_gradients(), seen.gradients());
}

TEST_F(DiagnosticsTest, ASoftmaxAtTheEndIsNoticed) {
  Made probabilities([&](const torch::Tensor& inputs) { return linear_.Logits(inputs).softmax(1); });
  EXPECT_EQ(Of(pgd_, probabilities).probabilities(), kExamples);
}

TEST_F(DiagnosticsTest, AConstantModelIsNoticed) {
  Made constant([&](const torch::Tensor& inputs) { return torch::ones({inputs.size(0), 4}) + 0 * inputs.sum(); });
  EXPECT_EQ(Of(pgd_, constant).same_outputs(), kExamples);
  EXPECT_EQ(Of("square { queries: 5 restarts: 1 p_init: 0.5 }", constant).same_outputs(), kExamples);
}

// Steps that get to the end of the ball only at the last: what stands close to it falls late.
TEST_F(DiagnosticsTest, WitnessesOfTheLastStepsAreLateOnes) {
  const auto late = [&](double share_of_radius) {
    uint64_t sum = 0;
    for (double epsilon = 0.02; epsilon < 0.2; epsilon *= 1.1) {
      const double step_size = share_of_radius * epsilon;
      sum += Of(absl::StrCat("pgd { steps: 40 restarts: 1 loss: ATTACK_LOSS_MARGIN step_size: ", step_size, " }"),
                linear_, epsilon)
                 .late_successes();
    }
    return sum;
  };
  EXPECT_GE(late(1.0 / 40), 5u);
  EXPECT_EQ(late(1), 0u);
}

// At every call the weights are swayed to one side or the other, by more than they are.
TEST_F(DiagnosticsTest, AveragedOverTwoLooks_TheGradientOfAModelThatSwaysIsThatOfWhatItSwaysAbout) {
  int call = 0;
  torch::Tensor sway = torch::zeros({4, 64});
  sway.select(0, 0).fill_(30);
  Made swaying([&](const torch::Tensor& inputs) {
    const torch::Tensor off = (inputs - inputs.detach()).flatten(1);  // 0, with a gradient
    return linear_.Logits(inputs) + (off.unsqueeze(1) * sway).sum(2) * (call++ % 2 == 0 ? 1.0 : -1.0);
  });
  const auto stand = [&](int eot, Classifier& classifier) {
    call = 0;
    const auto outcome = Attacked(
        JobOf(absl::StrCat("pgd { steps: 10 restarts: 1 loss: ATTACK_LOSS_MARGIN step_size: 0.02 eot: ", eot, " }"),
              v1::NORM_LINF, {0.06}),
        data_, classifier);
    EXPECT_OK(outcome);
    return Count(*outcome, v1::VERDICT_UNDECIDED);
  };
  const int without_sway = stand(1, linear_);
  EXPECT_EQ(stand(2, swaying), without_sway);
  EXPECT_GT(stand(1, swaying), without_sway);
  EXPECT_LT(without_sway, static_cast<int>(kExamples));
}

// Gradients of the model itself are zero; those of the one that it was made from are not.
TEST_F(DiagnosticsTest, ASurrogatesGradientsBreakAModelThatHidesItsOwn) {
  Made steps([&](const torch::Tensor& inputs) {
    const torch::Tensor predicted = linear_.Logits(inputs.detach()).argmax(1, /*keepdim=*/true);
    return torch::zeros({inputs.size(0), 4}).scatter(1, predicted, 1.0);
  });
  const v1::AttackJob job = JobOf("pgd { steps: 10 restarts: 1 }", v1::NORM_LINF, {0.06});
  v1::Shard range;
  range.set_end(kExamples);
  const auto run = [&](Classifier* surrogate) {
    return RunAttack(
        job, "job", range, data_, steps, [](const EvaluationProgress&) { return true; }, surrogate);
  };
  const auto alone = run(nullptr), transfer = run(&linear_), direct = Attacked(job, data_, linear_);
  ASSERT_OK(alone);
  ASSERT_OK(transfer);
  ASSERT_OK(direct);
  EXPECT_EQ(Count(*alone, v1::VERDICT_BROKEN), 0);
  EXPECT_GT(Count(*transfer, v1::VERDICT_BROKEN), 5);
  EXPECT_EQ(Count(*transfer, v1::VERDICT_BROKEN), Count(*direct, v1::VERDICT_BROKEN));
  ExpectRecordsHold(*transfer, job, data_, steps);
}

// A model of which one input takes a quarter of the memory that a batch may have.
TEST_F(DiagnosticsTest, BatchesOfALargeModelAreSmall) {
  int64_t largest = 0;
  Made large([&](const torch::Tensor& inputs) {
    largest = std::max(largest, inputs.size(0));
    const torch::Tensor wide = torch::empty({inputs.size(0), (int64_t{16} << 20) - 1000});
    return linear_.Logits(inputs) + 0 * wide.select(1, 0).zero_().view({-1, 1});
  });
  Of("fgsm {}", large);
  EXPECT_EQ(largest, static_cast<int64_t>(kExamples));
  large.MeasureMemory({1, 8, 8});
  largest = 0;
  Of("fgsm {}", large);
  EXPECT_EQ(largest, 4);
  // So are those of a small one whose gradients come from it.
  largest = 0;
  v1::Shard range;
  range.set_end(kExamples);
  EXPECT_OK(RunAttack(
      JobOf("fgsm {}", v1::NORM_LINF, {1e-5}), "job", range, data_, linear_,
      [](const EvaluationProgress&) { return true; }, &large));
  EXPECT_EQ(largest, 4);
}

}  // namespace
}  // namespace tightrope
