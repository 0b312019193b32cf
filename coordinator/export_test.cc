#include "coordinator/export.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/testing/invariance_experiment.h"
#include "core/plan/plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

class ExportWalkTest : public ::testing::Test {
 protected:
  ExportWalkTest() : store_(*SqliteStore::Open(directory_ / "results.sqlite")) {}

  absl::Status Write(StoreWrite write) { return store_->Write({&write, 1}); }

  // Submits and commits every job of these kinds.
  void Commit(const v1::SubmitRequest& request, const std::vector<v1::JobSpec::KindCase>& kinds) {
    StoreSubmission submission{
        .experiment = request.experiment(), .inputs = request.inputs(), .source = "", .plan = {}};
    submission.plan = MakePlan(request.experiment(), request.inputs());
    const v1::Plan plan = submission.plan;
    ASSERT_OK(Write(std::move(submission)));
    for (const v1::Job& job : plan.jobs()) {
      if (std::find(kinds.begin(), kinds.end(), job.spec().kind_case()) == kinds.end()) continue;
      for (int i = 0; i < job.shards_size(); ++i) {
        v1::Lease lease;
        *lease.mutable_spec() = job.spec();
        *lease.mutable_range() = job.shards(i);
        v1::Artifact artifact;
        artifact.set_role("examples");
        artifact.set_sha256(Sha256(absl::StrCat("examples ", i)));
        ASSERT_OK(Write(StoreResult{.lease = {job.digest(), static_cast<uint32_t>(i), 1},
                                    .worker = "w",
                                    .result = InvarianceResultFor(lease, artifact)}));
      }
    }
  }
  std::vector<v1::ExportAlignmentsResponse> Alignments() {
    std::vector<v1::ExportAlignmentsResponse> messages;
    ExportWalk walk(store_.get(), "e");
    while (true) {
      auto response = walk.NextAlignment();
      EXPECT_OK(response);
      if (!response.ok() || !response->has_value()) return messages;
      messages.push_back(**std::move(response));
    }
  }

  // "epsilon verdict distance" of one example, for every attack's cell.
  std::vector<std::string> Exported(uint64_t index) {
    std::vector<std::string> seen;
    ExportWalk walk(store_.get(), "e");
    while (true) {
      auto response = walk.NextExamples();
      EXPECT_OK(response);
      if (!response.ok() || !response->has_value()) return seen;
      for (const v1::ExportedExamples& job : (*response)->jobs()) {
        for (const v1::ExampleRecord& record : job.records()) {
          if (!job.has_attack() || record.index() != index) continue;
          seen.push_back(
              absl::StrCat(job.cell().epsilon(), " ", v1::Verdict_Name(record.verdict()), " ", record.distance()));
        }
      }
    }
  }

  const TemporaryDirectory directory_;
  const std::unique_ptr<SqliteStore> store_;
};

TEST_F(ExportWalkTest, JobOfSeveralRadii_IsExportedAsItIsAtEach) {
  v1::SubmitRequest request = TrainingExperiment("e", 1);
  v1::Attack wider = request.experiment().attacks(0);
  wider.set_epsilon(0.2);
  *request.mutable_experiment()->add_attacks() = wider;
  StoreSubmission submission{.experiment = request.experiment(), .inputs = request.inputs(), .source = "", .plan = {}};
  submission.plan = MakePlan(request.experiment(), request.inputs());
  ASSERT_EQ(submission.plan.jobs_size(), 3);
  const v1::Job attack = submission.plan.jobs(2);
  ASSERT_OK(Write(submission));
  v1::Lease lease;
  *lease.mutable_spec() = attack.spec();
  *lease.mutable_range() = attack.shards(0);
  v1::ShardResult result = ResultFor(lease);
  v1::ExampleRecord& record = *result.mutable_records(0);
  record.set_verdict(v1::VERDICT_BROKEN);
  record.set_broken_at(0.2);
  record.set_distance(0.15);
  ASSERT_OK(Write(StoreResult{.lease = {attack.digest(), 0, 1}, .worker = "w", .result = result}));
  EXPECT_THAT(Exported(0), ElementsAre("0.1 VERDICT_UNDECIDED 0", "0.2 VERDICT_BROKEN 0.15"));
  EXPECT_THAT(Exported(1), ElementsAre("0.1 VERDICT_BROKEN 0", "0.2 VERDICT_BROKEN 0"));
}

TEST_F(ExportWalkTest, SetIsExportedAsItWasMade_AndAsEachModelSeesIt) {
  Commit(InvarianceExperiment("e", 8), {v1::JobSpec::kInvariance, v1::JobSpec::kEvaluateInvariance});
  ExportWalk walk(store_.get(), "e");
  std::vector<std::string> seen;
  while (true) {
    auto response = walk.NextExamples();
    ASSERT_OK(response);
    if (!response->has_value()) break;
    const v1::ExportedExamples& job = (*response)->jobs(0);
    const v1::ExampleRecord& record = job.records(2);
    EXPECT_FALSE(job.has_attack());
    seen.push_back(absl::StrCat(job.cell().invariance(), " ", job.cell().model(), ": ", job.records_size(), ", ",
                                record.source(), " ", record.target(), " ", record.oracle_label()));
  }
  EXPECT_THAT(seen, ElementsAre("linf model: 20, 2 0 3", "linf : 20, 2 3 0"));
  ExportWalk artifacts(store_.get(), "e");
  for (uint32_t shard = 0; shard < 3; ++shard) {
    auto artifact = artifacts.NextArtifact();
    ASSERT_OK(artifact);
    ASSERT_TRUE(artifact->has_value());
    EXPECT_EQ((*artifact)->shard(), shard);
    EXPECT_EQ((*artifact)->cell().invariance(), "linf");
    EXPECT_EQ((*artifact)->artifact().role(), "examples");
  }
}

TEST_F(ExportWalkTest, DistanceIsExportedOnceItIsCommitted_WithTheMostMisalignedOfAllShards) {
  const v1::SubmitRequest request = InvarianceExperiment("e", 8);
  Commit(request, {v1::JobSpec::kEvaluate});
  EXPECT_THAT(Alignments(), SizeIs(0));
  Commit(request, {v1::JobSpec::kAlignment});
  const std::vector<v1::ExportAlignmentsResponse> messages = Alignments();
  ASSERT_THAT(messages, SizeIs(1));
  EXPECT_EQ(messages[0].cell().alignment(), "l2");
  EXPECT_EQ(messages[0].norm(), v1::NORM_L2);
  ASSERT_THAT(messages[0].anchors(), SizeIs(30));
  EXPECT_EQ(messages[0].anchors(29).anchor().index(), 29u);
  EXPECT_DOUBLE_EQ(messages[0].anchors(29).distance_other(), DistanceOfModelInputs(v1::NORM_L2, 40));
  EXPECT_THAT(messages[0].pairs(), SizeIs(100));
  EXPECT_EQ(messages[0].pairs(1).anchors(), 3u);
  ASSERT_THAT(messages[0].triples(), SizeIs(2));
  EXPECT_EQ(messages[0].triples(0).triple().anchor(), 20u);
  EXPECT_EQ(messages[0].triples(1).triple().anchor(), 10u);
}

TEST_F(ExportWalkTest, ManyAnchorsComeInSeveralMessages_TriplesAndPairsWithTheLast) {
  v1::SubmitRequest request = InvarianceExperiment("e", 8);
  request.mutable_experiment()->mutable_alignment(0)->set_anchors(4'500);
  request.mutable_experiment()->mutable_alignment(0)->set_shard_size(1'500);
  Commit(request, {v1::JobSpec::kAlignment});
  const std::vector<v1::ExportAlignmentsResponse> messages = Alignments();
  ASSERT_THAT(messages, SizeIs(3));
  uint32_t next = 0;
  for (const v1::ExportAlignmentsResponse& message : messages) {
    const bool last = &message == &messages.back();
    EXPECT_EQ(message.anchors_size(), last ? 500 : 2'000);
    EXPECT_EQ(message.pairs_size(), last ? 100 : 0);
    EXPECT_EQ(message.triples_size(), last ? 2 : 0);
    for (const v1::ExportedAnchor& anchor : message.anchors()) EXPECT_EQ(anchor.anchor().index(), next++);
  }
}

TEST_F(ExportWalkTest, StoreOfBeforeThereWereSeveralRadii_HasTheRadiusOfItsJob) {
  const v1::SubmitRequest request = TrainingExperiment("e", 1);
  StoreSubmission submission{.experiment = request.experiment(), .inputs = request.inputs(), .source = "", .plan = {}};
  submission.plan = MakePlan(request.experiment(), request.inputs());
  v1::Job& attack = *submission.plan.mutable_jobs(2);
  attack.mutable_spec()->mutable_attack()->clear_epsilons();
  attack.mutable_spec()->mutable_attack()->mutable_attack()->set_epsilon(0.1);
  for (v1::Cell& cell : *submission.plan.mutable_cells()) cell.clear_epsilon();
  ASSERT_OK(Write(submission));
  v1::Lease lease;
  *lease.mutable_spec() = attack.spec();
  *lease.mutable_range() = attack.shards(0);
  v1::ShardResult result = ResultFor(lease);
  result.mutable_records(0)->set_verdict(v1::VERDICT_BROKEN);
  result.mutable_records(0)->set_distance(0.05);
  ASSERT_OK(Write(StoreResult{.lease = {attack.digest(), 0, 1}, .worker = "w", .result = result}));
  EXPECT_THAT(Exported(0), ElementsAre("0.1 VERDICT_BROKEN 0.05"));
}

}  // namespace
}  // namespace tightrope
