// The shard runner without a coordinator: what it does with a checkpoint that it cannot use, and with leases on
// invariance-based examples.
#include "worker/shard_runner.h"

#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "core/artifact/digest.h"
#include "core/artifact/npy.h"
#include "core/artifact/safetensors.h"
#include "core/oracle/oracle_label.h"
#include "core/robustness/torch.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/idx_bytes.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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
  void Progress(double fraction, uint64_t examples_done) override {
    last_fraction = fraction;
    last_done = examples_done;
  }
  void EpochsDone(const std::vector<v1::EpochMetrics>& done, const v1::Artifact& checkpoint) override {
    for (const v1::EpochMetrics& epoch : done) epochs.push_back(epoch.epoch());
    checkpoints.push_back(checkpoint);
  }

  double last_fraction = 0;
  uint64_t last_done = 0;
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

// Jobs on the data of the training above, whose even examples are bright and of class 0, its odd ones dark and of class
// 1. The sets are made from the examples 3 … 8.
class InvarianceShardTest : public ShardRunnerTest {
 protected:
  const v1::DatasetRef& data() const { return lease_.spec().train().data(); }

  static v1::Lease LeaseOf(uint64_t begin, uint64_t end) {
    v1::Lease lease;
    lease.mutable_id()->set_job_digest("a job");
    lease.mutable_range()->set_begin(begin);
    lease.mutable_range()->set_end(end);
    return lease;
  }

  v1::Lease AlignmentLease(uint64_t begin, uint64_t end) {
    v1::Lease lease = LeaseOf(begin, end);
    v1::AlignmentJob& job = *lease.mutable_spec()->mutable_alignment();
    *job.mutable_data() = data();
    job.mutable_anchors()->set_count(12);
    job.set_norm(v1::NORM_L1);
    job.set_most_misaligned(3);
    return lease;
  }

  v1::Lease MakingLease(uint64_t begin, uint64_t end) {
    v1::Lease lease = LeaseOf(begin, end);
    v1::InvarianceJob& job = *lease.mutable_spec()->mutable_invariance();
    *job.mutable_data() = data();
    job.mutable_sources()->set_count(6);
    job.mutable_sources()->set_first(3);
    *job.mutable_training() = data();
    v1::LinfInvariance& linf = *job.mutable_set()->mutable_linf();
    linf.set_epsilon(0.3);
    linf.set_form(v1::INVARIANCE_FORM_CORRECTED);
    linf.set_shifts(1);
    linf.set_rotations(1);
    linf.set_candidates(10);
    return lease;
  }

  // With the oracle of the data set, and without the examples.
  v1::Lease EvaluationLease(uint64_t begin, uint64_t end) {
    v1::Lease lease = LeaseOf(begin, end);
    v1::EvaluateInvarianceJob& job = *lease.mutable_spec()->mutable_evaluate_invariance();
    job.mutable_model()->set_torchscript_sha256(AddModel(/*threshold=*/0.4));
    *job.mutable_data() = data();
    job.mutable_sources()->set_count(6);
    job.mutable_sources()->set_first(3);
    job.set_built_by("the job of MakingLease");
    job.mutable_oracle()->mutable_dataset();
    return lease;
  }

  // A model that says 0 where the first pixel is brighter than that.
  std::string AddModel(double threshold) {
    torch::jit::Module module("Model");
    module.register_attribute("threshold", c10::FloatType::get(), threshold);
    module.define(
        "def forward(self, x):\n  above = torch.flatten(x, 1)[:, 0] - self.threshold\n"
        "  return torch.stack([above, -above], 1)\n");
    std::ostringstream file;
    module.save(file);
    return transfer_.Add(file.str());
  }

  // Makes the examples at these positions, and names them in the lease.
  void AddExamples(uint64_t begin, uint64_t end, v1::Lease& lease) {
    const absl::StatusOr<v1::ShardResult> made = runner_->Run(MakingLease(begin, end), never_, observer_);
    ASSERT_OK(made);
    v1::LeasedExamples& leased = *lease.add_examples();
    *leased.mutable_artifact() = made->artifacts(0);
    leased.mutable_range()->set_begin(begin);
    leased.mutable_range()->set_end(end);
  }

  std::vector<int32_t> OracleLabels(const v1::Lease& lease) {
    const absl::StatusOr<v1::ShardResult> result = runner_->Run(lease, never_, observer_);
    EXPECT_OK(result);
    std::vector<int32_t> labels;
    if (!result.ok()) return labels;
    for (const v1::ExampleRecord& record : result->records()) labels.push_back(record.oracle_label());
    return labels;
  }
};

TEST_F(InvarianceShardTest, AlignmentIsMeasuredOfTheAnchorsOfTheRange) {
  const absl::StatusOr<v1::ShardResult> result = runner_->Run(AlignmentLease(3, 8), never_, observer_);
  ASSERT_OK(result);
  ASSERT_EQ(result->alignment().anchors_size(), 5);
  EXPECT_EQ(result->alignment().anchors(0).index(), 3u);
  EXPECT_EQ(result->alignment().anchors(4).triples(), 5u * 6);
  EXPECT_EQ(result->alignment().pairs_size(), 4);
  EXPECT_TRUE(result->records().empty());
  EXPECT_TRUE(result->artifacts().empty());
  EXPECT_EQ(observer_.last_fraction, 1);
  EXPECT_EQ(observer_.last_done, 5u);
}

TEST_F(InvarianceShardTest, ASetIsMade_AFileOfItsShardAndARecordEach) {
  const absl::StatusOr<v1::ShardResult> result = runner_->Run(MakingLease(2, 6), never_, observer_);
  ASSERT_OK(result);
  ASSERT_EQ(result->records_size(), 4);
  for (int i = 0; i < 4; ++i) {
    const v1::ExampleRecord& record = result->records(i);
    EXPECT_EQ(record.index(), static_cast<uint64_t>(2 + i));
    EXPECT_EQ(record.source(), static_cast<uint64_t>(5 + i));
    EXPECT_EQ(record.label(), (5 + i) % 2);
    EXPECT_EQ(record.target(), 1 - record.label());
    EXPECT_LE(record.nearest().linf(), 0.3);
    EXPECT_GT(record.nearest().linf(), 0.299);
  }
  ASSERT_EQ(result->artifacts_size(), 1);
  EXPECT_EQ(result->artifacts(0).role(), "examples");
  const std::string& file = transfer_.files[result->artifacts(0).sha256()];
  EXPECT_EQ(result->artifacts(0).size(), file.size());
  const absl::StatusOr<NpyArray> examples = ParseNpy(file);
  ASSERT_OK(examples);
  EXPECT_EQ(examples->dtype, "<f4");
  EXPECT_THAT(examples->shape, ElementsAre(4, 1, 1, 5));
  EXPECT_EQ(observer_.last_fraction, 1);
  EXPECT_EQ(observer_.last_done, 4u);
}

TEST_F(InvarianceShardTest, SourcesOfAnArray_AreTakenInItsOrder) {
  v1::Lease lease = MakingLease(1, 3);
  v1::Sources& sources = *lease.mutable_spec()->mutable_invariance()->mutable_sources();
  sources.set_indices_sha256(transfer_.Add(WriteIndexNpy(std::vector<int64_t>{0, 11, 4, 1, 1, 1})));
  const absl::StatusOr<v1::ShardResult> result = runner_->Run(lease, never_, observer_);
  ASSERT_OK(result);
  ASSERT_EQ(result->records_size(), 2);
  EXPECT_EQ(result->records(0).source(), 11u);
  EXPECT_EQ(result->records(1).source(), 4u);
  sources.set_indices_sha256(transfer_.Add(WriteIndexNpy(std::vector<int64_t>{0, 12, 4, 1, 1, 1})));
  EXPECT_THAT(runner_->Run(lease, never_, observer_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at position 1: 12")));
}

// The ball reaches across two fifths of the way between the classes, so the model and the nearest image stay.
TEST_F(InvarianceShardTest, AModelIsEvaluatedOnExamplesThatShardsOfOtherSizesMade) {
  v1::Lease lease = EvaluationLease(1, 5);
  AddExamples(0, 2, lease);
  AddExamples(2, 6, lease);
  const absl::StatusOr<v1::ShardResult> result = runner_->Run(lease, never_, observer_);
  ASSERT_OK(result);
  ASSERT_EQ(result->records_size(), 4);
  EXPECT_TRUE(result->artifacts().empty());
  const absl::StatusOr<v1::ShardResult> made = runner_->Run(MakingLease(1, 5), never_, observer_);
  ASSERT_OK(made);
  for (int i = 0; i < 4; ++i) {
    const v1::ExampleRecord& record = result->records(i);
    EXPECT_EQ(record.index(), static_cast<uint64_t>(1 + i));
    EXPECT_EQ(record.source(), static_cast<uint64_t>(4 + i));
    EXPECT_EQ(record.label(), i % 2);
    EXPECT_EQ(record.clean_prediction(), i % 2);
    EXPECT_EQ(record.adversarial_prediction(), i % 2);
    EXPECT_EQ(record.oracle_label(), i % 2);
    EXPECT_EQ(record.nearest().SerializeAsString(), made->records(i).nearest().SerializeAsString());
  }
}

TEST_F(InvarianceShardTest, EachOracleIsAsked) {
  v1::Lease lease = EvaluationLease(1, 5);
  AddExamples(0, 6, lease);
  v1::OracleRef& oracle = *lease.mutable_spec()->mutable_evaluate_invariance()->mutable_oracle();
  EXPECT_THAT(OracleLabels(lease), ElementsAre(0, 1, 0, 1));
  oracle.set_labels_sha256(transfer_.Add("index,ann,bob\n1,1,1\n2,none,none\n3,0,1\n4,0,0\n"));
  EXPECT_THAT(OracleLabels(lease), ElementsAre(1, kNoneOfThese, kUndecided, 0));
  oracle.mutable_nearest()->set_neighbours(1);
  *oracle.mutable_training() = data();
  EXPECT_THAT(OracleLabels(lease), ElementsAre(0, 1, 0, 1));
  oracle.mutable_nearest()->set_first(11);  // the last is dark
  EXPECT_THAT(OracleLabels(lease), ElementsAre(1, 1, 1, 1));
  oracle.set_torchscript_sha256(AddModel(/*threshold=*/0.45));
  EXPECT_THAT(OracleLabels(lease), ElementsAre(0, 1, 0, 1));
  oracle.set_torchscript_sha256(AddModel(/*threshold=*/0.9));
  EXPECT_THAT(OracleLabels(lease), ElementsAre(1, 1, 1, 1));
  oracle.set_torchscript_sha256(lease.spec().evaluate_invariance().model().torchscript_sha256());
  EXPECT_THAT(OracleLabels(lease), ElementsAre(0, 1, 0, 1));
}

TEST_F(InvarianceShardTest, ATrainedModelIsEvaluatedOnAnArrayOfExamples) {
  v1::ShardResult trained;
  ASSERT_TRUE(trained.ParseFromString(undisturbed_));
  v1::Lease lease = EvaluationLease(4, 6);
  *lease.mutable_weights() = trained.artifacts(0);
  v1::EvaluateInvarianceJob& job = *lease.mutable_spec()->mutable_evaluate_invariance();
  job.mutable_model()->set_trained_by("the training");
  *job.mutable_model()->mutable_architecture() = lease_.spec().train().architecture();
  job.set_array_sha256(transfer_.Add(WriteNpy(std::vector<float>(30, 0.5f), {6, 1, 1, 5})));
  const absl::StatusOr<v1::ShardResult> result = runner_->Run(lease, never_, observer_);
  ASSERT_OK(result);
  ASSERT_EQ(result->records_size(), 2);
  EXPECT_EQ(result->records(0).index(), 4u);
  // The two examples are one image.
  EXPECT_EQ(result->records(0).adversarial_prediction(), result->records(1).adversarial_prediction());
  EXPECT_GE(result->records(0).adversarial_prediction(), 0);
}

TEST_F(InvarianceShardTest, TheLeaseLacksRows_TryingAgainCannotHelp) {
  v1::Lease lease = EvaluationLease(1, 5);
  AddExamples(0, 2, lease);
  AddExamples(3, 6, lease);
  EXPECT_THAT(runner_->Run(lease, never_, observer_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("the first that is missing: 2")));
}

TEST_F(InvarianceShardTest, ExamplesOfAnotherTypeShapeOrScale_AreRefused) {
  v1::Lease lease = EvaluationLease(0, 2);
  const auto refused = [&](const std::string& array, const std::string& message) {
    lease.mutable_spec()->mutable_evaluate_invariance()->set_array_sha256(transfer_.Add(array));
    EXPECT_THAT(runner_->Run(lease, never_, observer_),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused(WriteIndexNpy(std::vector<int64_t>(6)), "must be <f4 of shape (6, 1, 1, 5)");
  refused(WriteNpy(std::vector<float>(25), {5, 1, 1, 5}), "must be <f4 of shape (6, 1, 1, 5)");
  refused(WriteNpy(std::vector<float>(30, 200), {6, 1, 1, 5}), "divide grey levels by 255");
}

TEST_F(InvarianceShardTest, OraclesThatDoNotFit_AreRefused) {
  v1::Lease lease = EvaluationLease(0, 2);
  AddExamples(0, 6, lease);
  v1::OracleRef& oracle = *lease.mutable_spec()->mutable_evaluate_invariance()->mutable_oracle();
  const auto refused = [&](const std::string& message) {
    EXPECT_THAT(runner_->Run(lease, never_, observer_),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  oracle.set_labels_sha256(transfer_.Add("index,ann\n6,1\n"));  // the set has 6
  refused("the oracle's table of labels");
  oracle.mutable_nearest()->set_neighbours(13);
  *oracle.mutable_training() = data();
  refused("from 1 to the number of images, 12; got 13");
  oracle.set_torchscript_sha256(transfer_.Add("no model"));
  refused("");
  oracle.clear_oracle();
  refused("names no oracle");
}

TEST_F(InvarianceShardTest, AMakerWithMoreCandidatesThanThereAre_IsRefused) {
  v1::Lease lease = MakingLease(0, 2);
  lease.mutable_spec()->mutable_invariance()->mutable_set()->mutable_linf()->set_candidates(13);
  EXPECT_THAT(runner_->Run(lease, never_, observer_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most the 12 examples")));
}

TEST_F(InvarianceShardTest, EachKindStopsWhenItIsCancelled) {
  v1::Lease evaluation = EvaluationLease(0, 2);
  AddExamples(0, 6, evaluation);
  ASSERT_OK(runner_->Run(evaluation, never_, observer_));
  Cancellation cancelled;
  cancelled.Cancel();
  for (const v1::Lease& lease : {AlignmentLease(0, 12), MakingLease(0, 6), evaluation}) {
    EXPECT_THAT(runner_->Run(lease, cancelled, observer_), StatusIs(absl::StatusCode::kCancelled, _));
  }
}

}  // namespace
}  // namespace tightrope
