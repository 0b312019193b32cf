#include "coordinator/store/sqlite_store.h"

#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/testing/invariance_experiment.h"
#include "core/plan/plan.h"
#include "core/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

ResultDigest Digest(uint8_t value) {
  ResultDigest digest{};
  digest[0] = value;
  return digest;
}

class SqliteStoreTest : public ::testing::Test {
 protected:
  void Open() {
    store_.reset();
    absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open(path_);
    ASSERT_OK(store);
    store_ = *std::move(store);
  }
  // Submits and returns what the store has of it then.
  StoredExperiment Submit(const v1::SubmitRequest& request) {
    const StoreWrite write = StoreSubmission{.experiment = request.experiment(),
                                             .inputs = request.inputs(),
                                             .source = "yaml",
                                             .plan = MakePlan(request.experiment(), request.inputs())};
    EXPECT_OK(store_->Write({&write, 1}));
    return Read(request.experiment().name());
  }
  StoredExperiment Read(const std::string& name) {
    absl::StatusOr<StoredExperiment> stored = store_->ReadExperiment(name);
    EXPECT_OK(stored);
    return stored.ok() ? *stored : StoredExperiment{};
  }
  static StoreResult Result(const v1::Job& job, uint32_t shard, uint8_t digest = 1) {
    v1::Lease lease;
    *lease.mutable_spec() = job.spec();
    *lease.mutable_range() = job.shards(static_cast<int>(shard));
    v1::Artifact made;
    made.set_role(job.spec().has_invariance() ? "examples" : "weights");
    made.set_sha256(Sha256("weights"));
    made.set_size(7);
    return {.lease = {job.digest(), shard, 42},
            .worker = "w",
            .seconds = 1.5,
            .digest = Digest(digest),
            .result = InvarianceResultFor(lease, made)};
  }
  absl::Status Write(StoreWrite write) { return store_->Write({&write, 1}); }
  absl::Status Commit(const v1::Job& job) {
    for (int i = 0; i < job.shards_size(); ++i) ABSL_RETURN_IF_ERROR(Write(Result(job, static_cast<uint32_t>(i))));
    return absl::OkStatus();
  }
  // Closes the store and takes away what it got after that version.
  void Downgrade(int version) {
    store_.reset();
    auto database = SqliteDatabase::Open(path_, /*read_only=*/false);
    ASSERT_OK(database);
    std::string steps = "DROP TABLE alignments;";
    for (const char* column : {"source", "target", "oracle_label"}) {
      absl::StrAppend(&steps, "ALTER TABLE examples DROP COLUMN ", column, ";");
    }
    if (version < 3) absl::StrAppend(&steps, "DROP TABLE diagnostics;");
    if (version < 2) {
      absl::StrAppend(&steps, "DROP TABLE kernels;");
      for (const char* column :
           {"broken_at", "first_success", "broken_by", "nearest_linf", "nearest_l2", "nearest_l1", "nearest_l0"}) {
        absl::StrAppend(&steps, "ALTER TABLE examples DROP COLUMN ", column, ";");
      }
    }
    ASSERT_OK((*database)->Execute(absl::StrCat(steps, "PRAGMA user_version = ", version)));
  }

  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "results.sqlite";
  std::unique_ptr<SqliteStore> store_;
};

v1::KernelOfSignature Kernel(const std::string& signature, const std::string& kernel) {
  v1::KernelOfSignature made;
  made.set_signature(signature);
  made.set_kernel(kernel);
  return made;
}

TEST_F(SqliteStoreTest, EverythingSurvivesReopening) {
  Open();
  const StoredExperiment before = Submit(TrainingExperiment("e", 3));
  ASSERT_THAT(before.jobs, SizeIs(3));
  for (const StoredJob& job : before.jobs) {
    for (int i = 0; i < job.job.shards_size(); ++i) ASSERT_OK(Write(Result(job.job, static_cast<uint32_t>(i))));
  }
  Open();
  const StoredExperiment after = Read("e");
  ASSERT_THAT(after.jobs, SizeIs(3));
  EXPECT_THAT(after.cells, SizeIs(before.cells.size()));
  for (size_t i = 0; i < after.jobs.size(); ++i) {
    EXPECT_EQ(after.jobs[i].job.SerializeAsString(), before.jobs[i].job.SerializeAsString());
    EXPECT_THAT(after.jobs[i].restored, SizeIs(static_cast<size_t>(after.jobs[i].job.shards_size())));
    EXPECT_EQ(after.jobs[i].restored[0].epoch, 42u);
    EXPECT_EQ(after.jobs[i].cached_shards, 0u);
  }
  const v1::Job& train = after.jobs[0].job;
  EXPECT_TRUE(train.spec().has_train());
  ASSERT_TRUE(after.jobs[0].weights.has_value());
  EXPECT_EQ(after.jobs[0].weights->sha256(), Sha256("weights"));
  EXPECT_THAT(*store_->ReadEpochs(train.digest()), SizeIs(3));
  EXPECT_THAT(*store_->ReadArtifacts(train.digest()), SizeIs(1));

  const std::string& evaluate = after.jobs[1].job.digest();
  const std::vector<v1::ExampleRecord> records = *store_->ReadExamples(evaluate, 5, 10);
  ASSERT_THAT(records, SizeIs(10));
  EXPECT_EQ(records[0].index(), 5u);
  EXPECT_EQ(records[0].label(), 5);
  EXPECT_EQ(records[0].clean_prediction(), 9);
  EXPECT_EQ(records[0].adversarial_prediction(), -1);
  EXPECT_EQ(records[0].forward_passes(), 1u);
}

TEST_F(SqliteStoreTest, VerdictsAreCountedOfCommittedJobsOnly) {
  Open();
  const StoredExperiment stored = Submit(TrainingExperiment("e", 1));
  const v1::Job& attack = stored.jobs[2].job;
  ASSERT_TRUE(attack.spec().has_attack());
  ASSERT_OK(Write(Result(attack, 0)));
  EXPECT_THAT(*store_->CountVerdicts({attack.digest()}), IsEmpty());
  EXPECT_THAT(*store_->FindCommitted({attack.digest()}), IsEmpty());
  ASSERT_OK(Write(Result(attack, 1)));
  const VerdictCounts counts = store_->CountVerdicts({attack.digest()})->at(attack.digest());
  EXPECT_EQ(counts.n, 20u);
  EXPECT_EQ(counts.clean_correct, 10u);
  EXPECT_EQ(counts.NotBrokenAt(0.1), 10u);
  EXPECT_THAT(*store_->FindCommitted({"unknown", attack.digest()}), ElementsAre(attack.digest()));
}

// Two examples of the result broken by an attack: one at 0.1, one at 0.2.
void BreakTwo(v1::ShardResult& result) {
  int row = 0;
  for (const double radius : {0.1, 0.2}) {
    v1::ExampleRecord& record = *result.mutable_records(2 * row);
    record.set_verdict(v1::VERDICT_BROKEN);
    record.set_adversarial_prediction(9);
    record.set_distance(radius);
    record.set_witness_row(row++);
    record.set_broken_at(radius);
    record.set_first_success(1);
    record.set_broken_by("pgd");
    record.mutable_nearest()->set_linf(radius / 2);
    record.mutable_nearest()->set_l0(7);
  }
}

TEST_F(SqliteStoreTest, VerdictsAreCountedAtEveryRadius_AndWhatBrokeAnExampleIsKept) {
  Open();
  const v1::Job attack = Submit(TrainingExperiment("e", 1)).jobs[2].job;
  StoreResult first = Result(attack, 0);
  BreakTwo(first.result);
  ASSERT_OK(Write(first));
  ASSERT_OK(Write(Result(attack, 1)));
  const VerdictCounts counts = store_->CountVerdicts({attack.digest()})->at(attack.digest());
  EXPECT_EQ(counts.n, 20u);
  EXPECT_EQ(counts.clean_correct, 10u);
  EXPECT_EQ(counts.NotBrokenAt(0.05), 10u);
  EXPECT_EQ(counts.NotBrokenAt(0.1), 9u);
  EXPECT_EQ(counts.NotBrokenAt(0.2), 8u);
  const std::vector<v1::ExampleRecord> records = *store_->ReadExamples(attack.digest(), 0, 10);
  ASSERT_THAT(records, SizeIs(10));
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(records[static_cast<size_t>(i)].SerializeAsString(), first.result.records(i).SerializeAsString());
  }
}

TEST_F(SqliteStoreTest, StoreOfSchema1IsBroughtUpToDate_BrokenExamplesStayBrokenAtTheirOneRadius) {
  Open();
  const v1::Job attack = Submit(TrainingExperiment("e", 1)).jobs[2].job;
  StoreResult first = Result(attack, 0);
  BreakTwo(first.result);
  ASSERT_OK(Write(first));
  ASSERT_OK(Write(Result(attack, 1)));
  Downgrade(1);
  for (int opened = 0; opened < 2; ++opened) {  // the second time there is nothing to do
    Open();
    EXPECT_EQ(store_->CountVerdicts({attack.digest()})->at(attack.digest()).NotBrokenAt(0.1), 8u);
    const std::vector<v1::ExampleRecord> records = *store_->ReadExamples(attack.digest(), 0, 1);
    ASSERT_THAT(records, SizeIs(1));
    EXPECT_EQ(records[0].verdict(), v1::VERDICT_BROKEN);
    EXPECT_FALSE(records[0].has_broken_at());
    EXPECT_FALSE(records[0].has_nearest());
    EXPECT_FALSE(records[0].has_source());
    EXPECT_OK(store_->ChooseKernels("cpu", "1", {Kernel("a", "x")}));
  }
}

TEST_F(SqliteStoreTest, StoreOfSchema2GetsATableOfDiagnostics_WhatWasCommittedHasNone) {
  Open();
  const v1::Job attack = Submit(TrainingExperiment("e", 1)).jobs[2].job;
  ASSERT_OK(Write(Result(attack, 0)));
  Downgrade(2);
  Open();
  StoreResult second = Result(attack, 1);
  second.result.mutable_diagnostics()->set_gradients(7);
  ASSERT_OK(Write(second));
  EXPECT_EQ(store_->CountVerdicts({attack.digest()})->at(attack.digest()).diagnostics.gradients(), 7u);
}

// The first job of that kind.
v1::Job JobOf(const StoredExperiment& experiment, v1::JobSpec::KindCase kind) {
  for (const StoredJob& stored : experiment.jobs) {
    if (stored.job.spec().kind_case() == kind) return stored.job;
  }
  ADD_FAILURE() << "no job of kind " << kind;
  return {};
}

TEST_F(SqliteStoreTest, StoreOfEveryOlderSchemaTakesSetsAndAlignments) {
  for (const int version : {1, 2, 3}) {
    Open();
    const v1::Job before = Submit(EvaluationExperiment("old", 20, 10)).jobs[0].job;
    ASSERT_OK(Commit(before));
    Downgrade(version);
    Open();
    EXPECT_THAT(*store_->ReadExamples(before.digest(), 0, 100), SizeIs(20)) << version;
    const StoredExperiment stored = Submit(InvarianceExperiment("e", 8));
    const v1::Job evaluation = JobOf(stored, v1::JobSpec::kEvaluateInvariance);
    const v1::Job alignment = JobOf(stored, v1::JobSpec::kAlignment);
    ASSERT_OK(Commit(evaluation)) << version;
    ASSERT_OK(Commit(alignment)) << version;
    const std::vector<v1::ExampleRecord> records = *store_->ReadExamples(evaluation.digest(), 2, 1);
    ASSERT_THAT(records, SizeIs(1));
    EXPECT_EQ(records[0].source(), 2u);
    EXPECT_EQ(records[0].oracle_label(), 3);
    EXPECT_FALSE(records[0].has_target());
    EXPECT_THAT(*store_->ReadAlignment(alignment.digest()), SizeIs(3));
    store_.reset();
    std::filesystem::remove(path_);
    std::filesystem::remove(path_ + "-wal");
    std::filesystem::remove(path_ + "-shm");
  }
}

TEST_F(SqliteStoreTest, SetIsMadeInPart_ItsExamplesAreThereAfterReopening) {
  Open();
  const v1::Job set = JobOf(Submit(InvarianceExperiment("e", 8)), v1::JobSpec::kInvariance);
  ASSERT_EQ(set.shards_size(), 3);
  const StoreResult second = Result(set, 1);
  ASSERT_OK(Write(second));
  Open();
  const StoredExperiment stored = Read("e");
  for (const StoredJob& job : stored.jobs) {
    if (job.job.digest() != set.digest()) {
      EXPECT_THAT(job.examples, IsEmpty());
      continue;
    }
    ASSERT_THAT(job.examples, SizeIs(1));
    EXPECT_EQ(job.examples.at(1).SerializeAsString(), second.result.artifacts(0).SerializeAsString());
  }
  const std::vector<v1::ExampleRecord> records = *store_->ReadExamples(set.digest(), 0, 100);
  ASSERT_THAT(records, SizeIs(8));
  EXPECT_EQ(records[0].SerializeAsString(), second.result.records(0).SerializeAsString());
}

TEST_F(SqliteStoreTest, EvaluationOnASetIsReadWithWhatAttacksFoundOnItsSources_OnceTheyAreCommitted) {
  Open();
  v1::SubmitRequest request = InvarianceExperiment("e", 8);
  AddFgsm(request, {0.1, 0.2});
  const StoredExperiment stored = Submit(request);
  const v1::Job evaluation = JobOf(stored, v1::JobSpec::kEvaluateInvariance);
  const v1::Job attack = JobOf(stored, v1::JobSpec::kAttack);
  const auto read = [&] { return *store_->ReadInvariance(evaluation.digest(), {attack.digest(), "unknown"}); };
  EXPECT_FALSE(read().has_value());
  ASSERT_OK(Commit(evaluation));
  ASSERT_TRUE(read().has_value());
  EXPECT_THAT(read()->examples, SizeIs(20));
  EXPECT_THAT(read()->broken_at, IsEmpty());

  StoreResult first = Result(attack, 0);
  BreakTwo(first.result);
  ASSERT_OK(Write(first));
  EXPECT_THAT(read()->broken_at, IsEmpty());
  ASSERT_OK(Write(Result(attack, 1)));
  const InvarianceRecords records = *read();
  EXPECT_EQ(records.examples[4].SerializeAsString(), Result(evaluation, 0).result.records(4).SerializeAsString());
  ASSERT_THAT(records.broken_at, SizeIs(1));
  const std::map<uint64_t, std::optional<double>>& broken_at = records.broken_at.at(attack.digest());
  EXPECT_THAT(broken_at, SizeIs(20));
  EXPECT_EQ(broken_at.at(0), std::optional(0.1));
  EXPECT_EQ(broken_at.at(1), std::optional(0.0)) << "misclassified as it is";
  EXPECT_EQ(broken_at.at(2), std::optional(0.2));
  EXPECT_FALSE(broken_at.at(4).has_value());
}

TEST_F(SqliteStoreTest, SourcesThatNoAttackHasSeenHaveNoOutcome_AndOneThatIsListedTwiceHasOne) {
  Open();
  v1::SubmitRequest request = InvarianceExperiment("e", 20);
  AddFgsm(request, {0.1});
  const StoredExperiment stored = Submit(request);
  const v1::Job evaluation = JobOf(stored, v1::JobSpec::kEvaluateInvariance);
  const v1::Job attack = JobOf(stored, v1::JobSpec::kAttack);
  ASSERT_OK(Commit(attack));
  StoreResult result = Result(evaluation, 0);
  for (v1::ExampleRecord& record : *result.result.mutable_records())
    record.set_source(record.index() % 2 == 0 ? 6 : 99);
  ASSERT_OK(Write(result));
  const InvarianceRecords records = **store_->ReadInvariance(evaluation.digest(), {attack.digest()});
  EXPECT_THAT(records.broken_at.at(attack.digest()), ElementsAre(Pair(6u, std::optional<double>())));
}

TEST_F(SqliteStoreTest, AlignmentIsReadInTheOrderOfItsShards_OnceItIsCommitted) {
  Open();
  const v1::Job alignment = JobOf(Submit(InvarianceExperiment("e", 8)), v1::JobSpec::kAlignment);
  ASSERT_EQ(alignment.shards_size(), 3);
  for (const uint32_t shard : {2, 0, 1}) {
    EXPECT_THAT(*store_->ReadAlignment(alignment.digest()), IsEmpty());
    ASSERT_OK(Write(Result(alignment, shard)));
  }
  const std::vector<v1::AlignmentResult> shards = *store_->ReadAlignment(alignment.digest());
  ASSERT_THAT(shards, SizeIs(3));
  for (uint32_t shard = 0; shard < 3; ++shard) {
    EXPECT_EQ(shards[shard].SerializeAsString(), Result(alignment, shard).result.alignment().SerializeAsString());
  }
}

TEST_F(SqliteStoreTest, DiagnosticsAreSummedOverShards_AndWhatBrokeExamplesIsCounted) {
  Open();
  const v1::Job attack = Submit(TrainingExperiment("e", 1)).jobs[2].job;
  for (uint32_t shard = 0; shard < 2; ++shard) {
    StoreResult result = Result(attack, shard);
    if (shard == 0) BreakTwo(result.result);
    v1::AttackDiagnostics& seen = *result.result.mutable_diagnostics();
    seen.set_gradients(100 + shard);
    seen.set_zero_gradients(10 + shard);
    seen.set_nonfinite_gradients(1 + shard);
    seen.set_probabilities(2 + shard);
    seen.set_same_outputs(3 + shard);
    seen.set_late_successes(4 + shard);
    ASSERT_OK(Write(result));
  }
  const VerdictCounts counts = store_->CountVerdicts({attack.digest()})->at(attack.digest());
  EXPECT_EQ(counts.diagnostics.gradients(), 201u);
  EXPECT_EQ(counts.diagnostics.zero_gradients(), 21u);
  EXPECT_EQ(counts.diagnostics.nonfinite_gradients(), 3u);
  EXPECT_EQ(counts.diagnostics.probabilities(), 5u);
  EXPECT_EQ(counts.diagnostics.same_outputs(), 7u);
  EXPECT_EQ(counts.diagnostics.late_successes(), 9u);
  EXPECT_THAT(counts.broken_by, ElementsAre(Pair("pgd", 2u)));
  EXPECT_EQ(counts.largest_class, 2u);
}

TEST_F(SqliteStoreTest, ShardIsCommittedOnce_SecondResultChangesNothing) {
  Open();
  const v1::Job job = Submit(EvaluationExperiment("e", 20, 10)).jobs[0].job;
  ASSERT_OK(Write(Result(job, 0, 1)));
  StoreResult second = Result(job, 0, 2);
  second.result.mutable_records(0)->set_clean_prediction(3);
  ASSERT_OK(Write(second));
  EXPECT_EQ(Read("e").jobs[0].restored[0].committed, Digest(1));
  EXPECT_EQ((*store_->ReadExamples(job.digest(), 0, 1))[0].clean_prediction(), 9);
  EXPECT_THAT(*store_->FindCommitted({job.digest()}), IsEmpty());
}

TEST_F(SqliteStoreTest, ResubmissionKeepsResultsAndMovesToTheEnd) {
  Open();
  const StoredExperiment first = Submit(EvaluationExperiment("first", 20, 10));
  ASSERT_OK(Write(Result(first.jobs[0].job, 1)));
  Submit(EvaluationExperiment("second", 30, 10));
  const StoredExperiment again = Submit(EvaluationExperiment("first", 20, 10));
  EXPECT_EQ(again.jobs[0].cached_shards, 1u);
  EXPECT_EQ(again.jobs[0].cached_examples, 10u);
  EXPECT_THAT(*store_->ExperimentNames(), ElementsAre("second", "first"));
  EXPECT_GT(again.order, first.order);
}

TEST_F(SqliteStoreTest, SameJobWithOtherShardsKeepsTheShardsItHas) {
  Open();
  Submit(EvaluationExperiment("coarse", 20, 10));
  EXPECT_EQ(Submit(EvaluationExperiment("fine", 20, 1)).jobs[0].job.shards_size(), 2);
}

TEST_F(SqliteStoreTest, AttemptsCountAgainstBudgetsUntilTheExperimentIsSubmittedAgain) {
  Open();
  const v1::Job job = Submit(EvaluationExperiment("e", 20, 10)).jobs[0].job;
  const auto attempt = [&](StoreAttempt::Kind kind, uint64_t epoch) {
    return StoreAttempt{
        .lease = {job.digest(), 0, epoch},
        .kind = kind,
        .worker = "w",
        .failure = {.code = 2, .message = absl::StrCat("try ", epoch)},
        .digest = kind == StoreAttempt::Kind::kNondeterministic ? std::optional(Digest(9)) : std::nullopt,
        .when = absl::UnixEpoch()};
  };
  ASSERT_OK(Write(attempt(StoreAttempt::Kind::kFailed, 1)));
  ASSERT_OK(Write(attempt(StoreAttempt::Kind::kFailed, 2)));
  ASSERT_OK(Write(attempt(StoreAttempt::Kind::kLost, 3)));
  ASSERT_OK(Write(attempt(StoreAttempt::Kind::kLost, 3)));  // taken over under its epoch, and lost again
  ASSERT_OK(Write(attempt(StoreAttempt::Kind::kNondeterministic, 4)));
  RestoredShard shard = Read("e").jobs[0].restored.at(0);
  EXPECT_EQ(shard.failures, 2);
  EXPECT_EQ(shard.losses, 2);
  EXPECT_EQ(shard.epoch, 2u);
  EXPECT_EQ(shard.message, "try 3");
  EXPECT_TRUE(shard.nondeterministic);
  shard = Submit(EvaluationExperiment("e", 20, 10)).jobs[0].restored.at(0);
  EXPECT_EQ(shard.failures, 0);
  EXPECT_EQ(shard.losses, 0);
}

TEST_F(SqliteStoreTest, TrainingIsRedoneFromAnEarlierCheckpoint_LaterEpochsAreRemoved) {
  Open();
  const v1::Job train = Submit(TrainingExperiment("e", 9)).jobs[0].job;
  StoreEpochs epochs{.job = train.digest(), .epochs = {}, .checkpoint = {}};
  for (uint32_t i = 0; i < 5; ++i) epochs.epochs.push_back(SmallEpoch(i));
  epochs.checkpoint.set_sha256(Sha256("five"));
  ASSERT_OK(Write(epochs));
  epochs.epochs = {SmallEpoch(1), SmallEpoch(2)};
  epochs.checkpoint.set_sha256(Sha256("three"));
  ASSERT_OK(Write(epochs));
  const StoredJob job = Read("e").jobs[0];
  EXPECT_THAT(job.epochs, SizeIs(3));
  EXPECT_EQ(job.checkpoint->sha256(), Sha256("three"));
}

TEST_F(SqliteStoreTest, TrainingIsCommitted_ItsCheckpointIsForgottenAndItsEpochsStay) {
  Open();
  const v1::Job train = Submit(TrainingExperiment("e", 2)).jobs[0].job;
  StoreEpochs epochs{.job = train.digest(), .epochs = {SmallEpoch(0)}, .checkpoint = {}};
  epochs.checkpoint.set_sha256(Sha256("one"));
  ASSERT_OK(Write(epochs));
  EXPECT_TRUE(Read("e").jobs[0].checkpoint.has_value());
  ASSERT_OK(Write(Result(train, 0)));
  EXPECT_FALSE(Read("e").jobs[0].checkpoint.has_value());
  EXPECT_THAT(*store_->ReadEpochs(train.digest()), SizeIs(2));
}

TEST_F(SqliteStoreTest, GenerationGrowsAtEveryStart) {
  Open();
  EXPECT_EQ(*store_->NextGeneration(), 1u);
  Open();
  EXPECT_EQ(*store_->NextGeneration(), 2u);
}

TEST_F(SqliteStoreTest, TheFirstProposalForASignatureIsKept_AlsoAfterReopening) {
  Open();
  const auto chosen = [&](const std::string& device, const std::string& library,
                          const std::vector<v1::KernelOfSignature>& proposals) {
    std::vector<std::string> kernels;
    const auto choices = store_->ChooseKernels(device, library, proposals);
    EXPECT_OK(choices);
    for (const v1::KernelOfSignature& choice : *choices) {
      kernels.push_back(absl::StrCat(choice.signature(), "=", choice.kernel()));
    }
    return kernels;
  };
  EXPECT_THAT(chosen("cpu", "1", {Kernel("a", "x"), Kernel("b", "y"), Kernel("a", "z")}),
              ElementsAre("a=x", "b=y", "a=x"));
  EXPECT_THAT(chosen("cpu", "1", {Kernel("c", "y"), Kernel("a", "y")}), ElementsAre("c=y", "a=x"));
  Open();
  EXPECT_THAT(chosen("cpu", "1", {Kernel("a", "y"), Kernel("b", "z")}), ElementsAre("a=x", "b=y"));
  EXPECT_THAT(chosen("gpu", "1", {Kernel("a", "y")}), ElementsAre("a=y"));
  EXPECT_THAT(chosen("cpu", "2", {Kernel("a", "z")}), ElementsAre("a=z"));
}

TEST_F(SqliteStoreTest, BatchFailsInTheMiddle_NothingOfItIsStored) {
  Open();
  const v1::Job job = Submit(EvaluationExperiment("e", 20, 10)).jobs[0].job;
  StoreResult unknown = Result(job, 1);
  unknown.lease.job = std::string(64, '0');
  const std::vector<StoreWrite> batch = {Result(job, 0), unknown};
  EXPECT_THAT(store_->Write(batch), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such job")));
  EXPECT_THAT(Read("e").jobs[0].restored, IsEmpty());
  ASSERT_OK(Write(Result(job, 0)));
}

TEST_F(SqliteStoreTest, DiskIsFull_WriteFailsAndWhatWasStoredStays) {
  Open();
  const v1::Job job = Submit(EvaluationExperiment("e", 2'000, 1'000)).jobs[0].job;
  ASSERT_OK(Write(Result(job, 0)));
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit tight = before;
  tight.rlim_cur = std::filesystem::file_size(path_ + "-wal") + 4'096;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  const absl::Status status = Write(Result(job, 1));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsResourceExhausted(status)) << status;
  Open();
  EXPECT_THAT(Read("e").jobs[0].restored, SizeIs(1));
  EXPECT_THAT(*store_->ReadExamples(job.digest(), 0, 5'000), SizeIs(1'000));
}

TEST_F(SqliteStoreTest, FileIsNoDatabase_IsDataLoss) {
  std::ofstream(path_) << std::string(4'096, 'x');
  EXPECT_THAT(SqliteStore::Open(path_), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not a database")));
}

TEST_F(SqliteStoreTest, PagesAreOverwritten_IsDataLoss) {
  Open();
  Submit(EvaluationExperiment("e", 2'000, 1));
  store_.reset();
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  const auto size = static_cast<std::streamoff>(std::filesystem::file_size(path_));
  file.seekp(4'096);
  const std::string noise(static_cast<size_t>(size) - 4'096, '\x5a');
  file.write(noise.data(), static_cast<std::streamsize>(noise.size()));
  file.close();
  absl::StatusOr<std::unique_ptr<SqliteStore>> store = SqliteStore::Open(path_);
  const absl::Status status = store.ok() ? (*store)->ReadExperiment("e").status() : store.status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("malformed")));
}

TEST_F(SqliteStoreTest, StoreOfANewerVersionIsRefused) {
  Open();
  store_.reset();
  {
    auto database = SqliteDatabase::Open(path_, /*read_only=*/false);
    ASSERT_OK(database);
    ASSERT_OK((*database)->Execute("PRAGMA user_version = 999"));
  }
  EXPECT_THAT(SqliteStore::Open(path_), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("newer Tightrope")));
}

TEST_F(SqliteStoreTest, DatabaseOfSomethingElseIsRefused_AndLeftAsItIs) {
  for (const std::string made :
       {"CREATE TABLE recipes (name TEXT)", "CREATE TABLE recipes (name TEXT); PRAGMA user_version = 1",
        "CREATE TABLE recipes (name TEXT); PRAGMA application_id = 7", "PRAGMA user_version = 3"}) {
    std::filesystem::remove(path_);
    {
      auto database = SqliteDatabase::Open(path_, /*read_only=*/false);
      ASSERT_OK(database);
      ASSERT_OK((*database)->Execute(made));
    }
    const std::string before = *Sha256OfFile(path_);
    EXPECT_THAT(SqliteStore::Open(path_), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not a Tightrope store")))
        << made;
    EXPECT_EQ(*Sha256OfFile(path_), before) << made;
  }
}

TEST_F(SqliteStoreTest, DirectoryIsMissing_IsUnavailable) {
  EXPECT_THAT(SqliteStore::Open(directory_ / "missing/results.sqlite"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot open the store")));
}

TEST_F(SqliteStoreTest, UnknownExperimentIsNotFound) {
  Open();
  EXPECT_THAT(store_->ReadExperiment("e"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such experiment")));
  EXPECT_THAT(store_->ReadPlan("e"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such experiment")));
}

}  // namespace
}  // namespace tightrope
