#include "cli/progress.h"

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::Not;
using ::testing::ResultOf;
using ::testing::SizeIs;

const absl::Time kStart = absl::FromUnixSeconds(1'700'000'000);

v1::StatusResponse Status(double progress, uint64_t examples) {
  v1::StatusResponse status;
  v1::ExperimentStatus& experiment = *status.add_experiments();
  experiment.set_name("quickstart");
  experiment.set_progress(progress);
  experiment.set_examples_done(examples);
  experiment.set_examples_total(24000);
  experiment.mutable_jobs()->set_committed(8);
  experiment.mutable_jobs()->set_cached(4);
  experiment.mutable_jobs()->set_leased(2);
  experiment.mutable_jobs()->set_pending(1);
  experiment.mutable_jobs()->set_blocked(13);
  experiment.mutable_shards()->set_committed(40);
  experiment.mutable_shards()->set_pending(60);
  v1::WorkerStatus& worker = *status.add_workers();
  worker.set_host("node1");
  worker.add_devices("cpu");
  worker.add_devices("cpu");
  worker.set_leases(3);
  return status;
}

ProgressHistory Halfway() {
  ProgressHistory history;
  history.Add(Status(0.0, 0), kStart);
  history.Add(Status(0.25, 6000), kStart + absl::Seconds(30));
  history.Add(Status(0.5, 12000), kStart + absl::Seconds(60));
  return history;
}

TEST(ProgressTest, ViewTellsHowFarHowFastAndHowLong) {
  EXPECT_THAT(RenderProgress(Halfway(), {.width = 80, .unicode = false, .color = false}),
              ElementsAre("quickstart  ###############----------------  50 %  1:00 elapsed, about 1:00 left",
                          "  jobs      12 of 28 done, 4 of them cached, 2 running, 14 waiting",
                          "  shards    40 of 100 done, 60 waiting", "  examples  12,000 of 24,000, 200 examples/s",
                          "  workers   1 on node1 (cpu x2); 3 leases"));
}

TEST(ProgressTest, ViewFitsAnyWidthEvenWithEverythingToTell) {
  ProgressHistory history = Halfway();
  v1::StatusResponse status = Status(0.6, 13000);
  v1::JobFailure& failure = *status.mutable_experiments(0)->add_failures();
  failure.set_description("attack small_cnn / pgd, seed 1, pgd linf 0.1");
  failure.set_message("the model gave logits of another shape\nsecond line");
  status.mutable_experiments(0)->set_nondeterministic_shards(2);
  for (int i = 0; i < 500; ++i) status.add_workers()->set_host("node" + std::to_string(i));
  history.Add(status, kStart + absl::Seconds(70));
  for (const bool unicode : {false, true}) {
    for (size_t width : {20, 33, 47, 60, 80, 200}) {
      const std::vector<std::string> lines =
          RenderProgress(history, {.width = width, .unicode = unicode, .color = unicode});
      EXPECT_THAT(lines, SizeIs(Le(8u)));
      for (const std::string& line : lines) {
        EXPECT_LE(DisplayWidth(line), width) << line;
        EXPECT_THAT(line, Not(HasSubstr("second line")));
      }
    }
  }
}

TEST(ProgressTest, NothingIsEstimatedFromTooLittle) {
  ProgressHistory history;
  history.Add(Status(0.0, 0), kStart);
  EXPECT_EQ(history.TimeLeft(), std::nullopt);
  EXPECT_EQ(history.ExamplesPerSecond(), 0);
  history.Add(Status(0.5, 100), kStart + absl::Seconds(1));
  EXPECT_EQ(history.TimeLeft(), std::nullopt);
  history.Add(Status(0.5, 100), kStart + absl::Seconds(9));
  EXPECT_EQ(history.TimeLeft(), absl::Seconds(9));
}

TEST(ProgressTest, StalledRunHasNoSpeedAndForgetsOldOne) {
  ProgressHistory history = Halfway();
  for (int second = 61; second <= 600; ++second) history.Add(Status(0.5, 12000), kStart + absl::Seconds(second));
  EXPECT_EQ(history.ExamplesPerSecond(), 0);
  EXPECT_EQ(history.TimeLeft(), std::nullopt);
  EXPECT_EQ(history.Elapsed(), absl::Minutes(10));
}

TEST(ProgressTest, HundredPercentIsNotSaidEarly) {
  ProgressHistory history;
  history.Add(Status(0.9999, 1), kStart);
  EXPECT_THAT(ProgressLine(history), HasSubstr("99 %"));
}

TEST(ProgressTest, LogHasALineForSteps_FailuresAndSilence) {
  ProgressHistory history;
  ProgressLog log;
  const auto next = [&](v1::StatusResponse status, int second) {
    history.Add(status, kStart + absl::Seconds(second));
    return log.Next(history, kStart + absl::Seconds(second));
  };
  EXPECT_EQ(next(Status(0.5, 0), 0), "[0:00] quickstart 50 %: jobs 12/28 (4 cached), shards 40/100, 1 worker");
  EXPECT_EQ(next(Status(0.52, 0), 1), std::nullopt);
  EXPECT_TRUE(next(Status(0.56, 0), 2).has_value());
  v1::StatusResponse failed = Status(0.56, 0);
  failed.mutable_experiments(0)->mutable_jobs()->set_failed(1);
  EXPECT_TRUE(next(failed, 3).has_value());
  EXPECT_EQ(next(failed, 12), std::nullopt);
  EXPECT_TRUE(next(failed, 13).has_value());
  failed.mutable_experiments(0)->set_finished(true);
  EXPECT_TRUE(next(failed, 14).has_value());
  EXPECT_EQ(next(failed, 60), std::nullopt);
}

}  // namespace
}  // namespace tightrope
