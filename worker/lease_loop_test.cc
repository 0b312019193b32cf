#include "worker/lease_loop.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;

v1::LeaseId Id(const std::string& job, uint64_t epoch = 1) {
  v1::LeaseId id;
  id.set_job_digest(job);
  id.set_epoch(epoch);
  return id;
}

v1::SyncResponse Answer(const std::string& coordinator_epoch = "one") {
  v1::SyncResponse response;
  response.set_coordinator_epoch(coordinator_epoch);
  response.set_lease_ms(30'000);
  return response;
}

v1::SyncResponse Grant(const std::vector<std::string>& jobs) {
  v1::SyncResponse response = Answer();
  for (const std::string& job : jobs) *response.add_leases()->mutable_id() = Id(job);
  return response;
}

v1::SyncResponse Acknowledge(const std::string& job) {
  v1::SyncResponse response = Answer();
  *response.add_acknowledged() = Id(job);
  return response;
}

// Holds the call that is in flight until the test answers it.
class FakeTransport final : public SyncTransport {
 public:
  void Start(const v1::SyncRequest& request, absl::Duration deadline, Done done) override {
    ASSERT_FALSE(done_) << "two calls in flight";
    requests.push_back(request);
    deadlines.push_back(deadline);
    done_ = std::move(done);
  }
  void Cancel() override {
    ++cancels;
    if (cancel_ends_call && done_) Reply(absl::CancelledError("cancelled"));
  }
  void Reply(absl::StatusOr<v1::SyncResponse> reply) {
    ASSERT_TRUE(done_) << "no call in flight";
    std::exchange(done_, nullptr)(std::move(reply));
  }
  bool in_flight() const { return done_ != nullptr; }
  const v1::SyncRequest& last() const { return requests.back(); }

  std::vector<v1::SyncRequest> requests;
  std::vector<absl::Duration> deadlines;
  int cancels = 0;
  bool cancel_ends_call = true;

 private:
  Done done_;
};

class LeaseLoopTest : public ::testing::Test {
 protected:
  static v1::WorkerInfo TwoExecutors() {
    v1::WorkerInfo info;
    info.add_devices("cpu");
    info.add_devices("cpu");
    return info;
  }

  void UseOptions(const LeaseLoopOptions& options) {
    loop_.emplace(
        LeaseTable("worker", TwoExecutors()), options, transport_, [this] { return now_; }, [this] { return jitter_; });
  }

  void SetUp() override { UseOptions(LeaseLoopOptions{}); }

  absl::Time Step() { return loop_->Step(); }

  // Answers the call in flight and lets the loop react.
  void Reply(absl::StatusOr<v1::SyncResponse> reply) {
    transport_.Reply(std::move(reply));
    Step();
  }

  // The loop's answer to time passing without anything happening.
  void Advance(absl::Duration duration) {
    now_ += duration;
    Step();
  }

  FakeTransport transport_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  double jitter_ = 0;
  std::optional<LeaseLoop> loop_;
};

TEST_F(LeaseLoopTest, AsksForOneRunningAndOnePrefetchedLeaseAnExecutor) {
  Step();
  EXPECT_EQ(transport_.last().want(), 4);
  Reply(Grant({"a", "b", "c", "d"}));
  EXPECT_THAT(transport_.requests, SizeIs(2));
  EXPECT_EQ(transport_.last().want(), 0);
  EXPECT_THAT(transport_.last().running(), SizeIs(4));
}

TEST_F(LeaseLoopTest, HeartbeatsWithinAThirdOfTheLeaseWhileSomethingRuns) {
  Step();
  v1::SyncResponse grant = Grant({"a"});
  grant.set_lease_ms(3'000);
  Reply(grant);
  EXPECT_EQ(transport_.last().poll_ms(), 1'000);
  grant.set_lease_ms(30'000);
  Reply(grant);
  Advance(absl::Seconds(1));
  EXPECT_EQ(transport_.last().poll_ms(), 2'000);
}

TEST_F(LeaseLoopTest, IdleWorkerIsHeldLonger_EveryCallHasADeadline) {
  Step();
  EXPECT_EQ(transport_.last().poll_ms(), 8'000);
  EXPECT_EQ(transport_.deadlines.back(), absl::Seconds(18));
}

TEST_F(LeaseLoopTest, ExecutorFinishesWhileTheCallIsHeld_ItIsCancelledAndTheResultSentAtOnce) {
  Step();
  Reply(Grant({"a"}));
  loop_->Finish(loop_->Take()->number, v1::ShardResult(), 1);
  Step();
  EXPECT_EQ(transport_.cancels, 1);
  Step();
  ASSERT_TRUE(transport_.in_flight());
  EXPECT_THAT(transport_.last().finished(), SizeIs(1));
  EXPECT_EQ(transport_.last().want(), 4);
}

TEST_F(LeaseLoopTest, EpochDoneWhileTheCallIsHeld_IsReportedAtOnce) {
  Step();
  Reply(Grant({"a"}));
  loop_->ReportEpochs(loop_->Take()->number, {v1::EpochMetrics()}, v1::Artifact());
  Step();
  Step();
  EXPECT_EQ(transport_.cancels, 1);
  EXPECT_THAT(transport_.last().running(0).epochs(), SizeIs(1));
}

TEST_F(LeaseLoopTest, ProgressAloneDoesNotDisturbAHeldCall_ItTravelsWithTheNext) {
  Step();
  Reply(Grant({"a"}));
  loop_->ReportProgress(loop_->Take()->number, 0.25, 10);
  Step();
  EXPECT_EQ(transport_.cancels, 0);
  now_ += absl::Seconds(2);
  Reply(Answer());
  EXPECT_EQ(transport_.last().running(0).progress(), 0.25);
  EXPECT_EQ(transport_.last().running(0).examples_done(), 10);
}

TEST_F(LeaseLoopTest, CallThatCarriesNewsIsNeverCancelled) {
  // Else two executors with small shards could keep every result from being acknowledged.
  Step();
  Reply(Grant({"a", "b"}));
  loop_->Finish(loop_->Take()->number, v1::ShardResult(), 1);
  Step();
  Step();
  ASSERT_EQ(transport_.cancels, 1);
  loop_->Finish(loop_->Take()->number, v1::ShardResult(), 1);
  Step();
  EXPECT_EQ(transport_.cancels, 1);
  Reply(Acknowledge("a"));
  ASSERT_THAT(transport_.last().finished(), SizeIs(1));
  EXPECT_EQ(transport_.last().finished(0).id().job_digest(), "b");
}

TEST_F(LeaseLoopTest, ReplyIsLost_FinishedAttemptIsSentAgain) {
  Step();
  Reply(Grant({"a"}));
  loop_->Finish(loop_->Take()->number, v1::ShardResult(), 1);
  Step();
  Step();
  Reply(absl::UnavailableError("connection reset"));
  Advance(absl::Milliseconds(100));
  ASSERT_TRUE(transport_.in_flight());
  EXPECT_THAT(transport_.last().finished(), SizeIs(1));
  Reply(Acknowledge("a"));
  EXPECT_THAT(transport_.last().finished(), IsEmpty());
}

TEST_F(LeaseLoopTest, CancelledCallHadBeenAnswered_ItsLeasesAreNotLost) {
  transport_.cancel_ends_call = false;
  Step();
  Reply(Grant({"a"}));
  loop_->Finish(loop_->Take()->number, v1::ShardResult(), 1);
  Step();
  ASSERT_EQ(transport_.cancels, 1);
  Reply(Grant({"b"}));
  EXPECT_EQ(transport_.last().running(0).id().job_digest(), "b");
  EXPECT_EQ(transport_.last().want(), 3);
}

TEST_F(LeaseLoopTest, CoordinatorRestarts_RunningAndFinishedWorkIsOfferedToTheNewOne) {
  Step();
  Reply(Grant({"a", "b"}));
  loop_->Finish(loop_->Take()->number, v1::ShardResult(), 1);
  const TakenLease running = *loop_->Take();
  Step();
  Step();
  Reply(absl::UnavailableError("killed"));
  Advance(absl::Seconds(1));
  Reply(Answer("two"));
  Advance(absl::Milliseconds(100));
  EXPECT_THAT(transport_.last().finished(), SizeIs(1));
  ASSERT_THAT(transport_.last().running(), SizeIs(1));
  EXPECT_TRUE(transport_.last().running(0).started());
  EXPECT_FALSE(running.cancellation->cancelled());
}

TEST_F(LeaseLoopTest, DropCancelsTheAttempt_ItsFreedExecutorAsksForWork) {
  Step();
  Reply(Grant({"a", "b", "c", "d"}));
  const TakenLease taken = *loop_->Take();
  v1::SyncResponse drop = Answer();
  *drop.add_drop() = Id("a");
  Reply(drop);
  EXPECT_TRUE(taken.cancellation->cancelled());
  EXPECT_EQ(transport_.last().want(), 0);
  loop_->Abandon(taken.number);
  Step();
  Step();
  EXPECT_EQ(transport_.last().want(), 1);
  EXPECT_THAT(transport_.last().finished(), IsEmpty());
}

TEST_F(LeaseLoopTest, UnreachableThenBack_PausesGrowAndStartAgain) {
  jitter_ = 1;
  Step();
  for (const int milliseconds : {100, 200, 400, 800}) {
    Reply(absl::UnavailableError("refused"));
    EXPECT_EQ(Step(), now_ + absl::Milliseconds(milliseconds));
    Advance(absl::Milliseconds(milliseconds - 1));
    EXPECT_FALSE(transport_.in_flight());
    Advance(absl::Milliseconds(1));
    EXPECT_TRUE(transport_.in_flight());
  }
  Reply(Grant({"a"}));
  Reply(absl::UnavailableError("refused"));
  EXPECT_EQ(Step(), now_ + absl::Milliseconds(100));
}

TEST_F(LeaseLoopTest, JitterHalvesAPauseAtMost) {
  Step();
  Reply(absl::UnavailableError("refused"));
  EXPECT_EQ(Step(), now_ + absl::Milliseconds(50));
}

TEST_F(LeaseLoopTest, NoPauseIsLongerThanTheLongest) {
  jitter_ = 1;
  Step();
  for (int i = 0; i < 40; ++i) {
    Reply(absl::UnavailableError("refused"));
    Advance(absl::Seconds(10));
    ASSERT_TRUE(transport_.in_flight());
  }
}

TEST_F(LeaseLoopTest, CoordinatorThatDoesNotHoldCallsIsNotFlooded) {
  Step();
  Reply(Answer());
  EXPECT_FALSE(transport_.in_flight());
  EXPECT_EQ(Step(), now_ + absl::Milliseconds(100));
  Advance(absl::Milliseconds(100));
  EXPECT_TRUE(transport_.in_flight());
}

TEST_F(LeaseLoopTest, UnreachableForTooLong_GivesUp_ButNotBefore) {
  UseOptions({.give_up_after = absl::Seconds(60)});
  Step();
  Reply(Grant({"a"}));
  const TakenLease taken = *loop_->Take();
  Reply(absl::UnavailableError("gone"));
  Advance(absl::Seconds(30));
  Reply(absl::UnavailableError("gone"));
  Advance(absl::Seconds(29));
  EXPECT_EQ(loop_->end(), std::nullopt);
  EXPECT_FALSE(taken.cancellation->cancelled());
  Reply(absl::UnavailableError("gone"));
  Advance(absl::Seconds(1));
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kUnreachable));
  EXPECT_TRUE(taken.cancellation->cancelled());
}

TEST_F(LeaseLoopTest, NeverReachable_GivesUpWithACallHanging) {
  UseOptions({.give_up_after = absl::Seconds(5)});
  EXPECT_EQ(Step(), now_ + absl::Seconds(5));
  Advance(absl::Seconds(5));
  EXPECT_EQ(transport_.cancels, 1);
  Step();
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kUnreachable));
}

TEST_F(LeaseLoopTest, Drain_GivesBackLeasesAndDeliversResultsBeforeItEnds) {
  Step();
  Reply(Grant({"a", "b", "c"}));
  const TakenLease a = *loop_->Take();
  const TakenLease b = *loop_->Take();
  loop_->Finish(a.number, v1::ShardResult(), 1);
  loop_->Drain();
  EXPECT_TRUE(b.cancellation->cancelled());
  Step();
  Step();
  EXPECT_TRUE(transport_.last().leaving());
  EXPECT_EQ(transport_.last().want(), 0);
  EXPECT_THAT(transport_.last().running(), IsEmpty());
  EXPECT_THAT(transport_.last().finished(), SizeIs(1));
  Reply(Answer());  // heard, but the result is not acknowledged yet
  EXPECT_EQ(loop_->end(), std::nullopt);
  Advance(absl::Milliseconds(100));
  Reply(Acknowledge("a"));
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kDrained));
  EXPECT_FALSE(loop_->Take().has_value());
}

TEST_F(LeaseLoopTest, LeasesGrantedWhileDrainingAreNotStarted) {
  transport_.cancel_ends_call = false;
  Step();
  loop_->Drain();
  Step();
  Reply(Grant({"a"}));
  EXPECT_TRUE(transport_.last().leaving());
  EXPECT_THAT(transport_.last().running(), IsEmpty());
  Reply(Answer());
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kDrained));
}

TEST_F(LeaseLoopTest, DrainWithNobodyToHearIt_EndsAfterTheLimitAndSaysWhatWasLost) {
  Step();
  Reply(Grant({"a"}));
  loop_->Finish(loop_->Take()->number, v1::ShardResult(), 1);
  loop_->Drain();
  Step();
  Step();
  Reply(absl::UnavailableError("gone"));
  Advance(absl::Seconds(9));
  EXPECT_EQ(loop_->end(), std::nullopt);
  Reply(absl::UnavailableError("gone"));
  Advance(absl::Seconds(1));
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kUnreachable));
}

TEST_F(LeaseLoopTest, DrainWithNothingToDeliverAndNobodyToHearIt_EndsAtOnce) {
  Step();
  Reply(Grant({"a"}));
  const TakenLease taken = *loop_->Take();
  Reply(absl::UnavailableError("gone"));
  loop_->Drain();
  Step();
  Reply(absl::UnavailableError("gone"));
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kDrained));
}

TEST_F(LeaseLoopTest, Shutdown_FinishesWhatRunsThenEnds) {
  Step();
  Reply(Grant({"a"}));
  const TakenLease taken = *loop_->Take();
  v1::SyncResponse shutdown = Grant({"late"});
  shutdown.set_shutdown(true);
  Reply(shutdown);
  EXPECT_EQ(loop_->end(), std::nullopt);
  EXPECT_FALSE(taken.cancellation->cancelled());
  Advance(absl::Milliseconds(100));
  EXPECT_EQ(transport_.last().want(), 0);
  loop_->Finish(taken.number, v1::ShardResult(), 1);
  Step();
  Step();
  Reply(Acknowledge("a"));
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kDone));
}

TEST_F(LeaseLoopTest, CoordinatorGoesAwayAfterShutdown_EndsAtOnce) {
  Step();
  v1::SyncResponse shutdown = Grant({"a"});
  Reply(shutdown);
  const TakenLease taken = *loop_->Take();
  shutdown = Answer();
  shutdown.set_shutdown(true);
  Reply(shutdown);
  Advance(absl::Milliseconds(100));
  Reply(absl::UnavailableError("gone"));
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kDone));
  EXPECT_TRUE(taken.cancellation->cancelled());
}

// A wrong address must not look like a job well done.
TEST_F(LeaseLoopTest, NeverReachable_IsNotIdleHoweverLong) {
  UseOptions({.give_up_after = absl::Seconds(60), .idle_exit = absl::Seconds(20)});
  Step();
  Advance(absl::Seconds(59));
  EXPECT_EQ(transport_.cancels, 0);
  EXPECT_FALSE(transport_.last().leaving());
  Advance(absl::Seconds(1));
  Step();
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kUnreachable));
}

TEST_F(LeaseLoopTest, TimeWithoutACoordinatorIsNotIdleTime) {
  UseOptions({.idle_exit = absl::Seconds(20)});
  Step();
  Reply(Answer());
  Advance(absl::Seconds(19));
  Reply(absl::UnavailableError("gone"));
  Advance(absl::Seconds(100));
  Reply(Answer());
  Advance(absl::Seconds(19));
  EXPECT_FALSE(transport_.last().leaving());
  Advance(absl::Seconds(1));
  Step();
  EXPECT_TRUE(transport_.last().leaving());
}

TEST_F(LeaseLoopTest, IdleForTooLong_Leaves) {
  UseOptions({.idle_exit = absl::Seconds(20)});
  Step();
  Reply(Grant({"a"}));
  const TakenLease taken = *loop_->Take();
  Advance(absl::Seconds(60));
  EXPECT_EQ(transport_.cancels, 0);
  loop_->Finish(taken.number, v1::ShardResult(), 1);
  Step();
  Step();
  Reply(Acknowledge("a"));
  Advance(absl::Seconds(19));
  EXPECT_FALSE(transport_.last().leaving());
  Advance(absl::Seconds(1));
  Step();
  EXPECT_TRUE(transport_.last().leaving());
  Reply(Answer());
  EXPECT_THAT(loop_->end(), Optional(LeaseLoop::End::kDrained));
}

}  // namespace
}  // namespace tightrope
