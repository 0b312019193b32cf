#include "coordinator/export.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/store/sqlite_store.h"
#include "coordinator/testing/small_experiment.h"
#include "core/plan/plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;

class ExportWalkTest : public ::testing::Test {
 protected:
  ExportWalkTest() : store_(*SqliteStore::Open(directory_ / "results.sqlite")) {}

  absl::Status Write(StoreWrite write) { return store_->Write({&write, 1}); }

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
