#include "core/robustness/training/weight_update.h"

#include <memory>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

v1::Training Adam(double weight_decay) {
  v1::Training training;
  training.set_optimizer(v1::OPTIMIZER_ADAM);
  training.set_weight_decay(weight_decay);
  return training;
}

v1::Training Sgd(double momentum, double weight_decay) {
  v1::Training training;
  training.set_optimizer(v1::OPTIMIZER_SGD);
  training.set_momentum(momentum);
  training.set_weight_decay(weight_decay);
  return training;
}

torch::OrderedDict<std::string, torch::Tensor> Named(const torch::Tensor& parameter) {
  torch::OrderedDict<std::string, torch::Tensor> parameters;
  parameters.insert("0.weight", parameter);
  return parameters;
}

void SetGradient(torch::Tensor& parameter, int step) {
  parameter.mutable_grad() = torch::sin(parameter.detach() * (step + 1) + step);
}

TEST(WeightUpdateTest, TakesTheStepsOfTorchOptim) {
  for (const v1::Training& training : {Adam(0), Adam(0.01), Sgd(0, 0), Sgd(0.9, 0), Sgd(0.9, 0.01)}) {
    torch::Tensor ours = torch::linspace(-1, 1, 12).requires_grad_(true);
    torch::Tensor theirs = ours.detach().clone().requires_grad_(true);
    WeightUpdate update(training, Named(ours));
    std::unique_ptr<torch::optim::Optimizer> optimizer;
    if (training.optimizer() == v1::OPTIMIZER_ADAM) {
      optimizer = std::make_unique<torch::optim::Adam>(
          std::vector<torch::Tensor>{theirs}, torch::optim::AdamOptions(0.1).weight_decay(training.weight_decay()));
    } else {
      optimizer = std::make_unique<torch::optim::SGD>(
          std::vector<torch::Tensor>{theirs},
          torch::optim::SGDOptions(0.1).momentum(training.momentum()).weight_decay(training.weight_decay()));
    }
    for (int step = 0; step < 10; ++step) {
      SetGradient(ours, step);
      SetGradient(theirs, step);
      update.Step(0.1);
      optimizer->step();
    }
    EXPECT_TRUE(torch::allclose(ours, theirs, 1e-5, 1e-6)) << training.DebugString() << ours << theirs;
    EXPECT_FALSE(ours.grad().defined());
  }
}

TEST(WeightUpdateTest, SavedStateContinuesBitIdentically) {
  for (const v1::Training& training : {Adam(0.01), Sgd(0.9, 0.01), Sgd(0, 0)}) {
    torch::Tensor straight = torch::linspace(-1, 1, 12).requires_grad_(true);
    torch::Tensor resumed = straight.detach().clone().requires_grad_(true);
    WeightUpdate whole(training, Named(straight));
    auto part = std::make_unique<WeightUpdate>(training, Named(resumed));
    for (int step = 0; step < 6; ++step) {
      SetGradient(straight, step);
      SetGradient(resumed, step);
      whole.Step(0.1);
      part->Step(0.1);
      SafeTensors saved;
      part->Save(saved);
      part = std::make_unique<WeightUpdate>(training, Named(resumed));
      ASSERT_OK(part->Load(saved, step + 1));
      ASSERT_TRUE(torch::equal(straight, resumed));
    }
  }
}

TEST(WeightUpdateTest, StateOfAnotherOptimizerIsRefused) {
  torch::Tensor parameter = torch::zeros({3}).requires_grad_(true);
  SafeTensors saved;
  WeightUpdate(Sgd(0.9, 0), Named(parameter)).Save(saved);
  EXPECT_THAT(WeightUpdate(Adam(0), Named(parameter)).Load(saved, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("optimizer.mean.0.weight")));
}

TEST(LearningRateTest, FollowsTheSchedule) {
  v1::Training training;
  training.set_learning_rate(0.4);
  training.set_schedule(v1::SCHEDULE_CONSTANT);
  EXPECT_EQ(LearningRate(training, 0, 10, 100), 0.4);
  EXPECT_EQ(LearningRate(training, 99, 10, 100), 0.4);
  training.set_schedule(v1::SCHEDULE_COSINE);
  EXPECT_DOUBLE_EQ(LearningRate(training, 0, 10, 100), 0.4);
  EXPECT_DOUBLE_EQ(LearningRate(training, 50, 10, 100), 0.2);
  EXPECT_NEAR(LearningRate(training, 99, 10, 100), 0, 1e-3 * 0.4);
  training.set_schedule(v1::SCHEDULE_STEP);
  training.set_decay(0.5);
  training.add_milestones(3);
  training.add_milestones(7);
  EXPECT_DOUBLE_EQ(LearningRate(training, 29, 10, 100), 0.4);
  EXPECT_DOUBLE_EQ(LearningRate(training, 30, 10, 100), 0.2);
  EXPECT_DOUBLE_EQ(LearningRate(training, 70, 10, 100), 0.1);
}

TEST(WarmUpTest, GrowsStepByStepFromNothingToAll) {
  v1::PgdTraining pgd;
  EXPECT_EQ(WarmUp(pgd, 0, 10), 1);
  pgd.set_warmup_epochs(2);
  EXPECT_EQ(WarmUp(pgd, 0, 10), 0);
  EXPECT_DOUBLE_EQ(WarmUp(pgd, 1, 10), 0.05);
  EXPECT_DOUBLE_EQ(WarmUp(pgd, 10, 10), 0.5);
  EXPECT_EQ(WarmUp(pgd, 20, 10), 1);
  EXPECT_EQ(WarmUp(pgd, 999, 10), 1);
}

}  // namespace
}  // namespace tightrope
