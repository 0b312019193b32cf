// The shard runner without a coordinator: what it does with a checkpoint that it cannot use.
#include "worker/shard_runner.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/artifact/digest.h"
#include "core/artifact/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/idx_bytes.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::_;
using ::testing::ElementsAre;

// A coordinator's artifacts in memory.
class FakeTransfer final : public ArtifactTransfer {
 public:
  absl::Status Get(const std::string& sha256, uint64_t offset, const Sink& sink) override {
    const auto found = files.find(sha256);
    if (found == files.end()) return absl::NotFoundError("no such artifact");
    return sink(found->second.size(), absl::string_view(found->second).substr(offset));
  }
  absl::Status Put(const std::string& sha256, absl::string_view data) override {
    files[sha256] = std::string(data);
    return absl::OkStatus();
  }
  absl::StatusOr<bool> IsMissing(const std::string& sha256) override { return !files.contains(sha256); }

  std::string Add(const std::string& data) {
    files[Sha256(data)] = data;
    return Sha256(data);
  }

  std::map<std::string, std::string> files;
};

// A coordinator that agrees with whoever asks.
class AgreeingExchange final : public KernelExchange {
 public:
  absl::StatusOr<v1::ChooseKernelsResponse> ChooseKernels(const v1::ChooseKernelsRequest& request) override {
    v1::ChooseKernelsResponse response;
    *response.mutable_choices() = request.proposals();
    return response;
  }
};

class Observer final : public ShardObserver {
 public:
  void Progress(double, uint64_t) override {}
  void EpochsDone(const std::vector<v1::EpochMetrics>& done, const v1::Artifact& checkpoint) override {
    for (const v1::EpochMetrics& epoch : done) epochs.push_back(epoch.epoch());
    checkpoints.push_back(checkpoint);
  }

  std::vector<uint32_t> epochs;
  std::vector<v1::Artifact> checkpoints;
};

class ShardRunnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<BlobStore> store = BlobStore::Open(directory_.path());
    ASSERT_OK(store);
    artifacts_ = std::make_unique<ArtifactCache>(
        *std::move(store), transfer_,
        ArtifactCacheOptions{.retry = {.first = absl::ZeroDuration(), .give_up_after = absl::ZeroDuration()}});
    datasets_ = std::make_unique<DatasetCache>(*artifacts_);
    runner_ = MakeTorchShardRunner("cpu", *artifacts_, *datasets_, kernels_);

    lease_.mutable_id()->set_job_digest("job");
    lease_.mutable_range()->set_end(1);
    v1::TrainJob& job = *lease_.mutable_spec()->mutable_train();
    std::string pixels;
    std::string labels;
    for (int i = 0; i < 12; ++i) {
      pixels += std::string(4, static_cast<char>(i % 2 == 0 ? 200 : 20)) + static_cast<char>(i);
      labels += static_cast<char>(i % 2);
    }
    job.mutable_data()->set_images_sha256(transfer_.Add(IdxImageBytes(12, 1, 5, pixels)));
    job.mutable_data()->set_labels_sha256(transfer_.Add(IdxLabelBytes(labels)));
    job.mutable_data()->set_count(12);
    job.mutable_data()->set_channels(1);
    job.mutable_data()->set_height(1);
    job.mutable_data()->set_width(5);
    job.mutable_data()->set_classes(2);
    job.mutable_architecture()->mutable_mlp()->add_hidden(3);
    v1::Training& training = *job.mutable_training();
    training.mutable_standard();
    training.set_epochs(3);
    training.set_batch_size(4);
    training.set_optimizer(v1::OPTIMIZER_ADAM);
    training.set_learning_rate(0.01);
    training.set_schedule(v1::SCHEDULE_CONSTANT);

    Observer observer;
    const absl::StatusOr<v1::ShardResult> result = runner_->Run(lease_, never_, observer);
    ASSERT_OK(result);
    undisturbed_ = result->SerializeAsString();
    checkpoint_ = observer.checkpoints.at(0);
  }

  // Trains with the checkpoint that has this digest, and expects the result of an undisturbed training.
  void ExpectSameResult(const std::string& sha256) {
    lease_.mutable_checkpoint()->set_sha256(sha256);
    lease_.add_epochs();
    const absl::StatusOr<v1::ShardResult> result = runner_->Run(lease_, never_, observer_);
    ASSERT_OK(result);
    EXPECT_EQ(result->SerializeAsString(), undisturbed_);
  }

  const TemporaryDirectory directory_;
  FakeTransfer transfer_;
  AgreeingExchange exchange_;
  KernelTable kernels_{exchange_};
  std::unique_ptr<ArtifactCache> artifacts_;
  std::unique_ptr<DatasetCache> datasets_;
  std::unique_ptr<ShardRunner> runner_;
  const Cancellation never_;
  v1::Lease lease_;
  std::string undisturbed_;
  v1::Artifact checkpoint_;  // after the first epoch
  Observer observer_;
};

TEST_F(ShardRunnerTest, TrainingGoesOnFromItsCheckpoint) {
  ExpectSameResult(checkpoint_.sha256());
  EXPECT_THAT(observer_.epochs, ElementsAre(1, 2));
}

TEST_F(ShardRunnerTest, CheckpointIsGone_TrainingStartsOver) {
  ExpectSameResult(Sha256("nobody has this"));
  EXPECT_THAT(observer_.epochs, ElementsAre(0, 1, 2));
}

TEST_F(ShardRunnerTest, CheckpointIsDamagedInTheCoordinatorsStore_TrainingStartsOver) {
  transfer_.files[checkpoint_.sha256()][100] ^= 1;
  ExpectSameResult(checkpoint_.sha256());
  EXPECT_THAT(observer_.epochs, ElementsAre(0, 1, 2));
}

TEST_F(ShardRunnerTest, CheckpointHasNoDigest_TrainingStartsOver) {
  ExpectSameResult("not a digest");
  EXPECT_THAT(observer_.epochs, ElementsAre(0, 1, 2));
}

TEST_F(ShardRunnerTest, CheckpointIsNoSafetensorsFile_TrainingStartsOver) {
  ExpectSameResult(transfer_.Add("something else"));
  EXPECT_THAT(observer_.epochs, ElementsAre(0, 1, 2));
}

TEST_F(ShardRunnerTest, CheckpointOfAnotherJob_TrainingStartsOver) {
  absl::StatusOr<SafeTensors> other = ParseSafeTensors(transfer_.files[checkpoint_.sha256()]);
  ASSERT_OK(other);
  other->metadata["job"] = "another";
  ExpectSameResult(transfer_.Add(WriteSafeTensors(*other)));
  EXPECT_THAT(observer_.epochs, ElementsAre(0, 1, 2));
}

TEST_F(ShardRunnerTest, CheckpointWithATensorMissing_TrainingStartsOver) {
  absl::StatusOr<SafeTensors> half = ParseSafeTensors(transfer_.files[checkpoint_.sha256()]);
  ASSERT_OK(half);
  half->tensors.erase(half->tensors.begin());
  ExpectSameResult(transfer_.Add(WriteSafeTensors(*half)));
  EXPECT_THAT(observer_.epochs, ElementsAre(0, 1, 2));
}

// Starting over must not hide what is wrong with the training itself.
TEST_F(ShardRunnerTest, TrainingThatCannotRun_FailsWithItsOwnErrorWhateverItsCheckpoint) {
  lease_.mutable_spec()->mutable_train()->mutable_training()->set_batch_size(0);
  lease_.mutable_checkpoint()->set_sha256(checkpoint_.sha256());
  EXPECT_THAT(runner_->Run(lease_, never_, observer_), StatusIs(absl::StatusCode::kInvalidArgument, _));
}

}  // namespace
}  // namespace tightrope
