// The service with a real store, a real blob store and a clock that only the test moves.
#include "coordinator/service.h"

#include <atomic>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/testing/invariance_experiment.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;

// Fails every write from a given moment on, or makes writes wait, as a disk does.
class FailingStore : public ResultStore {
 public:
  explicit FailingStore(ResultStore* store) : store_(store) {}
  void FailFromNowOn() { failing_ = true; }
  // Every batch from now on waits until it is let through. REQUIRES: none is being written.
  void Hold() {
    const absl::MutexLock lock(&mutex_);
    let_through_ = batches_;
  }
  void AwaitBatch() {
    const absl::MutexLock lock(&mutex_);
    const auto waits = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return batches_ > let_through_; };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&waits), absl::Seconds(30))) << "nothing is written";
  }
  void LetOneThrough() {
    const absl::MutexLock lock(&mutex_);
    ++let_through_;
  }
  void LetAllThrough() {
    const absl::MutexLock lock(&mutex_);
    let_through_ = kAll;
  }

  absl::Status Write(absl::Span<const StoreWrite> batch) override {
    {
      const absl::MutexLock lock(&mutex_);
      ++batches_;
      const auto may_pass = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return batches_ <= let_through_; };
      mutex_.Await(absl::Condition(&may_pass));
    }
    return failing_ ? absl::ResourceExhaustedError("disk full") : store_->Write(batch);
  }
  absl::StatusOr<uint32_t> NextGeneration() override { return store_->NextGeneration(); }
  absl::StatusOr<std::vector<v1::KernelOfSignature>> ChooseKernels(
      const std::string& device_kind, const std::string& library_version,
      const std::vector<v1::KernelOfSignature>& proposals) override {
    return store_->ChooseKernels(device_kind, library_version, proposals);
  }
  absl::StatusOr<std::vector<std::string>> ExperimentNames() override { return store_->ExperimentNames(); }
  absl::StatusOr<StoredExperiment> ReadExperiment(const std::string& name) override {
    return store_->ReadExperiment(name);
  }
  absl::StatusOr<StoredPlan> ReadPlan(const std::string& name) override { return store_->ReadPlan(name); }
  absl::StatusOr<std::vector<std::string>> FindCommitted(const std::vector<std::string>& jobs) override {
    return store_->FindCommitted(jobs);
  }
  absl::StatusOr<std::map<std::string, VerdictCounts>> CountVerdicts(const std::vector<std::string>& jobs) override {
    return store_->CountVerdicts(jobs);
  }
  absl::StatusOr<std::optional<InvarianceRecords>> ReadInvariance(const std::string& evaluation,
                                                                  const std::vector<std::string>& attacks) override {
    return store_->ReadInvariance(evaluation, attacks);
  }
  absl::StatusOr<std::vector<v1::AlignmentResult>> ReadAlignment(const std::string& job) override {
    return store_->ReadAlignment(job);
  }
  absl::StatusOr<std::vector<v1::ExampleRecord>> ReadExamples(const std::string& job, uint64_t from,
                                                              uint32_t limit) override {
    return store_->ReadExamples(job, from, limit);
  }
  absl::StatusOr<std::vector<v1::EpochMetrics>> ReadEpochs(const std::string& job) override {
    return store_->ReadEpochs(job);
  }
  absl::StatusOr<std::vector<std::pair<uint32_t, v1::Artifact>>> ReadArtifacts(const std::string& job) override {
    return store_->ReadArtifacts(job);
  }

 private:
  static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
  ResultStore* const store_;
  std::atomic<bool> failing_{false};
  absl::Mutex mutex_;
  int64_t batches_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t let_through_ ABSL_GUARDED_BY(mutex_) = kAll;
};

// An answer to come.
template <typename Answer>
class Pending {
 public:
  std::function<void(absl::StatusOr<Answer>)> Done() {
    return [state = state_](absl::StatusOr<Answer> answer) {
      state->answer = std::move(answer);
      state->there.Notify();
    };
  }
  bool IsThere() const { return state_->there.HasBeenNotified(); }
  absl::StatusOr<Answer> Get() {
    if (!state_->there.WaitForNotificationWithTimeout(absl::Seconds(30))) {
      return absl::DeadlineExceededError("no answer came");
    }
    return state_->answer;
  }

 private:
  struct State {
    absl::Notification there;
    absl::StatusOr<Answer> answer = absl::UnknownError("none yet");
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

class ServiceTest : public ::testing::Test {
 protected:
  ServiceTest() {
    blobs_ = std::make_unique<BlobStore>(*BlobStore::Open(directory_ / "artifacts"));
    for (const std::string& bytes : SmallArtifacts()) EXPECT_OK(blobs_->Put(bytes));
    Restart();
  }
  ~ServiceTest() override {
    EXPECT_OK(service_->CheckInvariants());
    store_->LetAllThrough();
    service_.reset();
    store_.reset();
  }

  // As a crash does: nothing of the old process is left but its files.
  void Restart(bool resume = true) {
    service_.reset();
    sqlite_ = *SqliteStore::Open(directory_ / "results.sqlite");
    store_ = std::make_unique<FailingStore>(sqlite_.get());
    generation_ = *store_->NextGeneration();
    auto service = CoordinatorService::Start({.scheduler = {.generation = generation_, .max_failures = 1},
                                              .resume_experiments = resume,
                                              .epoch = absl::StrCat(generation_),
                                              .clock = [this] { return now_.load(); }},
                                             store_.get(), blobs_.get());
    ASSERT_OK(service);
    service_ = *std::move(service);
  }
  void Pass(absl::Duration time) {
    now_ = now_.load() + time;
    service_->Tick();
  }

  absl::StatusOr<v1::SubmitResponse> Submit(const v1::SubmitRequest& request) {
    Pending<v1::SubmitResponse> pending;
    service_->Submit(request, pending.Done());
    return pending.Get();
  }
  v1::SyncRequest Request(uint32_t want, const std::string& worker = "w") {
    v1::SyncRequest request;
    request.set_worker_id(worker);
    request.set_want(want);
    request.set_poll_ms(1'000);
    return request;
  }
  Pending<v1::SyncResponse> Start(const v1::SyncRequest& request) {
    Pending<v1::SyncResponse> pending;
    service_->Sync(service_->NewCall(), request, pending.Done());
    return pending;
  }
  v1::SyncResponse Sync(const v1::SyncRequest& request) {
    absl::StatusOr<v1::SyncResponse> response = Start(request).Get();
    EXPECT_OK(response);
    return response.ok() ? *std::move(response) : v1::SyncResponse();
  }
  v1::SyncResponse Finish(const v1::Lease& lease, v1::ShardResult result, uint32_t want = 0) {
    v1::SyncRequest request = Request(want);
    *request.add_finished() = Finished(lease, std::move(result));
    return Sync(request);
  }
  v1::Artifact Put(const std::string& role, const std::string& bytes) {
    v1::Artifact artifact;
    artifact.set_role(role);
    artifact.set_sha256(*blobs_->Put(bytes));
    artifact.set_size(bytes.size());
    return artifact;
  }
  // A valid result of any lease but a training's; a set's examples are put first.
  v1::ShardResult ResultOf(const v1::Lease& lease) {
    v1::Artifact examples;
    if (lease.spec().has_invariance()) examples = Put("examples", absl::StrCat("examples ", lease.range().begin()));
    return InvarianceResultFor(lease, examples);
  }
  // Epochs [first, end) of a training, which is at `checkpoint` then.
  v1::SyncRequest Epochs(const v1::Lease& lease, uint32_t first, uint32_t end, const v1::Artifact& checkpoint) {
    v1::SyncRequest request = Request(0);
    v1::RunningAttempt& running = *request.add_running();
    *running.mutable_id() = lease.id();
    running.set_started(true);
    for (uint32_t i = first; i < end; ++i) *running.add_epochs() = SmallEpoch(i);
    *running.mutable_checkpoint() = checkpoint;
    return request;
  }
  v1::ExperimentStatus StatusOf(const std::string& name) { return service_->Status(name)->experiments(0); }

  const TemporaryDirectory directory_;
  std::atomic<absl::Time> now_{absl::UnixEpoch() + absl::Hours(1)};
  std::unique_ptr<BlobStore> blobs_;
  std::unique_ptr<SqliteStore> sqlite_;
  std::unique_ptr<FailingStore> store_;
  uint32_t generation_ = 0;
  std::unique_ptr<CoordinatorService> service_;
};

TEST_F(ServiceTest, ExperimentRunsToItsResults) {
  const v1::SubmitResponse submitted = *Submit(TrainingExperiment("e", 2));
  EXPECT_EQ(submitted.jobs(), 3u);
  EXPECT_EQ(submitted.shards(), 5u);
  v1::SyncResponse response = Sync(Request(8));
  ASSERT_THAT(response.leases(), SizeIs(1));
  const v1::Artifact weights = Put("weights", "the weights");
  response = Finish(response.leases(0), ResultFor(response.leases(0), weights), 8);
  EXPECT_THAT(response.acknowledged(), SizeIs(1));
  ASSERT_THAT(response.leases(), SizeIs(4));
  v1::SyncRequest request = Request(8);
  for (const v1::Lease& lease : response.leases()) {
    EXPECT_EQ(lease.weights().sha256(), weights.sha256());
    *request.add_finished() = Finished(lease, ResultFor(lease));
  }
  EXPECT_THAT(Sync(request).acknowledged(), SizeIs(4));
  EXPECT_TRUE(StatusOf("e").finished());
  EXPECT_EQ(StatusOf("e").jobs().committed(), 3u);
  EXPECT_EQ(StatusOf("e").examples_done(), 40u);
  const v1::ResultsResponse results = *service_->Results("e");
  ASSERT_THAT(results.rows(), SizeIs(2));
  EXPECT_EQ(results.rows(0).metric(), "clean_accuracy");
  EXPECT_DOUBLE_EQ(results.rows(0).value(), 0.8);
  EXPECT_EQ(results.rows(1).metric(), "robust_accuracy");
  EXPECT_DOUBLE_EQ(results.rows(1).value(), 0.5);

  const v1::SubmitResponse again = *Submit(TrainingExperiment("e", 2));
  EXPECT_EQ(again.cached_jobs(), 3u);
  EXPECT_EQ(again.cached_shards(), 5u);
  EXPECT_EQ(StatusOf("e").jobs().cached(), 3u);
  EXPECT_TRUE(StatusOf("e").finished());
}

TEST_F(ServiceTest, SyncIsHeldUntilThereIsWork) {
  Pending<v1::SyncResponse> held = Start(Request(4));
  Pass(absl::Milliseconds(900));
  EXPECT_FALSE(held.IsThere());
  ASSERT_OK(Submit(EvaluationExperiment("e", 4, 1)));
  EXPECT_THAT(held.Get()->leases(), SizeIs(4));
}

TEST_F(ServiceTest, SyncIsAnsweredWhenItsTimeIsUp) {
  Pending<v1::SyncResponse> held = Start(Request(4));
  Pass(absl::Seconds(1));
  EXPECT_THAT(held.Get()->leases(), SizeIs(0));
}

TEST_F(ServiceTest, NewerSyncEndsTheOlder) {
  Pending<v1::SyncResponse> older = Start(Request(4));
  Pending<v1::SyncResponse> newer = Start(Request(4));
  EXPECT_THAT(older.Get(), StatusIs(absl::StatusCode::kAborted, HasSubstr("newer Sync")));
  EXPECT_FALSE(newer.IsThere());
  ASSERT_OK(Submit(EvaluationExperiment("e", 1, 1)));
  EXPECT_THAT(newer.Get()->leases(), SizeIs(1));
}

TEST_F(ServiceTest, CallerGoesAway_WorkIsNotLeasedToIt) {
  Pending<v1::SyncResponse> held;
  const CoordinatorService::CallId call = service_->NewCall();
  service_->Sync(call, Request(4), held.Done());
  service_->Cancel(call);
  EXPECT_THAT(held.Get(), StatusIs(absl::StatusCode::kCancelled, HasSubstr("gone")));
  ASSERT_OK(Submit(EvaluationExperiment("e", 1, 1)));
  EXPECT_EQ(StatusOf("e").shards().pending(), 1u);
}

TEST_F(ServiceTest, ArtifactsAreMissing_SubmissionIsRefusedWithTheirNames) {
  v1::SubmitRequest request = EvaluationExperiment("e", 4, 1);
  (*request.mutable_inputs()->mutable_file_sha256())["model.pt"] = Sha256("elsewhere");
  EXPECT_THAT(Submit(request), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(Sha256("elsewhere"))));
  EXPECT_THAT(service_->Status("e"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such experiment")));
}

TEST_F(ServiceTest, InvalidExperimentIsRefused) {
  v1::SubmitRequest request = EvaluationExperiment("e", 4, 1);
  request.mutable_experiment()->clear_models();
  EXPECT_THAT(Submit(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("models")));
}

TEST_F(ServiceTest, MalformedSyncsAreRefused) {
  const auto refused = [&](const std::function<void(v1::SyncRequest&)>& change) {
    v1::SyncRequest request = Request(1);
    change(request);
    return Start(request).Get().status().code();
  };
  EXPECT_EQ(refused([](auto& r) { r.clear_worker_id(); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused([](auto& r) { r.set_worker_id(std::string(300, 'w')); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused([](auto& r) { r.add_running()->mutable_id()->set_job_digest("x"); }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refused([](auto& r) { r.add_finished()->mutable_id()->set_job_digest(Sha256("x")); }),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ServiceTest, InvalidResultIsAFailureOfTheAttempt) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 2, 2)));
  for (int i = 0; i < 2; ++i) {
    const v1::SyncResponse response = Sync(Request(1));
    ASSERT_THAT(response.leases(), SizeIs(1));
    v1::ShardResult result = ResultFor(response.leases(0));
    result.mutable_records(1)->set_label(77);
    EXPECT_THAT(Finish(response.leases(0), result).acknowledged(), SizeIs(1));
  }
  ASSERT_THAT(StatusOf("e").failures(), SizeIs(1));
  EXPECT_THAT(StatusOf("e").failures(0).message(), HasSubstr("a label is out of range: example 1, 77"));
  EXPECT_THAT(StatusOf("e").failures(0).description(), HasSubstr("evaluate model"));
  EXPECT_TRUE(StatusOf("e").finished());
  Restart();
  EXPECT_EQ(StatusOf("e").jobs().failed(), 1u);
  ASSERT_OK(Submit(EvaluationExperiment("e", 2, 2)));
  EXPECT_THAT(Sync(Request(1)).leases(), SizeIs(1));
}

TEST_F(ServiceTest, ReplyWithAcknowledgementIsLost_RepeatedResultIsAcknowledgedAgain) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 2, 2)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  for (int i = 0; i < 3; ++i) EXPECT_THAT(Finish(lease, ResultFor(lease)).acknowledged(), SizeIs(1));
  EXPECT_EQ(StatusOf("e").nondeterministic_shards(), 0u);
}

TEST_F(ServiceTest, SameShardGivesAnotherResult_IsFlaggedAndSurvivesARestart) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 2, 2)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  Finish(lease, ResultFor(lease));
  v1::ShardResult other = ResultFor(lease);
  other.mutable_records(0)->set_clean_prediction(4);
  EXPECT_THAT(Finish(lease, other).acknowledged(), SizeIs(1));
  EXPECT_EQ(StatusOf("e").nondeterministic_shards(), 1u);
  Restart();
  EXPECT_EQ(StatusOf("e").nondeterministic_shards(), 1u);
  EXPECT_EQ((*store_->ReadExamples(lease.id().job_digest(), 0, 1))[0].clean_prediction(), 9);
}

TEST_F(ServiceTest, CoordinatorRestarts_WorkersGoOnWithTheirLeases) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 3, 1)));
  const v1::SyncResponse before = Sync(Request(3));
  ASSERT_THAT(before.leases(), SizeIs(3));
  Restart();
  v1::SyncRequest request = Request(3);
  *request.add_running()->mutable_id() = before.leases(0).id();
  *request.add_finished() = Finished(before.leases(1), ResultFor(before.leases(1)));
  const v1::SyncResponse after = Sync(request);
  EXPECT_NE(after.coordinator_epoch(), before.coordinator_epoch());
  EXPECT_THAT(after.drop(), SizeIs(0));
  EXPECT_THAT(after.acknowledged(), SizeIs(1));
  ASSERT_THAT(after.leases(), SizeIs(1));
  EXPECT_EQ(after.leases(0).id().shard(), before.leases(2).id().shard());
  EXPECT_GT(after.leases(0).id().epoch(), before.leases(2).id().epoch());
}

TEST_F(ServiceTest, RestartWithoutResuming_OnlyWhatIsSubmittedRuns) {
  ASSERT_OK(Submit(EvaluationExperiment("old", 2, 1)));
  Restart(/*resume=*/false);
  Pending<v1::SyncResponse> held = Start(Request(8));
  EXPECT_FALSE(held.IsThere());
  EXPECT_EQ(StatusOf("old").shards().pending(), 2u);
  EXPECT_FALSE(StatusOf("old").active());
  ASSERT_OK(Submit(EvaluationExperiment("new", 3, 1)));
  EXPECT_THAT(held.Get()->leases(), SizeIs(3));
  EXPECT_TRUE(StatusOf("new").active());
}

TEST_F(ServiceTest, TrainingIsKilled_NextAttemptGetsTheCheckpointAndItsEpochs) {
  ASSERT_OK(Submit(TrainingExperiment("e", 5)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  EXPECT_FALSE(lease.has_checkpoint());
  v1::SyncRequest request = Request(0);
  v1::RunningAttempt& running = *request.add_running();
  *running.mutable_id() = lease.id();
  running.set_started(true);
  *running.add_epochs() = SmallEpoch(0);
  *running.add_epochs() = SmallEpoch(1);
  *running.mutable_checkpoint() = Put("checkpoint", "after two");
  const v1::SyncResponse stored = Sync(request);
  ASSERT_THAT(stored.epochs_stored(), SizeIs(1));
  EXPECT_EQ(stored.epochs_stored(0).count(), 2u);
  Restart();
  const v1::Lease again = Sync(Request(1, "another")).leases(0);
  EXPECT_EQ(again.checkpoint().sha256(), Sha256("after two"));
  EXPECT_THAT(again.epochs(), SizeIs(2));
  // The first worker was only cut off; its epochs do not count any more.
  *running.add_epochs() = SmallEpoch(2);
  EXPECT_THAT(Sync(request).drop(), SizeIs(1));
  EXPECT_THAT(*store_->ReadEpochs(lease.id().job_digest()), SizeIs(2));
}

TEST_F(ServiceTest, CheckpointsGoWhenALaterOneIsStored_AndTheLastWithTheCommit) {
  ASSERT_OK(Submit(TrainingExperiment("e", 3)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  const v1::Artifact first = Put("checkpoint", "after one");
  const v1::Artifact second = Put("checkpoint", "after two");
  EXPECT_EQ(Sync(Epochs(lease, 0, 1, first)).epochs_stored(0).count(), 1u);
  EXPECT_EQ(Sync(Epochs(lease, 0, 1, first)).epochs_stored(0).count(), 1u);  // the answer was lost
  EXPECT_TRUE(blobs_->Has(first.sha256()));
  EXPECT_EQ(Sync(Epochs(lease, 1, 2, second)).epochs_stored(0).count(), 2u);
  EXPECT_FALSE(blobs_->Has(first.sha256()));
  EXPECT_TRUE(blobs_->Has(second.sha256()));
  // What is gone is not gone on from.
  EXPECT_EQ(Sync(Epochs(lease, 0, 1, first)).epochs_stored(0).count(), 2u);
  Restart();
  EXPECT_EQ(Sync(Epochs(lease, 1, 2, second)).epochs_stored(0).count(), 2u);
  const v1::Artifact weights = Put("weights", "the weights");
  EXPECT_THAT(Finish(lease, ResultFor(lease, weights)).acknowledged(), SizeIs(1));
  EXPECT_FALSE(blobs_->Has(second.sha256()));
  EXPECT_TRUE(blobs_->Has(weights.sha256()));
  EXPECT_FALSE(store_->ReadExperiment("e")->jobs[0].checkpoint.has_value());
  EXPECT_THAT(*store_->ReadEpochs(lease.id().job_digest()), SizeIs(3));
}

TEST_F(ServiceTest, WorkerCallsAnInputItsCheckpoint_TheInputStays) {
  ASSERT_OK(Submit(TrainingExperiment("e", 3)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  Sync(Epochs(lease, 0, 1, Put("checkpoint", "train images")));
  EXPECT_EQ(Sync(Epochs(lease, 1, 2, Put("checkpoint", "after two"))).epochs_stored(0).count(), 2u);
  EXPECT_TRUE(blobs_->Has(Sha256("train images")));
}

TEST_F(ServiceTest, WorkerCallsExamplesOfASetItsCheckpoint_TheyStay) {
  ASSERT_OK(Submit(InvarianceExperiment("set", 20)));
  v1::SyncRequest request = Request(0);
  v1::SyncResponse response = Sync(Request(32));
  for (const v1::Lease& lease : response.leases()) {
    if (lease.spec().has_invariance()) *request.add_finished() = Finished(lease, ResultOf(lease));
  }
  EXPECT_THAT(Sync(request).acknowledged(), SizeIs(1));
  ASSERT_OK(Submit(TrainingExperiment("e", 3)));
  response = Sync(Request(32));
  for (const v1::Lease& lease : response.leases()) {
    if (!lease.spec().has_train()) continue;
    Sync(Epochs(lease, 0, 1, Put("checkpoint", "examples 0")));
    EXPECT_EQ(Sync(Epochs(lease, 1, 2, Put("checkpoint", "after two"))).epochs_stored(0).count(), 2u);
  }
  EXPECT_TRUE(blobs_->Has(Sha256("examples 0")));
}

TEST_F(ServiceTest, SetIsMadeInOtherPiecesThanItIsEvaluatedIn_LeasesBringTheFilesOfTheirRange_AlsoAfterRestarts) {
  ASSERT_OK(Submit(InvarianceExperiment("made", 8)));
  v1::SyncRequest request = Request(0);
  v1::SyncResponse response = Sync(Request(32));
  for (const v1::Lease& lease : response.leases()) {
    EXPECT_FALSE(lease.spec().has_evaluate_invariance()) << "there is no set yet";
    const bool last_of_set = lease.spec().has_invariance() && lease.range().end() == 20;
    if (!last_of_set) *request.add_finished() = Finished(lease, ResultOf(lease));
  }
  EXPECT_THAT(Sync(request).acknowledged(), SizeIs(7));  // of a model 2, of the set 2, of the distance 3
  Restart();
  response = Sync(Request(32));
  ASSERT_THAT(response.leases(), SizeIs(1));
  Finish(response.leases(0), ResultOf(response.leases(0)));
  // The same set, but asked about another oracle's labels.
  v1::SubmitRequest again = InvarianceExperiment("evaluated", 5);
  again.mutable_experiment()->mutable_invariance(0)->mutable_oracle()->mutable_nearest()->set_neighbours(1);
  ASSERT_OK(Submit(again));

  for (const bool restarted : {false, true}) {
    if (restarted) Restart();
    std::map<std::string, std::vector<std::string>> brought;  // ranges of leases, ranges of files
    const auto name = [](const v1::Shard& range) { return absl::StrCat(range.begin(), "-", range.end()); };
    response = Sync(Request(32));
    for (const v1::Lease& lease : response.leases()) {
      EXPECT_TRUE(lease.spec().has_evaluate_invariance());
      for (const v1::LeasedExamples& examples : lease.examples()) {
        brought[name(lease.range())].push_back(name(examples.range()));
        EXPECT_EQ(examples.artifact().role(), "examples");
        EXPECT_EQ(examples.artifact().sha256(), Sha256(absl::StrCat("examples ", examples.range().begin())));
      }
    }
    EXPECT_THAT(brought, ElementsAre(Pair("0-5", ElementsAre("0-8")), Pair("0-8", ElementsAre("0-8")),
                                     Pair("10-15", ElementsAre("8-16")), Pair("15-20", ElementsAre("8-16", "16-20")),
                                     Pair("16-20", ElementsAre("16-20")), Pair("5-10", ElementsAre("0-8", "8-16")),
                                     Pair("8-16", ElementsAre("8-16"))));
  }
}

TEST_F(ServiceTest, TrainedModelIsEvaluatedOnASet_ItsLeasesBringWeightsAndExamples) {
  v1::SubmitRequest both = TrainingExperiment("e", 1);
  const v1::SubmitRequest with_set = InvarianceExperiment("e", 20);
  *both.mutable_experiment()->mutable_invariance() = with_set.experiment().invariance();
  ASSERT_OK(Submit(both));
  const v1::Artifact weights = Put("weights", "the weights");
  int evaluated = 0;
  for (int round = 0; round < 3; ++round) {
    v1::SyncRequest request = Request(0);
    const v1::SyncResponse response = Sync(Request(32));
    for (const v1::Lease& lease : response.leases()) {
      const v1::JobSpec& spec = lease.spec();
      *request.add_finished() = Finished(lease, spec.has_train() ? ResultFor(lease, weights) : ResultOf(lease));
      if (!spec.has_evaluate_invariance()) continue;
      ++evaluated;
      EXPECT_EQ(lease.weights().sha256(), weights.sha256());
      EXPECT_THAT(lease.examples(), SizeIs(1));
    }
    if (!request.finished().empty()) Sync(request);
    if (StatusOf("e").finished()) break;
  }
  EXPECT_EQ(evaluated, 1);
  EXPECT_TRUE(StatusOf("e").finished());
}

TEST_F(ServiceTest, ResultsHaveSetsAndDistancesBesideAccuracies) {
  v1::SubmitRequest experiment = InvarianceExperiment("e", 8);
  AddFgsm(experiment, {0.1, 0.3});
  ASSERT_OK(Submit(experiment));
  for (int round = 0; round < 2; ++round) {
    v1::SyncRequest request = Request(0);
    const v1::SyncResponse response = Sync(Request(32));
    for (const v1::Lease& lease : response.leases()) {
      *request.add_finished() = Finished(lease, ResultOf(lease));
    }
    Sync(request);
  }
  ASSERT_TRUE(StatusOf("e").finished());
  std::map<std::string, double> values;
  const v1::ResultsResponse results = *service_->Results("e");
  for (const v1::MetricRow& row : results.rows()) {
    values[absl::StrCat(row.metric(), " ", row.attack(), " ", row.norm(), " ", row.epsilon())] = row.value();
  }
  EXPECT_DOUBLE_EQ(values["clean_accuracy   0"], 0.8);
  EXPECT_DOUBLE_EQ(values["robust_accuracy fgsm linf 0.3"], 0.5);
  EXPECT_DOUBLE_EQ(values["changed linf  0"], 0.5);
  EXPECT_DOUBLE_EQ(values["invariance_error linf  0"], 0.5);
  EXPECT_DOUBLE_EQ(values["inside_robust_radius linf linf 0"], 1.0);
  EXPECT_DOUBLE_EQ(values["sensitivity_error linf linf 0.1"], 0.5);
  EXPECT_DOUBLE_EQ(values["misaligned_share l2 l2 0"], 15.0 / 810);
  EXPECT_DOUBLE_EQ(values["within_radius l2 l2 0.025"], 1.0);
  EXPECT_DOUBLE_EQ(values["nearest_neighbour_error l2 l2 0"], 1.0);
}

TEST_F(ServiceTest, StoreIsSlow_WorkerThatWaitsForItKeepsItsLeases) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 2, 1)));
  const v1::SyncResponse granted = Sync(Request(2));
  ASSERT_THAT(granted.leases(), SizeIs(2));
  store_->Hold();
  v1::SyncRequest request = Request(0);
  *request.add_finished() = Finished(granted.leases(0), ResultFor(granted.leases(0)));
  v1::RunningAttempt& running = *request.add_running();
  *running.mutable_id() = granted.leases(1).id();
  running.set_started(true);
  Pending<v1::SyncResponse> waiting = Start(request);
  store_->AwaitBatch();
  Pass(absl::Minutes(2));
  v1::SyncRequest idle = Request(1, "idle");
  idle.set_poll_ms(0);
  EXPECT_THAT(Sync(idle).leases(), SizeIs(0)) << "the lease was taken from a worker that waits for us";
  EXPECT_FALSE(waiting.IsThere());
  store_->LetAllThrough();
  EXPECT_THAT(waiting.Get()->acknowledged(), SizeIs(1));
  request.clear_finished();
  request.set_poll_ms(0);
  EXPECT_THAT(Sync(request).drop(), SizeIs(0));
}

TEST_F(ServiceTest, JobIsForgottenAndPlannedAgainWhileItsResultIsWritten_NextAttemptIsAcknowledged) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 1, 1)));
  const v1::Lease first = Sync(Request(1)).leases(0);
  store_->Hold();
  Pending<v1::SubmitResponse> before, away, back;
  service_->Submit(EvaluationExperiment("before", 2, 1), before.Done());
  store_->AwaitBatch();
  service_->Submit(EvaluationExperiment("e", 2, 1), away.Done());
  service_->Submit(EvaluationExperiment("f", 1, 1), back.Done());
  store_->LetOneThrough();
  store_->AwaitBatch();  // of both submissions
  v1::SyncRequest late = Request(0);
  *late.add_finished() = Finished(first, ResultFor(first));
  Pending<v1::SyncResponse> offered = Start(late);
  store_->LetOneThrough();
  store_->AwaitBatch();                                       // of the result, of a job that is another one by now
  EXPECT_THAT(Sync(Request(8, "busy")).leases(), SizeIs(2));  // what came first
  v1::SyncRequest all = Request(8, "second");
  all.set_poll_ms(0);
  v1::SyncRequest request = Request(0, "second");
  const v1::SyncResponse granted = Sync(all);
  for (const v1::Lease& lease : granted.leases()) {
    if (lease.id().job_digest() == first.id().job_digest()) *request.add_finished() = Finished(lease, ResultFor(lease));
  }
  ASSERT_THAT(request.finished(), SizeIs(1));
  Pending<v1::SyncResponse> older = Start(request);
  store_->LetOneThrough();
  store_->AwaitBatch();  // of the second result
  Pending<v1::SyncResponse> newer = Start(request);
  store_->LetAllThrough();
  EXPECT_THAT(older.Get(), StatusIs(absl::StatusCode::kAborted, HasSubstr("newer Sync")));
  EXPECT_THAT(newer.Get()->acknowledged(), SizeIs(1));
  EXPECT_OK(offered.Get());
}

TEST_F(ServiceTest, LongFailuresAreCutBetweenCharacters) {
  ASSERT_OK(Submit(TrainingExperiment("e", 1)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  v1::SyncRequest request = Request(0);
  v1::FinishedAttempt& attempt = *request.add_finished();
  *attempt.mutable_id() = lease.id();
  attempt.mutable_failure()->set_permanent(true);
  attempt.mutable_failure()->set_message(std::string((16 << 10) - 1, 'x') + "ε");
  Sync(request);
  EXPECT_EQ(StatusOf("e").failures(0).message(), std::string((16 << 10) - 1, 'x'));
}

TEST_F(ServiceTest, WhatAWorkerNamesIsCutInOurMessages_Too) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 1, 1)));
  for (int i = 0; i < 2; ++i) {
    const v1::Lease lease = Sync(Request(1)).leases(0);
    v1::ShardResult result = ResultFor(lease);
    result.add_artifacts()->set_role(std::string(1 << 20, 'r'));
    Finish(lease, result);
  }
  EXPECT_EQ(StatusOf("e").failures(0).message().size(), size_t{16} << 10);
}

TEST_F(ServiceTest, WorkerVanishes_ItsShardIsHandedOn) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 1, 1)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  Pending<v1::SyncResponse> other = Start(Request(1, "other"));
  Pass(absl::Milliseconds(500));
  EXPECT_FALSE(other.IsThere());
  Pass(absl::Seconds(1));
  EXPECT_THAT(other.Get()->leases(), SizeIs(0));
  Pass(absl::Seconds(30));
  const v1::Lease next = Sync(Request(1, "other")).leases(0);
  EXPECT_GT(next.id().epoch(), lease.id().epoch());
}

TEST_F(ServiceTest, StoreFails_NothingIsPromisedAndTheReasonIsGiven) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 2, 2)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  store_->FailFromNowOn();
  v1::SyncRequest request = Request(0);
  *request.add_finished() = Finished(lease, ResultFor(lease));
  EXPECT_THAT(Start(request).Get(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("store has failed")));
  EXPECT_THAT(service_->Wait(), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_THAT(Start(request).Get(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
  EXPECT_THAT(Submit(EvaluationExperiment("f", 2, 2)), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stopping")));
}

TEST_F(ServiceTest, ReleasedWorkersAreToldToExit) {
  Pending<v1::SyncResponse> held = Start(Request(1));
  service_->ReleaseWorkers();
  EXPECT_TRUE(held.Get()->shutdown());
}

TEST_F(ServiceTest, UpdatesComeAtOnceAndThenNotBeforeTheirInterval) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 1, 1)));
  const auto await = [&](uint64_t seen, absl::Duration not_before) {
    Pending<CoordinatorService::Update> pending;
    service_->AwaitUpdate(service_->NewCall(), "e", seen, not_before, pending.Done());
    return pending;
  };
  const uint64_t seen = await(0, absl::ZeroDuration()).Get()->version;
  Pending<CoordinatorService::Update> next = await(seen, absl::Seconds(5));
  Pass(absl::Seconds(6));
  EXPECT_FALSE(next.IsThere()) << "nothing has changed";
  next = await(seen, absl::Seconds(5));
  Sync(Request(1));
  Pass(absl::Seconds(4));
  EXPECT_FALSE(next.IsThere());
  Pass(absl::Seconds(1));
  EXPECT_EQ(next.Get()->status.experiments(0).shards().leased(), 1u);
}

TEST_F(ServiceTest, WorkerThatIsGivenNothing_WakesNoWatcher) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 1, 1)));
  Sync(Request(1));
  Pending<v1::SyncResponse> idle = Start(Request(1, "idle"));
  Pending<CoordinatorService::Update> first;
  service_->AwaitUpdate(service_->NewCall(), "e", 0, absl::ZeroDuration(), first.Done());
  const uint64_t seen = first.Get()->version;
  Pending<CoordinatorService::Update> next;
  service_->AwaitUpdate(service_->NewCall(), "e", seen, absl::ZeroDuration(), next.Done());
  Pass(absl::Seconds(2));
  EXPECT_TRUE(idle.IsThere());
  Pass(absl::Seconds(2));
  EXPECT_FALSE(next.IsThere());
}

TEST_F(ServiceTest, WatcherSeesTheEndWithoutWaitingForItsInterval) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 1, 1)));
  Pending<CoordinatorService::Update> first;
  service_->AwaitUpdate(service_->NewCall(), "e", 0, absl::ZeroDuration(), first.Done());
  const CoordinatorService::Update update = *first.Get();
  EXPECT_FALSE(update.last);
  Pending<CoordinatorService::Update> next;
  service_->AwaitUpdate(service_->NewCall(), "e", update.version, absl::Hours(1), next.Done());
  const v1::Lease lease = Sync(Request(1)).leases(0);
  EXPECT_FALSE(next.IsThere());
  Finish(lease, ResultFor(lease));
  EXPECT_TRUE(next.Get()->last);
  EXPECT_TRUE(next.Get()->status.experiments(0).finished());
}

TEST_F(ServiceTest, WorkersAreShownWithTheirRate) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 100, 100)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  v1::SyncRequest request = Request(0);
  v1::RunningAttempt& running = *request.add_running();
  *running.mutable_id() = lease.id();
  running.set_started(true);
  request.set_poll_ms(0);
  for (uint64_t i = 1; i <= 5; ++i) {
    now_ = now_.load() + absl::Seconds(2);
    running.set_examples_done(i * 10);
    Sync(request);
  }
  const v1::StatusResponse status = *service_->Status("");
  ASSERT_THAT(status.workers(), SizeIs(1));
  EXPECT_EQ(status.workers(0).leases(), 1u);
  EXPECT_DOUBLE_EQ(status.workers(0).examples_per_second(), 5.0);
  EXPECT_EQ(status.experiments(0).examples_done(), 50u);
}

TEST_F(ServiceTest, ResultThatIsSentAgain_DoesNotMakeTheWorkerFaster) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 40, 40)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  for (int i = 0; i < 5; ++i) {
    now_ = now_.load() + absl::Seconds(2);
    Finish(lease, ResultFor(lease));
  }
  EXPECT_DOUBLE_EQ(service_->Status("")->workers(0).examples_per_second(), 4.0);
}

TEST_F(ServiceTest, ProgressThatIsNoNumber_IsNone) {
  ASSERT_OK(Submit(EvaluationExperiment("e", 1, 1)));
  const v1::Lease lease = Sync(Request(1)).leases(0);
  v1::SyncRequest request = Request(0);
  request.set_poll_ms(0);
  v1::RunningAttempt& running = *request.add_running();
  *running.mutable_id() = lease.id();
  for (const double progress : {std::numeric_limits<double>::quiet_NaN(), -1.0}) {
    running.set_progress(progress);
    Sync(request);
    EXPECT_EQ(StatusOf("e").progress(), 0);
  }
}

}  // namespace
}  // namespace tightrope
