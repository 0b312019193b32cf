#include "coordinator/scheduler.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr absl::Duration kLease = absl::Seconds(30);

ResultDigest Digest(uint8_t value) {
  ResultDigest digest{};
  digest[0] = value;
  return digest;
}

PlannedJob MakeJob(std::string digest, uint32_t shards, std::vector<std::string> depends_on = {}) {
  PlannedJob job{.digest = std::move(digest), .depends_on = std::move(depends_on), .shards = {}, .restored = {}};
  for (uint64_t i = 0; i < shards; ++i) job.shards.push_back({i * 10, i * 10 + 10});
  return job;
}

template <typename Effect>
std::vector<Effect> Only(const std::vector<SchedulerEffect>& effects) {
  std::vector<Effect> only;
  for (const SchedulerEffect& effect : effects) {
    if (const auto* one = std::get_if<Effect>(&effect)) only.push_back(*one);
  }
  return only;
}

class SchedulerTest : public ::testing::Test {
 protected:
  std::vector<SchedulerEffect> Apply(const SchedulerEvent& event) {
    std::vector<SchedulerEffect> effects = scheduler_.Apply(event, now_);
    EXPECT_OK(scheduler_.CheckInvariants());
    return effects;
  }
  void Submit(const std::string& name, std::vector<PlannedJob> jobs) {
    Apply(ExperimentStored{.name = name, .order = ++order_, .fresh_budget = true, .jobs = std::move(jobs)});
  }
  std::vector<SchedulerEffect> Sync(const std::string& worker, std::vector<WorkerSynced::Running> running = {},
                                    std::vector<LeaseKey> finished = {}, bool leaving = false) {
    return Apply(WorkerSynced{worker, std::move(running), std::move(finished), leaving});
  }
  std::vector<LeaseKey> Take(const std::string& worker, uint32_t count) {
    std::vector<LeaseKey> leases;
    for (const LeaseGranted& granted : Only<LeaseGranted>(Apply(WorkRequested{worker, count}))) {
      leases.push_back(granted.lease);
    }
    return leases;
  }
  // A new worker and its one lease.
  LeaseKey TakeOne(const std::string& worker) {
    Sync(worker);
    const std::vector<LeaseKey> leases = Take(worker, 1);
    return leases.empty() ? LeaseKey{} : leases.front();
  }
  std::vector<SchedulerEffect> Offer(const std::string& worker, const LeaseKey& lease, uint8_t result) {
    return Apply(AttemptOffered{worker, lease, Digest(result)});
  }
  std::vector<SchedulerEffect> Commit(const std::string& worker, const LeaseKey& lease, uint8_t result = 1) {
    EXPECT_THAT(Only<AttemptAccepted>(Offer(worker, lease, result)), SizeIs(1));
    return Apply(AttemptDurable{lease});
  }
  std::vector<SchedulerEffect> Fail(const std::string& worker, const LeaseKey& lease, bool permanent = false) {
    EXPECT_THAT(Only<AttemptAccepted>(Apply(AttemptOffered{worker, lease, FailureReport{2, "no luck", permanent}})),
                SizeIs(1));
    return Apply(AttemptDurable{lease});
  }
  std::vector<SchedulerEffect> Pass(absl::Duration time) {
    now_ += time;
    return Apply(TimePassed{});
  }
  StateTally Shards(const std::string& experiment = "e") { return scheduler_.Snapshot(experiment)->shards; }
  StateTally Jobs(const std::string& experiment = "e") { return scheduler_.Snapshot(experiment)->jobs; }

  absl::Time now_ = absl::UnixEpoch();
  uint64_t order_ = 0;
  Scheduler scheduler_{SchedulerOptions{.generation = 2, .lease = kLease, .max_failures = 1, .max_losses = 2}};
};

auto HasKind(AttemptSettled::Kind kind) { return ElementsAre(Field(&AttemptSettled::kind, kind)); }

TEST_F(SchedulerTest, WorkIsHandedOutInTheOrderOfThePlanAndOfSubmission) {
  Submit("first", {MakeJob("a", 2), MakeJob("b", 1)});
  Submit("second", {MakeJob("c", 1)});
  Sync("w");
  std::vector<std::string> order;
  for (const LeaseKey& lease : Take("w", 10)) order.push_back(lease.job + std::to_string(lease.shard));
  EXPECT_THAT(order, ElementsAre("a0", "a1", "b0", "c0"));
}

TEST_F(SchedulerTest, EpochsCarryTheGenerationAndOnlyGrow) {
  Submit("e", {MakeJob("a", 2)});
  Sync("w");
  const std::vector<LeaseKey> leases = Take("w", 2);
  ASSERT_THAT(leases, SizeIs(2));
  EXPECT_EQ(leases[0].epoch >> 32, 2u);
  EXPECT_LT(leases[0].epoch, leases[1].epoch);
}

TEST_F(SchedulerTest, ScarceWorkIsShared) {
  Submit("e", {MakeJob("a", 4)});
  Sync("one");
  Sync("two");
  EXPECT_THAT(Take("one", 4), SizeIs(2));
  EXPECT_THAT(Take("two", 4), SizeIs(1));
}

TEST_F(SchedulerTest, DependantsWaitUntilEveryShardOfWhatTheyNeedIsCommitted) {
  Submit("e", {MakeJob("train", 2), MakeJob("attack", 1, {"train"})});
  Sync("w");
  const std::vector<LeaseKey> leases = Take("w", 10);
  ASSERT_THAT(leases, SizeIs(2));
  EXPECT_THAT(Only<JobCommitted>(Commit("w", leases[0])), IsEmpty());
  EXPECT_EQ(Shards().blocked, 1u);
  EXPECT_THAT(Only<JobCommitted>(Commit("w", leases[1])), SizeIs(1));
  const std::vector<LeaseKey> attack = Take("w", 10);
  ASSERT_THAT(attack, SizeIs(1));
  EXPECT_THAT(Only<ExperimentFinished>(Commit("w", attack[0])), SizeIs(1));
  EXPECT_TRUE(scheduler_.Snapshot("e")->finished);
  EXPECT_EQ(Jobs().committed, 2u);
}

TEST_F(SchedulerTest, NothingIsPromisedBeforeItIsDurable) {
  Submit("e", {MakeJob("train", 1), MakeJob("attack", 1, {"train"})});
  const LeaseKey lease = TakeOne("w");
  Offer("w", lease, 1);
  EXPECT_EQ(Shards().committed, 0u);
  EXPECT_THAT(Take("w", 1), IsEmpty());
}

TEST_F(SchedulerTest, SyncExtendsEveryLeaseItLists) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey lease = TakeOne("w");
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(Pass(kLease - absl::Seconds(1)), IsEmpty());
    EXPECT_THAT(Sync("w", {{lease, true}}), IsEmpty());
  }
  EXPECT_TRUE(scheduler_.Holds("w", lease));
}

TEST_F(SchedulerTest, ResponseWithLeaseIsLost_ShardIsPendingAgainAndNothingIsCharged) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey lost = TakeOne("w");
  EXPECT_THAT(Only<AttemptLost>(Sync("w")), IsEmpty());
  EXPECT_EQ(Shards().pending, 1u);
  const std::vector<LeaseKey> again = Take("w", 1);
  ASSERT_THAT(again, SizeIs(1));
  EXPECT_GT(again[0].epoch, lost.epoch);
}

TEST_F(SchedulerTest, WorkerDiesBeforeItStarts_NothingIsCharged) {
  Submit("e", {MakeJob("a", 1)});
  for (int i = 0; i < 10; ++i) {
    const LeaseKey lease = TakeOne("w" + std::to_string(i));
    Sync("w" + std::to_string(i), {{lease, /*started=*/false}});
    EXPECT_THAT(Only<AttemptLost>(Pass(kLease)), IsEmpty());
  }
  EXPECT_EQ(Shards().pending, 1u);
}

TEST_F(SchedulerTest, ShardThatKillsWorkersIsQuarantined) {
  Submit("e", {MakeJob("a", 2), MakeJob("b", 1, {"a"}), MakeJob("c", 1)});
  std::vector<SchedulerEffect> effects;
  for (int i = 0; i < 3; ++i) {
    const std::string worker = "w" + std::to_string(i);
    const LeaseKey lease = TakeOne(worker);
    ASSERT_EQ(lease.job, "a");
    Sync(worker, {{lease, /*started=*/true}});
    effects = Pass(kLease);
    EXPECT_THAT(Only<AttemptLost>(effects), SizeIs(1));
  }
  EXPECT_THAT(Only<JobFailed>(effects), ElementsAre(Field(&JobFailed::message, HasSubstr("kill its workers"))));
  EXPECT_EQ(Jobs().failed, 1u);
  EXPECT_EQ(Jobs().cancelled, 1u);
  EXPECT_EQ(TakeOne("w").job, "c");  // the rest of the experiment goes on
}

TEST_F(SchedulerTest, LostWorkersAreNotFailures) {
  Submit("e", {MakeJob("a", 1)});
  for (int i = 0; i < 2; ++i) {  // as many losses as are tried again
    const LeaseKey lease = TakeOne("w");
    Sync("w", {{lease, true}});
    Pass(kLease);
  }
  EXPECT_THAT(Only<JobFailed>(Fail("w", TakeOne("w"))), IsEmpty());
  EXPECT_EQ(Shards().pending, 1u);
}

TEST_F(SchedulerTest, FailureIsTriedAgain_ThenFailsTheJobAndCancelsWhatNeedsIt) {
  Submit("e", {MakeJob("train", 1), MakeJob("attack", 3, {"train"})});
  EXPECT_THAT(Only<JobFailed>(Fail("w", TakeOne("w"))), IsEmpty());
  const std::vector<SchedulerEffect> effects = Fail("w", TakeOne("w"));
  EXPECT_THAT(Only<JobFailed>(effects), SizeIs(1));
  EXPECT_THAT(Only<ExperimentFinished>(effects), SizeIs(1));
  EXPECT_EQ(Shards().failed, 1u);
  EXPECT_EQ(Shards().cancelled, 3u);
}

TEST_F(SchedulerTest, PermanentFailureIsNotTriedAgain) {
  Submit("e", {MakeJob("a", 1)});
  EXPECT_THAT(Only<JobFailed>(Fail("w", TakeOne("w"), /*permanent=*/true)),
              ElementsAre(Field(&JobFailed::message, "no luck")));
}

TEST_F(SchedulerTest, RepeatedReportOfOneFailureIsCountedOnce) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey lease = TakeOne("w");
  Fail("w", lease);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(Only<AttemptSettled>(Apply(AttemptOffered{"w", lease, FailureReport{2, "no luck", false}})),
                HasKind(AttemptSettled::Kind::kRefused));
  }
  EXPECT_EQ(Shards().pending, 1u);
}

TEST_F(SchedulerTest, RepeatedCommitIsAcknowledgedAgain) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey lease = TakeOne("w");
  Offer("w", lease, 7);
  EXPECT_THAT(Only<AttemptJoined>(Offer("w", lease, 7)), SizeIs(1));
  Apply(AttemptDurable{lease});
  EXPECT_THAT(Only<AttemptSettled>(Offer("w", lease, 7)), HasKind(AttemptSettled::Kind::kDuplicate));
  EXPECT_EQ(Shards().committed, 1u);
}

TEST_F(SchedulerTest, LeaseExpiresWhileResultInFlight_NobodyTookOver_LateCommitIsAccepted) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey lease = TakeOne("w");
  Pass(kLease);
  EXPECT_EQ(Shards().pending, 1u);
  Commit("w", lease);
  EXPECT_EQ(Shards().committed, 1u);
  EXPECT_THAT(TakeOne("other"), LeaseKey{});
}

TEST_F(SchedulerTest, LeaseExpiresWhileResultInFlight_HandedOn_LateCommitIsRejected) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey old = TakeOne("slow");
  Pass(kLease);
  const LeaseKey current = TakeOne("quick");
  EXPECT_THAT(Only<AttemptSettled>(Offer("slow", old, 1)), HasKind(AttemptSettled::Kind::kRefused));
  EXPECT_TRUE(scheduler_.Holds("quick", current));
  Commit("quick", current);
  EXPECT_EQ(scheduler_.Snapshot("e")->nondeterministic_shards, 0u);
}

TEST_F(SchedulerTest, RejectedLateResultDiffersFromTheCommittedOne_IsEvidence) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey old = TakeOne("slow");
  Pass(kLease);
  const LeaseKey current = TakeOne("quick");
  Offer("slow", old, 1);
  EXPECT_THAT(Only<NondeterminismFound>(Commit("quick", current, 2)),
              ElementsAre(Field(&NondeterminismFound::worker, "slow")));
  EXPECT_EQ(scheduler_.Snapshot("e")->nondeterministic_shards, 1u);
}

TEST_F(SchedulerTest, LateCommitAfterTheCommit_SameResult_ReproducibilityCheckPasses) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey old = TakeOne("slow");
  Pass(kLease);
  Commit("quick", TakeOne("quick"), 5);
  EXPECT_THAT(Only<AttemptSettled>(Offer("slow", old, 5)), HasKind(AttemptSettled::Kind::kReproduced));
  EXPECT_THAT(Only<NondeterminismFound>(Offer("slow", old, 6)), SizeIs(1));
  EXPECT_EQ(scheduler_.Snapshot("e")->nondeterministic_shards, 1u);
  EXPECT_EQ(Shards().committed, 1u);
}

TEST_F(SchedulerTest, WorkerOfAnExpiredLeaseComesBack_LeaseIsGoneOrGivenBack) {
  Submit("e", {MakeJob("a", 2)});
  Sync("w");
  const std::vector<LeaseKey> leases = Take("w", 2);
  Pass(kLease);
  const LeaseKey taken = TakeOne("other");
  const std::vector<SchedulerEffect> effects = Sync("w", {{leases[0], true}, {leases[1], true}});
  const LeaseKey& gone = taken.shard == leases[0].shard ? leases[0] : leases[1];
  EXPECT_THAT(Only<LeaseDropped>(effects), ElementsAre(Field(&LeaseDropped::lease, gone)));
  EXPECT_EQ(scheduler_.LeaseCount("w"), 1u);
}

TEST_F(SchedulerTest, CoordinatorRestarts_RunningAttemptKeepsItsLeaseAndEpoch) {
  const uint64_t earlier = uint64_t{1} << 32 | 17;  // of the generation before
  Submit("e", {MakeJob("a", 1)});
  EXPECT_THAT(Only<LeaseDropped>(Sync("w", {{{"a", 0, earlier}, true}})), IsEmpty());
  EXPECT_TRUE(scheduler_.Holds("w", {"a", 0, earlier}));
  EXPECT_THAT(TakeOne("other"), LeaseKey{});
  Commit("w", {"a", 0, earlier});
  EXPECT_EQ(Shards().committed, 1u);
}

TEST_F(SchedulerTest, CoordinatorRestarts_FinishedAttemptIsCommitted) {
  Submit("e", {MakeJob("a", 1)});
  Commit("w", {"a", 0, uint64_t{1} << 32 | 17});
  EXPECT_EQ(Shards().committed, 1u);
}

TEST_F(SchedulerTest, CoordinatorRestarts_ShardWasGrantedAnew_OldAttemptIsDropped) {
  Submit("e", {MakeJob("a", 1)});
  TakeOne("new");
  const LeaseKey old{"a", 0, uint64_t{1} << 32 | 17};
  EXPECT_THAT(Only<LeaseDropped>(Sync("w", {{old, true}})), SizeIs(1));
}

TEST_F(SchedulerTest, EpochThatWasNeverGrantedIsNotBelieved) {
  Submit("e", {MakeJob("a", 1)});
  for (const uint64_t epoch : {uint64_t{0}, uint64_t{2} << 32 | 5, uint64_t{9} << 32 | 1}) {
    EXPECT_THAT(Only<LeaseDropped>(Sync("w", {{{"a", 0, epoch}, true}})), SizeIs(1)) << epoch;
    EXPECT_THAT(Only<AttemptSettled>(Offer("w", {"a", 0, epoch}, 1)), HasKind(AttemptSettled::Kind::kRefused)) << epoch;
  }
  EXPECT_EQ(Shards().pending, 1u);
}

TEST_F(SchedulerTest, UnknownJobsAndShardsAreDroppedAndRefused) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey unknown{"z", 0, 1};
  const LeaseKey outside{"a", 99, uint64_t{1} << 32 | 1};
  EXPECT_THAT(Only<LeaseDropped>(Sync("w", {{unknown, true}, {outside, true}})), SizeIs(2));
  EXPECT_THAT(Only<AttemptSettled>(Offer("w", unknown, 1)), HasKind(AttemptSettled::Kind::kRefused));
  EXPECT_THAT(Only<AttemptSettled>(Offer("w", outside, 1)), HasKind(AttemptSettled::Kind::kRefused));
}

TEST_F(SchedulerTest, LeavingWorkerHandsItsLeasesBackUncharged) {
  Submit("e", {MakeJob("a", 2)});
  Sync("w");
  const std::vector<LeaseKey> leases = Take("w", 2);
  EXPECT_THAT(Only<AttemptLost>(Sync("w", {{leases[0], true}}, {leases[1]}, /*leaving=*/true)), IsEmpty());
  Commit("w", leases[1]);
  EXPECT_EQ(Shards().pending, 1u);
  EXPECT_THAT(Take("w", 1), IsEmpty());
  EXPECT_EQ(TakeOne("other").shard, leases[0].shard);
}

TEST_F(SchedulerTest, ExperimentIsReplaced_JobsThatNobodyNeedsAreForgotten) {
  Submit("e", {MakeJob("a", 1), MakeJob("b", 1)});
  Submit("other", {MakeJob("b", 1)});
  Sync("w");
  const std::vector<LeaseKey> leases = Take("w", 2);
  ASSERT_THAT(leases, SizeIs(2));
  Submit("e", {MakeJob("c", 1)});
  EXPECT_THAT(Only<LeaseDropped>(Sync("w", {{leases[0], true}, {leases[1], true}})),
              ElementsAre(Field(&LeaseDropped::lease, leases[0])));
  EXPECT_TRUE(scheduler_.Holds("w", leases[1]));
  EXPECT_THAT(Only<AttemptSettled>(Offer("w", leases[0], 1)), HasKind(AttemptSettled::Kind::kRefused));
}

TEST_F(SchedulerTest, ResultBecomesDurableAfterItsJobIsForgotten_IsHarmless) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey lease = TakeOne("w");
  Offer("w", lease, 1);
  Submit("e", {MakeJob("c", 1)});
  EXPECT_THAT(Apply(AttemptDurable{lease}), IsEmpty());
}

TEST_F(SchedulerTest, FailedExperimentIsSubmittedAgain_StartsWithWholeBudgets) {
  Submit("e", {MakeJob("train", 1), MakeJob("attack", 1, {"train"})});
  Fail("w", TakeOne("w"), /*permanent=*/true);
  EXPECT_TRUE(scheduler_.Snapshot("e")->finished);
  Submit("e", {MakeJob("train", 1), MakeJob("attack", 1, {"train"})});
  EXPECT_FALSE(scheduler_.Snapshot("e")->finished);
  EXPECT_THAT(Only<JobFailed>(Fail("w", TakeOne("w"))), IsEmpty());
  Commit("w", TakeOne("w"));
  Commit("w", TakeOne("w"));
  EXPECT_EQ(Jobs().committed, 2u);
}

TEST_F(SchedulerTest, RestoredStateCountsAsCachedAndIsNotRunAgain) {
  PlannedJob train = MakeJob("train", 1);
  train.restored = {{.shard = 0, .committed = Digest(3), .epoch = 9}};
  train.cached_shards = 1;
  PlannedJob attack = MakeJob("attack", 2, {"train"});
  attack.restored = {{.shard = 0, .committed = Digest(4), .epoch = 10}, {.shard = 1, .failures = 1, .message = "no"}};
  Submit("e", {train, attack});
  EXPECT_EQ(Jobs().cached, 1u);
  EXPECT_EQ(Shards().cached, 1u);
  EXPECT_EQ(Shards().committed, 1u);
  EXPECT_THAT(Only<AttemptSettled>(Offer("w", {"train", 0, 9}, 3)), HasKind(AttemptSettled::Kind::kDuplicate));
  Sync("w");
  EXPECT_THAT(Take("w", 10), ElementsAre(Field(&LeaseKey::shard, 1u)));
}

TEST_F(SchedulerTest, ExhaustedBudgetsSurviveARestart) {
  PlannedJob train = MakeJob("train", 1);
  train.restored = {{.shard = 0, .failures = 2, .message = "no memory"}};
  Apply(ExperimentStored{.name = "e", .order = 1, .jobs = {train, MakeJob("attack", 1, {"train"})}});
  EXPECT_TRUE(scheduler_.Snapshot("e")->finished);
  ASSERT_THAT(scheduler_.Snapshot("e")->failures, SizeIs(1));
  EXPECT_EQ(scheduler_.Snapshot("e")->failures[0].message, "no memory");
  EXPECT_EQ(Jobs().cancelled, 1u);
}

TEST_F(SchedulerTest, InactiveExperimentIsShownButNotRun) {
  Apply(ExperimentStored{.name = "e", .order = 1, .active = false, .jobs = {MakeJob("a", 1)}});
  EXPECT_THAT(TakeOne("w"), LeaseKey{});
  EXPECT_FALSE(scheduler_.IsActive());
  EXPECT_EQ(Shards().pending, 1u);
  Submit("e", {MakeJob("a", 1)});
  EXPECT_EQ(TakeOne("w").job, "a");
}

TEST_F(SchedulerTest, ClockJumpsBack_NothingExpiresEarlyOrNever) {
  Submit("e", {MakeJob("a", 1)});
  const LeaseKey lease = TakeOne("w");
  now_ -= absl::Hours(5);
  EXPECT_THAT(Apply(TimePassed{}), IsEmpty());
  EXPECT_TRUE(scheduler_.Holds("w", lease));
  now_ += absl::Hours(5);
  Pass(kLease);
  EXPECT_FALSE(scheduler_.Holds("w", lease));
}

TEST_F(SchedulerTest, ProgressCountsWhatIsInFlight) {
  Submit("e", {MakeJob("a", 2)});
  const LeaseKey lease = TakeOne("w");
  Sync("w", {{lease, true, 0.5, 5}});
  const ExperimentSnapshot snapshot = *scheduler_.Snapshot("e");
  EXPECT_DOUBLE_EQ(snapshot.progress, 0.25);
  EXPECT_EQ(snapshot.examples_done, 5u);
  EXPECT_EQ(snapshot.examples_total, 20u);
}

TEST_F(SchedulerTest, ProgressWeighsJobsByTheirWork) {
  PlannedJob training = MakeJob("long", 1);
  training.work = 900;
  PlannedJob attack = MakeJob("short", 10);
  attack.work = 100;
  Submit("e", {training, attack});
  const LeaseKey lease = TakeOne("w");
  ASSERT_EQ(lease.job, "long");
  Sync("w", {{lease, true, 0.5, 0}});
  EXPECT_DOUBLE_EQ(scheduler_.Snapshot("e")->progress, 0.45);
}

TEST_F(SchedulerTest, IdleWorkerTakesOverWhatWaitsBehindALongTraining) {
  Submit("e", {MakeJob("training", 1), MakeJob("other", 1)});
  Apply(WorkerSynced{.worker = "busy", .executors = 1});
  const std::vector<LeaseKey> leases = Take("busy", 2);
  ASSERT_THAT(leases, SizeIs(2));
  Apply(WorkerSynced{.worker = "busy", .running = {{leases[0], true}, {leases[1], false}}, .executors = 1});

  Apply(WorkerSynced{.worker = "idle", .executors = 1});
  const std::vector<LeaseKey> taken = Take("idle", 2);
  ASSERT_THAT(taken, SizeIs(1)) << "what runs is left alone";
  EXPECT_EQ(taken[0].job, "other");
  EXPECT_GT(taken[0].epoch, leases[1].epoch);
  EXPECT_THAT(Only<LeaseDropped>(Apply(
                  WorkerSynced{.worker = "busy", .running = {{leases[0], true}, {leases[1], false}}, .executors = 1})),
              ElementsAre(Field(&LeaseDropped::lease, leases[1])));
}

TEST_F(SchedulerTest, LeaseThatIsAboutToStartIsNotTakenOver) {
  Submit("e", {MakeJob("a", 1)});
  Apply(WorkerSynced{.worker = "first", .executors = 1});
  ASSERT_THAT(Take("first", 1), SizeIs(1));
  Apply(WorkerSynced{.worker = "second", .executors = 1});
  EXPECT_THAT(Take("second", 1), IsEmpty());
}

TEST_F(SchedulerTest, WaitingLeaseOfAJobThatOnlyAnInactiveExperimentShows_IsNotTakenOver) {
  Apply(ExperimentStored{.name = "old", .order = ++order_, .active = false, .jobs = {MakeJob("a", 1)}});
  Submit("e", {MakeJob("a", 1), MakeJob("b", 1)});
  Apply(WorkerSynced{.worker = "busy", .executors = 1});
  const std::vector<LeaseKey> leases = Take("busy", 2);
  ASSERT_THAT(leases, SizeIs(2));
  Submit("e", {MakeJob("b", 1), MakeJob("c", 1)});
  EXPECT_EQ(TakeOne("other").job, "c");
  Apply(WorkerSynced{.worker = "busy", .running = {{leases[0], false}, {leases[1], true}}, .executors = 1});
  Apply(WorkerSynced{.worker = "idle", .executors = 1});
  EXPECT_THAT(Take("idle", 1), IsEmpty());
  EXPECT_TRUE(scheduler_.Holds("busy", leases[0]));
}

TEST_F(SchedulerTest, WorkerOnWhichEverythingFailsAtOnce_FailsNoJob) {
  Submit("e", {MakeJob("a", 3), MakeJob("b", 2)});
  Sync("healthy");
  const LeaseKey held = Take("healthy", 1).at(0);
  Sync("broken");
  for (int failed = 0; failed < 4; ++failed) {
    const std::vector<LeaseKey> leases = Take("broken", 1);
    ASSERT_THAT(leases, SizeIs(1)) << failed;
    EXPECT_THAT(Only<JobFailed>(Fail("broken", leases[0])), IsEmpty());
  }
  EXPECT_THAT(Take("broken", 8), IsEmpty()) << "each shard has failed there once";
  EXPECT_EQ(Shards().pending, 4u);
  Commit("healthy", held);
  for (int i = 0; i < 4; ++i) Commit("healthy", Take("healthy", 1).at(0));
  EXPECT_EQ(Shards().committed, 5u);
}

TEST_F(SchedulerTest, ShardFailedOnAWorker_ComesBackToItOnceNobodyElseIsLeft) {
  Submit("e", {MakeJob("a", 1), MakeJob("b", 1)});
  Sync("other");
  Sync("first");
  ASSERT_EQ(Take("other", 1).at(0).job, "a");
  const LeaseKey lease = Take("first", 1).at(0);
  Fail("first", lease);
  EXPECT_THAT(Take("first", 2), IsEmpty());
  Sync("other", {}, {}, /*leaving=*/true);
  std::vector<std::string> jobs;
  for (const LeaseKey& again : Take("first", 2)) jobs.push_back(again.job);
  EXPECT_THAT(jobs, ElementsAre("a", "b"));
}

TEST_F(SchedulerTest, WaitingLeaseThatFailedOnTheIdleWorker_IsNotTakenOver) {
  Submit("e", {MakeJob("a", 1), MakeJob("b", 1)});
  Apply(WorkerSynced{.worker = "busy", .executors = 1});
  Apply(WorkerSynced{.worker = "idle", .executors = 1});
  const LeaseKey running = Take("busy", 1).at(0);
  ASSERT_EQ(running.job, "a");
  const LeaseKey failed = Take("idle", 1).at(0);
  ASSERT_EQ(failed.job, "b");
  Fail("idle", failed);
  Apply(WorkerSynced{.worker = "busy", .running = {{running, true}}, .executors = 1});
  ASSERT_EQ(Take("busy", 1).at(0).job, "b");
  EXPECT_THAT(Take("idle", 1), IsEmpty());
}

TEST_F(SchedulerTest, SharedTrainingIsSubmittedAgain_WhatAnotherExperimentHangsOnItGoesOn) {
  const auto plan = [](const std::string& name) {
    return std::vector<PlannedJob>{MakeJob("train", 1), MakeJob("attack-" + name, 1, {"train"}),
                                   MakeJob("summary-" + name, 1, {"attack-" + name})};
  };
  Submit("one", plan("one"));
  Submit("two", plan("two"));
  Fail("w", TakeOne("w"), /*permanent=*/true);
  EXPECT_TRUE(scheduler_.Snapshot("two")->finished);
  EXPECT_EQ(Shards("two").cancelled, 2u);
  Submit("one", plan("one"));
  EXPECT_FALSE(scheduler_.Snapshot("two")->finished);
  EXPECT_EQ(Shards("two").blocked, 2u);
  std::vector<SchedulerEffect> effects;
  for (int i = 0; i < 5; ++i) effects = Commit("w", TakeOne("w"));
  EXPECT_THAT(Only<ExperimentFinished>(effects), SizeIs(1));
  EXPECT_EQ(Jobs("one").committed, 3u);
  EXPECT_EQ(Jobs("two").committed, 3u);
}

TEST_F(SchedulerTest, SharedTrainingIsSubmittedAgain_WhatFailedByItselfStaysFailed) {
  Submit("one", {MakeJob("train", 2)});
  Submit("two", {MakeJob("train", 2), MakeJob("other", 1), MakeJob("attack", 1, {"train", "other"})});
  Sync("w");
  const std::vector<LeaseKey> leases = Take("w", 3);
  ASSERT_THAT(leases, SizeIs(3));
  Fail("w", leases[0], /*permanent=*/true);
  Fail("w", leases[2], /*permanent=*/true);
  Submit("one", {MakeJob("train", 2)});
  EXPECT_EQ(Jobs("two").failed, 1u);
  EXPECT_EQ(Jobs("two").cancelled, 1u);
}

// A million shards are handed out and committed in seconds; anything quadratic would take hours.
TEST(SchedulerSizeTest, MillionShardsStayFast) {
  Scheduler scheduler({.generation = 1});
  ExperimentStored event{.name = "e", .order = 1, .jobs = {}};
  for (int job = 0; job < 100; ++job) event.jobs.push_back(MakeJob("job" + std::to_string(job), 10'000));
  const absl::Time now = absl::UnixEpoch();
  scheduler.Apply(event, now);
  uint32_t committed = 0;
  scheduler.Apply(WorkerSynced{.worker = "w", .running = {}, .finished = {}}, now);
  while (true) {
    const std::vector<SchedulerEffect> granted = scheduler.Apply(WorkRequested{"w", 100}, now);
    if (granted.empty()) break;
    for (const SchedulerEffect& effect : granted) {
      const LeaseKey& lease = std::get<LeaseGranted>(effect).lease;
      scheduler.Apply(AttemptOffered{"w", lease, Digest(1)}, now);
      scheduler.Apply(AttemptDurable{lease}, now);
      ++committed;
    }
  }
  EXPECT_EQ(committed, 1'000'000u);
  EXPECT_TRUE(scheduler.Snapshot("e")->finished);
  EXPECT_OK(scheduler.CheckInvariants());
}

}  // namespace
}  // namespace tightrope
