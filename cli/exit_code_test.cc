#include "cli/exit_code.h"

#include "cli/run_summary.h"
#include "cli/status_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

TEST(ExitCodeTest, UsersMistakesAreTwo_WhatDoesNotAnswerIsThree_InterruptsAre130) {
  EXPECT_EQ(ExitCodeOf(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::FailedPreconditionError("")), 2);
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::DataLossError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), 3);
  EXPECT_EQ(ExitCodeOf(absl::CancelledError("")), 130);
}

TEST(ExitCodeTest, ReportIsOneLineAndAHint) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(Report(absl::NotFoundError("no such experiment: x"), "look"), 2);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "tightrope: no such experiment: x\n  look\n");
}

TEST(RunSummaryTest, SentenceNamesOnlyWhatThereIs) {
  v1::StateCounts jobs;
  jobs.set_cached(28);
  EXPECT_EQ(JobsSentence(jobs), "28 jobs: all cached; nothing had to run");
  jobs.set_cached(4);
  jobs.set_committed(20);
  jobs.set_failed(1);
  jobs.set_cancelled(3);
  EXPECT_EQ(JobsSentence(jobs), "28 jobs: 20 done, 4 cached, 1 failed, 3 cancelled");
}

TEST(RunSummaryTest, FailuresGiveJobDigestAndReason) {
  v1::ExperimentStatus experiment;
  experiment.mutable_jobs()->set_failed(3);
  v1::JobFailure& failure = *experiment.add_failures();
  failure.set_description("train mlp / pgd, seed 1");
  failure.set_job_digest("0123456789abcdef");
  failure.set_message("the loss is not finite\nin epoch 3");
  EXPECT_EQ(FailuresText(experiment),
            "failed: train mlp / pgd, seed 1 (job 0123456789ab)\n    the loss is not finite\n    in epoch 3\n"
            "and 2 more failed jobs\n");
}

TEST(StatusFormatTest, UnfinishedWithoutACoordinatorIsStopped) {
  v1::StatusResponse status;
  v1::ExperimentStatus& experiment = *status.add_experiments();
  experiment.set_name("quick");
  experiment.set_progress(0.999);
  experiment.mutable_jobs()->set_committed(3);
  experiment.mutable_jobs()->set_pending(1);
  EXPECT_EQ(StatusTable(status, /*stopped=*/true, {}),
            "experiment  state    progress  jobs done  cached  failed  shards done\n"
            "quick       stopped      99 %     3 of 4       0       0       0 of 0\n");
  EXPECT_THAT(StatusTable(status, /*stopped=*/false, {}), HasSubstr("no workers"));
}

}  // namespace
}  // namespace tightrope
