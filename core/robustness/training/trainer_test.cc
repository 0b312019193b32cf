#include "core/robustness/training/trainer.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/robustness/attack/run_attack.h"
#include "core/robustness/attack/toy_dataset.h"
#include "core/robustness/model/classifier.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kDigest[] = "job";

v1::TrainJob StandardJob(const Dataset& data, uint32_t epochs) {
  v1::TrainJob job;
  *job.mutable_data() = ToyReference(data);
  job.mutable_architecture()->mutable_mlp()->add_hidden(12);
  job.set_seed(1);
  v1::Training& training = *job.mutable_training();
  training.mutable_standard();
  training.set_epochs(epochs);
  training.set_batch_size(16);
  training.set_optimizer(v1::OPTIMIZER_ADAM);
  training.set_learning_rate(0.01);
  training.set_schedule(v1::SCHEDULE_CONSTANT);
  return job;
}

v1::TrainJob PgdJob(const Dataset& data, uint32_t epochs, v1::Norm norm = v1::NORM_LINF) {
  v1::TrainJob job = StandardJob(data, epochs);
  v1::PgdTraining& pgd = *job.mutable_training()->mutable_pgd();
  pgd.set_norm(norm);
  pgd.set_epsilon(norm == v1::NORM_L2 ? 0.5 : 0.1);
  pgd.set_steps(3);
  pgd.set_random_start(true);
  return job;
}

std::string Bytes(const TrainedModel& model) {
  std::string bytes = WriteSafeTensors(model.weights);
  for (const v1::EpochMetrics& epoch : model.epochs) bytes += epoch.SerializeAsString();
  return bytes;
}

class TrainerTest : public ::testing::Test {
 protected:
  Dataset data_ = MakeToyDataset(/*count=*/70, /*side=*/6, /*classes=*/3, /*contrast=*/0.6);  // the last batch has six
};

// The story of a training worker that is killed after some epoch and goes on elsewhere from the file.
TEST_F(TrainerTest, ResumedAtAnyEpoch_WeightsAndMetricsAreBitIdentical) {
  v1::TrainJob sgd = PgdJob(data_, 4, v1::NORM_L2);
  sgd.mutable_training()->set_optimizer(v1::OPTIMIZER_SGD);
  sgd.mutable_training()->set_momentum(0.9);
  sgd.mutable_training()->set_weight_decay(1e-3);
  sgd.mutable_training()->set_schedule(v1::SCHEDULE_STEP);
  sgd.mutable_training()->add_milestones(2);
  sgd.mutable_training()->set_decay(0.1);
  v1::TrainJob adam = PgdJob(data_, 4);
  adam.mutable_training()->set_schedule(v1::SCHEDULE_COSINE);
  adam.mutable_training()->mutable_pgd()->set_warmup_epochs(3);
  v1::TrainJob convolutional = StandardJob(data_, 3);
  convolutional.mutable_architecture()->mutable_small_cnn();
  for (const v1::TrainJob& job : {sgd, adam, convolutional}) {
    std::vector<std::string> checkpoints;
    const TrainCallbacks keep = {.progress = nullptr,
                                 .epoch_done = [&](const v1::EpochMetrics&, const SafeTensors& checkpoint) {
                                   checkpoints.push_back(WriteSafeTensors(checkpoint));
                                   return absl::OkStatus();
                                 }};
    const auto undisturbed = Train(job, kDigest, data_, nullptr, torch::kCPU, keep);
    ASSERT_OK(undisturbed);
    ASSERT_EQ(checkpoints.size(), job.training().epochs());
    for (const std::string& bytes : checkpoints) {
      const auto checkpoint = ParseSafeTensors(bytes);
      ASSERT_OK(checkpoint);
      const auto resumed = Train(job, kDigest, data_, &*checkpoint, torch::kCPU, {});
      ASSERT_OK(resumed);
      EXPECT_EQ(Bytes(*undisturbed), Bytes(*resumed));
    }
  }
}

TEST_F(TrainerTest, LearnsWhatCanBeLearned) {
  const auto model = Train(StandardJob(data_, 15), kDigest, data_, nullptr, torch::kCPU, {});
  ASSERT_OK(model);
  ASSERT_EQ(model->epochs.size(), 15u);
  EXPECT_GT(model->epochs.back().accuracy(), 0.95);
  EXPECT_LT(model->epochs.back().loss(), 0.5 * model->epochs.front().loss());
  EXPECT_EQ(model->epochs.back().epsilon(), 0);
}

TEST_F(TrainerTest, AdversarialTrainingResistsTheAttackThatStandardTrainingDoesNot) {
  // Brighter pixels say the class, but so do few of them: the easy cue is fragile at this radius.
  const Dataset data = MakeToyDataset(300, 6, 3, 0.7);
  v1::AttackJob attack;
  attack.mutable_attack()->set_norm(v1::NORM_LINF);
  attack.add_epsilons(0.12);
  attack.mutable_attack()->mutable_pgd()->set_steps(20);
  attack.mutable_attack()->mutable_pgd()->set_restarts(1);
  v1::Shard all;
  all.set_end(data.count);
  int unbroken[2] = {};
  for (const bool adversarial : {false, true}) {
    v1::TrainJob job = adversarial ? PgdJob(data, 20) : StandardJob(data, 20);
    if (adversarial) {
      job.mutable_training()->mutable_pgd()->set_epsilon(0.12);
      job.mutable_training()->mutable_pgd()->set_warmup_epochs(5);
    }
    const auto model = Train(job, kDigest, data, nullptr, torch::kCPU, {});
    ASSERT_OK(model);
    const auto classifier = LoadTrained(job.architecture(), job.data(), model->weights, torch::kCPU);
    ASSERT_OK(classifier);
    const auto outcome =
        RunAttack(attack, kDigest, all, data, **classifier, [](const EvaluationProgress&) { return true; });
    ASSERT_OK(outcome);
    for (const v1::ExampleRecord& record : outcome->records)
      unbroken[adversarial] += record.verdict() == v1::VERDICT_UNDECIDED;
  }
  EXPECT_GT(unbroken[1], unbroken[0]);
}

TEST_F(TrainerTest, EqualArgumentsGiveEqualBytesAndAnotherSeedOthers) {
  const v1::TrainJob job = PgdJob(data_, 2);
  v1::TrainJob other_seed = job;
  other_seed.set_seed(2);
  const auto first = Train(job, kDigest, data_, nullptr, torch::kCPU, {});
  torch::rand({10});  // the global generator has no say
  const auto second = Train(job, kDigest, data_, nullptr, torch::kCPU, {});
  const auto third = Train(other_seed, kDigest, data_, nullptr, torch::kCPU, {});
  ASSERT_OK(first);
  EXPECT_EQ(Bytes(*first), Bytes(*second));
  EXPECT_NE(Bytes(*first), Bytes(*third));
}

TEST_F(TrainerTest, TheLastPartialBatchIsTrainedOnToo) {
  uint64_t done = 0;
  double fraction = 0;
  const TrainCallbacks watch = {.progress =
                                    [&](const TrainProgress& progress) {
                                      EXPECT_GT(progress.examples_done, done);
                                      EXPECT_GT(progress.fraction, fraction);
                                      done = progress.examples_done;
                                      fraction = progress.fraction;
                                      return true;
                                    },
                                .epoch_done = nullptr};
  const auto model = Train(StandardJob(data_, 2), kDigest, data_, nullptr, torch::kCPU, watch);
  ASSERT_OK(model);
  EXPECT_EQ(done, 140u);
  EXPECT_EQ(fraction, 1);
  const double correct = model->epochs[0].accuracy() * 70;
  EXPECT_NEAR(correct, std::round(correct), 1e-9);
}

TEST_F(TrainerTest, OnlyTheFirstExamplesAreUsedWhereSoManyAreAskedFor) {
  v1::TrainJob job = StandardJob(data_, 2);
  job.mutable_training()->set_examples(20);
  const auto model = Train(job, kDigest, data_, nullptr, torch::kCPU, {});
  Dataset altered = data_;
  for (size_t i = 20 * 36; i < altered.pixels.size(); ++i) altered.pixels[i] = 0;
  const auto of_altered = Train(job, kDigest, altered, nullptr, torch::kCPU, {});
  ASSERT_OK(model);
  ASSERT_OK(of_altered);
  EXPECT_EQ(Bytes(*model), Bytes(*of_altered));
  job.mutable_training()->set_examples(71);
  EXPECT_THAT(Train(job, kDigest, data_, nullptr, torch::kCPU, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("71 examples of 70")));
}

TEST_F(TrainerTest, MetricsTellRateAndRadiusOfTheLastStep) {
  v1::TrainJob job = PgdJob(data_, 3);  // five steps an epoch
  job.mutable_training()->mutable_pgd()->set_warmup_epochs(2);
  job.mutable_training()->set_schedule(v1::SCHEDULE_STEP);
  job.mutable_training()->add_milestones(1);
  job.mutable_training()->set_decay(0.5);
  const auto model = Train(job, kDigest, data_, nullptr, torch::kCPU, {});
  ASSERT_OK(model);
  EXPECT_DOUBLE_EQ(model->epochs[0].epsilon(), 0.1 * 4 / 10);
  EXPECT_DOUBLE_EQ(model->epochs[1].epsilon(), 0.1 * 9 / 10);
  EXPECT_DOUBLE_EQ(model->epochs[2].epsilon(), 0.1);
  EXPECT_DOUBLE_EQ(model->epochs[0].learning_rate(), 0.01);
  EXPECT_DOUBLE_EQ(model->epochs[2].learning_rate(), 0.005);
}

TEST_F(TrainerTest, ALossThatIsNotFiniteEndsTheTrainingAndSaysWhere) {
  v1::TrainJob job = StandardJob(data_, 50);
  job.mutable_training()->set_optimizer(v1::OPTIMIZER_SGD);
  job.mutable_training()->set_learning_rate(1e38);
  EXPECT_THAT(Train(job, kDigest, data_, nullptr, torch::kCPU, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("lower learning_rate"), HasSubstr("epoch"), HasSubstr("step"))));
}

TEST_F(TrainerTest, WeightsThatDivergeInTheVeryLastStepAreNotAModel) {
  v1::TrainJob job = StandardJob(data_, 1);
  job.mutable_training()->set_batch_size(data_.count);  // one step
  job.mutable_training()->set_optimizer(v1::OPTIMIZER_SGD);
  job.mutable_training()->set_weight_decay(1e6);
  job.mutable_training()->set_learning_rate(1e38);
  EXPECT_THAT(Train(job, kDigest, data_, nullptr, torch::kCPU, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("weights became NaN or infinite")));
}

TEST_F(TrainerTest, ACallerThatSaysStopGetsCancelled) {
  const TrainCallbacks stop = {.progress = [](const TrainProgress&) { return false; }, .epoch_done = nullptr};
  EXPECT_EQ(Train(StandardJob(data_, 2), kDigest, data_, nullptr, torch::kCPU, stop).status().code(),
            absl::StatusCode::kCancelled);
}

TEST_F(TrainerTest, AnErrorOfTheEpochCallbackEndsTheTrainingWithIt) {
  const TrainCallbacks lost = {.progress = nullptr, .epoch_done = [](const v1::EpochMetrics&, const SafeTensors&) {
                                 return absl::UnavailableError("no store");
                               }};
  EXPECT_THAT(Train(StandardJob(data_, 2), kDigest, data_, nullptr, torch::kCPU, lost),
              StatusIs(absl::StatusCode::kUnavailable, "no store"));
}

TEST_F(TrainerTest, ACheckpointThatDoesNotFitIsRefused) {
  SafeTensors good;
  const TrainCallbacks keep = {.progress = nullptr,
                               .epoch_done = [&](const v1::EpochMetrics&, const SafeTensors& checkpoint) {
                                 good = checkpoint;
                                 return absl::OkStatus();
                               }};
  const v1::TrainJob job = StandardJob(data_, 2);
  ASSERT_OK(Train(job, kDigest, data_, nullptr, torch::kCPU, keep));
  const auto refusal = [&](const SafeTensors& checkpoint, const v1::TrainJob& of) {
    return Train(of, kDigest, data_, &checkpoint, torch::kCPU, {}).status();
  };
  const auto invalid = [](const char* text) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)); };
  SafeTensors bad = good;
  bad.metadata["job"] = "another";
  EXPECT_THAT(refusal(bad, job), invalid("checkpoint of another job: another"));
  bad = good;
  bad.metadata.clear();
  EXPECT_THAT(refusal(bad, job), invalid("tightrope checkpoint 1"));
  bad = good;
  bad.tensors.erase("epochs");
  EXPECT_THAT(refusal(bad, job), invalid("epochs"));
  bad = good;
  bad.tensors.erase("network.1.weight");
  EXPECT_THAT(refusal(bad, job), invalid("1.weight"));
  bad = good;
  bad.tensors.erase("optimizer.mean.1.weight");
  EXPECT_THAT(refusal(bad, job), invalid("optimizer.mean.1.weight"));
  EXPECT_THAT(refusal(good, StandardJob(data_, 1)), invalid("2 of 1"));
}

TEST_F(TrainerTest, WhatCannotBeTrainedIsRefused) {
  const auto refusal = [&](const v1::TrainJob& job) {
    return Train(job, kDigest, data_, nullptr, torch::kCPU, {}).status();
  };
  const auto invalid = [](const char* text) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)); };
  v1::TrainJob job = StandardJob(data_, 0);
  EXPECT_THAT(refusal(job), invalid("at least one epoch"));
  job = StandardJob(data_, 1);
  job.mutable_training()->clear_method();
  EXPECT_THAT(refusal(job), invalid("method"));
  job = PgdJob(data_, 1);
  job.mutable_training()->mutable_pgd()->set_steps(0);
  EXPECT_THAT(refusal(job), invalid("at least one step"));
  job = PgdJob(data_, 1, v1::NORM_UNSPECIFIED);
  EXPECT_THAT(refusal(job), invalid("norm linf or l2"));
  job = StandardJob(data_, 1);
  job.mutable_data()->set_height(9);  // not what the data is
  EXPECT_THAT(refusal(job), invalid("this data"));
  job.mutable_architecture()->set_torchscript("model.pt");
  EXPECT_THAT(refusal(job), invalid("small_cnn"));
}

TEST(CudaTest, TrainingOnAGpuCanBeResumedBitIdentically) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU that LibTorch can use";
  const Dataset data = MakeToyDataset(70, 6, 3, 0.6);
  const v1::TrainJob job = PgdJob(data, 2);
  std::vector<SafeTensors> checkpoints;
  const TrainCallbacks keep = {.progress = nullptr,
                               .epoch_done = [&](const v1::EpochMetrics&, const SafeTensors& checkpoint) {
                                 checkpoints.push_back(checkpoint);
                                 return absl::OkStatus();
                               }};
  const auto undisturbed = Train(job, kDigest, data, nullptr, torch::Device("cuda:0"), keep);
  ASSERT_OK(undisturbed);
  const auto resumed = Train(job, kDigest, data, &checkpoints[0], torch::Device("cuda:0"), {});
  ASSERT_OK(resumed);
  EXPECT_EQ(Bytes(*undisturbed), Bytes(*resumed));
}

}  // namespace
}  // namespace tightrope
