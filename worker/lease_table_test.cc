#include "worker/lease_table.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Intake = LeaseTable::Intake;

v1::LeaseId Id(const std::string& job, uint32_t shard = 0, uint64_t epoch = 1) {
  v1::LeaseId id;
  id.set_job_digest(job);
  id.set_shard(shard);
  id.set_epoch(epoch);
  return id;
}

v1::SyncResponse Grants(const std::vector<v1::LeaseId>& ids) {
  v1::SyncResponse response;
  for (const v1::LeaseId& id : ids) *response.add_leases()->mutable_id() = id;
  return response;
}

v1::SyncResponse Drops(const v1::LeaseId& id) {
  v1::SyncResponse response;
  *response.add_drop() = id;
  return response;
}

v1::SyncResponse Acknowledges(const v1::LeaseId& id) {
  v1::SyncResponse response;
  *response.add_acknowledged() = id;
  return response;
}

v1::SyncResponse Stores(const v1::LeaseId& id, uint32_t count) {
  v1::SyncResponse response;
  *response.add_epochs_stored()->mutable_id() = id;
  response.mutable_epochs_stored(0)->set_count(count);
  return response;
}

v1::EpochMetrics Epoch(uint32_t epoch) {
  v1::EpochMetrics metrics;
  metrics.set_epoch(epoch);
  return metrics;
}

v1::Artifact File(const std::string& sha256) {
  v1::Artifact artifact;
  artifact.set_sha256(sha256);
  return artifact;
}

LeaseTable TableOf(int executors) {
  v1::WorkerInfo info;
  for (int i = 0; i < executors; ++i) info.add_devices("cpu");
  return LeaseTable("worker", info);
}

std::vector<std::string> Names(const v1::SyncRequest& request) {
  std::vector<std::string> names;
  for (const v1::RunningAttempt& running : request.running()) {
    names.push_back(running.id().job_digest() + (running.started() ? " started" : " waiting"));
  }
  return names;
}

TEST(LeaseTableTest, WantsOneRunningAndOneWaitingLeaseAnExecutor) {
  LeaseTable table = TableOf(2);
  EXPECT_EQ(table.BuildRequest(Intake::kOpen).want(), 4);
  table.Apply(Grants({Id("a"), Id("b"), Id("c")}), Intake::kOpen);
  EXPECT_EQ(table.BuildRequest(Intake::kOpen).want(), 1);
  table.Take();
  EXPECT_EQ(table.BuildRequest(Intake::kOpen).want(), 1);
  EXPECT_EQ(table.BuildRequest(Intake::kClosed).want(), 0);
  table.Apply(Grants({Id("d"), Id("e"), Id("f")}), Intake::kOpen);
  EXPECT_EQ(table.BuildRequest(Intake::kOpen).want(), 0);
}

TEST(LeaseTableTest, LeasesAreTakenInTheOrderTheyCame) {
  LeaseTable table = TableOf(1);
  table.Apply(Grants({Id("b"), Id("a")}), Intake::kOpen);
  EXPECT_EQ(table.Take()->lease.id().job_digest(), "b");
  EXPECT_THAT(Names(table.BuildRequest(Intake::kOpen)), ElementsAre("b started", "a waiting"));
  EXPECT_EQ(table.Take()->lease.id().job_digest(), "a");
  EXPECT_FALSE(table.Take().has_value());
}

TEST(LeaseTableTest, FinishedAttemptIsOfferedUntilAcknowledged) {
  LeaseTable table = TableOf(1);
  table.Apply(Grants({Id("a")}), Intake::kOpen);
  table.Finish(table.Take()->number, v1::ShardResult(), /*seconds=*/2.5);
  EXPECT_THAT(table.BuildRequest(Intake::kOpen).finished(), SizeIs(1));
  EXPECT_EQ(table.BuildRequest(Intake::kOpen).finished(0).seconds(), 2.5);
  EXPECT_EQ(table.Apply(Acknowledges(Id("a", 0, /*epoch=*/2)), Intake::kOpen).acknowledged, 0);
  EXPECT_THAT(table.BuildRequest(Intake::kOpen).finished(), SizeIs(1));
  EXPECT_EQ(table.Apply(Acknowledges(Id("a")), Intake::kOpen).acknowledged, 1);
  EXPECT_TRUE(table.HoldsNothing());
}

TEST(LeaseTableTest, RepeatedReplyDoesNotRunALeaseTwice) {
  LeaseTable table = TableOf(1);
  table.Apply(Grants({Id("a")}), Intake::kOpen);
  EXPECT_EQ(table.Apply(Grants({Id("a")}), Intake::kOpen).leases, 0);
  table.Finish(table.Take()->number, v1::ShardResult(), 1);
  EXPECT_EQ(table.Apply(Grants({Id("a")}), Intake::kOpen).leases, 0);
  EXPECT_FALSE(table.Take().has_value());
}

TEST(LeaseTableTest, NewEpochForARunningShard_TheAttemptGoesOnUnderTheNewNumber) {
  LeaseTable table = TableOf(1);
  table.Apply(Grants({Id("a", 0, 1)}), Intake::kOpen);
  const TakenLease taken = *table.Take();
  v1::SyncResponse response = Grants({Id("a", 0, 7)});
  *response.add_drop() = Id("a", 0, 1);
  table.Apply(response, Intake::kOpen);
  EXPECT_FALSE(taken.cancellation->cancelled());
  table.Finish(taken.number, v1::ShardResult(), 1);
  EXPECT_EQ(table.BuildRequest(Intake::kOpen).finished(0).id().epoch(), 7);
}

TEST(LeaseTableTest, DropCancelsARunningAttemptWhichKeepsItsExecutorUntilItLetsGo) {
  LeaseTable table = TableOf(1);
  table.Apply(Grants({Id("a"), Id("b")}), Intake::kOpen);
  const TakenLease taken = *table.Take();
  EXPECT_EQ(table.Apply(Drops(Id("a")), Intake::kOpen).dropped, 1);
  EXPECT_TRUE(taken.cancellation->cancelled());
  EXPECT_THAT(Names(table.BuildRequest(Intake::kOpen)), ElementsAre("b waiting"));
  EXPECT_EQ(table.BuildRequest(Intake::kOpen).want(), 0);
  EXPECT_EQ(table.Apply(Drops(Id("a")), Intake::kOpen).dropped, 0);
  table.Abandon(taken.number);
  EXPECT_EQ(table.BuildRequest(Intake::kOpen).want(), 1);
}

TEST(LeaseTableTest, DropOfAWaitingLeaseForgetsIt) {
  LeaseTable table = TableOf(1);
  table.Apply(Grants({Id("a")}), Intake::kOpen);
  table.Apply(Drops(Id("a")), Intake::kOpen);
  EXPECT_TRUE(table.HoldsNothing());
}

TEST(LeaseTableTest, DropOfAnOlderEpochChangesNothing) {
  LeaseTable table = TableOf(1);
  table.Apply(Grants({Id("a", 0, 5)}), Intake::kOpen);
  EXPECT_FALSE(table.Apply(Drops(Id("a", 0, 4)), Intake::kOpen).any());
  EXPECT_TRUE(table.HasQueued());
}

TEST(LeaseTableTest, DroppedAttemptThatSucceededAllTheSameIsOffered_ItsFailureIsNot) {
  LeaseTable table = TableOf(2);
  table.Apply(Grants({Id("a"), Id("b")}), Intake::kOpen);
  const TakenLease a = *table.Take();
  const TakenLease b = *table.Take();
  table.Apply(Drops(Id("a")), Intake::kOpen);
  table.Apply(Drops(Id("b")), Intake::kOpen);
  table.Finish(a.number, v1::ShardResult(), 1);
  table.Finish(b.number, v1::Failure(), 1);
  const v1::SyncRequest request = table.BuildRequest(Intake::kOpen);
  ASSERT_THAT(request.finished(), SizeIs(1));
  EXPECT_EQ(request.finished(0).id().job_digest(), "a");
}

TEST(LeaseTableTest, EpochsAreReportedWithTheLastCheckpointUntilStored) {
  LeaseTable table = TableOf(1);
  table.Apply(Grants({Id("a")}), Intake::kOpen);
  const AttemptNumber number = table.Take()->number;
  table.AddEpochs(number, {Epoch(3), Epoch(4)}, File("four"));
  table.AddEpochs(number, {Epoch(5)}, File("five"));
  v1::SyncRequest request = table.BuildRequest(Intake::kOpen);
  EXPECT_THAT(request.running(0).epochs(), SizeIs(3));
  EXPECT_EQ(request.running(0).checkpoint().sha256(), "five");

  EXPECT_EQ(table.Apply(Stores(Id("a"), /*count=*/5), Intake::kOpen).epochs_stored, 2);
  request = table.BuildRequest(Intake::kOpen);
  ASSERT_THAT(request.running(0).epochs(), SizeIs(1));
  EXPECT_EQ(request.running(0).epochs(0).epoch(), 5);
  EXPECT_EQ(request.running(0).checkpoint().sha256(), "five");

  EXPECT_EQ(table.Apply(Stores(Id("a"), /*count=*/6), Intake::kOpen).epochs_stored, 1);
  EXPECT_FALSE(table.Apply(Stores(Id("a"), /*count=*/6), Intake::kOpen).any());
  EXPECT_FALSE(table.BuildRequest(Intake::kOpen).running(0).has_checkpoint());
}

TEST(LeaseTableTest, ManyLargeResultsAreSplitOverRequests_ThoseThatWaitAreStillHeld) {
  LeaseTable table = TableOf(3);
  table.Apply(Grants({Id("a"), Id("b"), Id("c")}), Intake::kOpen);
  for (int i = 0; i < 3; ++i) {
    v1::ShardResult result;
    result.add_artifacts()->set_role(std::string(LeaseTable::kRequestBytes, 'x'));
    table.Finish(table.Take()->number, std::move(result), 1);
  }
  std::vector<std::string> sent;
  while (table.HasFinished()) {
    const v1::SyncRequest request = table.BuildRequest(Intake::kOpen);
    ASSERT_THAT(request.finished(), SizeIs(1));
    EXPECT_EQ(request.running_size() + sent.size(), 2);
    sent.push_back(request.finished(0).id().job_digest());
    table.Apply(Acknowledges(request.finished(0).id()), Intake::kOpen);
  }
  EXPECT_THAT(sent, ElementsAre("a", "b", "c"));
}

TEST(LeaseTableTest, LeavingGivesLeasesBackAndKeepsResults) {
  LeaseTable table = TableOf(2);
  table.Apply(Grants({Id("a"), Id("b"), Id("c")}), Intake::kOpen);
  table.Finish(table.Take()->number, v1::ShardResult(), 1);
  const TakenLease running = *table.Take();
  table.CancelAll();
  EXPECT_TRUE(running.cancellation->cancelled());
  const v1::SyncRequest request = table.BuildRequest(Intake::kLeaving);
  EXPECT_TRUE(request.leaving());
  EXPECT_EQ(request.want(), 0);
  EXPECT_THAT(request.running(), IsEmpty());
  EXPECT_THAT(request.finished(), SizeIs(1));
  EXPECT_EQ(table.Apply(Grants({Id("d")}), Intake::kLeaving).leases, 0);
  EXPECT_FALSE(table.HasQueued());
}

TEST(LeaseTableTest, WhatIsSaidOfAnAttemptThatIsGoneIsIgnored) {
  LeaseTable table = TableOf(1);
  table.SetProgress(99, 0.5, 1);
  table.AddEpochs(99, {Epoch(0)}, File("zero"));
  table.Finish(99, v1::ShardResult(), 1);
  table.Abandon(99);
  EXPECT_TRUE(table.HoldsNothing());
}

}  // namespace
}  // namespace tightrope
