// A coordinator, its store and its workers in one thread, with everything that can go wrong drawn from a seed: requests
// and replies lost, repeated and reordered, workers and the coordinator killed, the clock jumping. After every step the
// scheduler's invariants hold; at the end everything is committed, exactly once. A failure prints its seed.
#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "coordinator/scheduler.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

constexpr int kWorkers = 6;
constexpr int kSteps = 3'000;
constexpr absl::Duration kLease = absl::Seconds(30);

// What survives a crash of the coordinator.
struct DurableStore {
  struct Shard {
    std::optional<ResultDigest> committed;
    uint64_t epoch = 0;
    int commits = 0;
    int failures = 0;
  };
  uint32_t generation = 0;
  std::map<std::pair<std::string, uint32_t>, Shard> shards;
};

// The result of a shard is a function of the shard: the work is deterministic.
ResultDigest ResultOf(const LeaseKey& lease) {
  ResultDigest digest{};
  digest[0] = static_cast<uint8_t>(lease.job.back());
  digest[1] = static_cast<uint8_t>(lease.shard);
  return digest;
}

struct Request {
  int worker = 0;
  uint64_t incarnation = 0;
  WorkerSynced sync;
  std::vector<AttemptOffered> offers;
  uint32_t want = 0;
};

struct Reply {
  int worker = 0;
  uint64_t incarnation = 0;
  std::vector<LeaseKey> leases;
  std::vector<LeaseKey> acknowledged;
  std::vector<LeaseKey> drop;
};

struct SimulatedWorker {
  uint64_t incarnation = 0;
  bool waits = false;  // for the answer to a request
  std::vector<LeaseKey> running;
  std::vector<AttemptOffered> finished;
};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    for (const auto& [digest, shards, depends_on] :
         std::vector<std::tuple<std::string, uint32_t, std::vector<std::string>>>{
             {"train-a", 1, {}},
             {"train-b", 1, {}},
             {"attack-c", 40, {"train-a"}},
             {"attack-d", 50, {"train-b"}},
             {"attack-e", 30, {"train-a", "train-b"}}}) {
      PlannedJob job{.digest = digest, .depends_on = depends_on, .shards = {}, .restored = {}};
      for (uint64_t i = 0; i < shards; ++i) job.shards.push_back({i, i + 1});
      plan_.push_back(job);
    }
    workers_.resize(kWorkers);
    StartCoordinator();
  }

  void Run() {
    for (int step = 0; step < kSteps && !::testing::Test::HasFailure(); ++step) {
      Step(/*chaos=*/true);
      Check();
    }
    // The weather clears: what is left is done without further trouble.
    for (int step = 0; step < kSteps && !IsFinished() && !::testing::Test::HasFailure(); ++step) {
      Step(/*chaos=*/false);
      Check();
    }
    EXPECT_TRUE(IsFinished());
    for (const PlannedJob& job : plan_) {
      for (uint32_t i = 0; i < job.shards.size(); ++i) {
        EXPECT_EQ((store_.shards[{job.digest, i}].commits), 1) << job.digest << " " << i;
      }
    }
    EXPECT_EQ(scheduler_->Snapshot("e")->nondeterministic_shards, 0u);
  }

 private:
  int Draw(int below) { return static_cast<int>(random_() % static_cast<uint64_t>(below)); }

  void StartCoordinator() {
    ++store_.generation;
    scheduler_ = std::make_unique<Scheduler>(SchedulerOptions{
        .generation = store_.generation, .lease = kLease, .max_failures = 1'000'000, .max_losses = 30'000});
    undurable_.clear();
    ExperimentStored event{.name = "e", .order = 1, .jobs = plan_};
    for (PlannedJob& job : event.jobs) {
      for (uint32_t i = 0; i < job.shards.size(); ++i) {
        const DurableStore::Shard& stored = store_.shards[{job.digest, i}];
        job.restored.push_back({.shard = i,
                                .committed = stored.committed,
                                .epoch = stored.epoch,
                                .failures = stored.failures,
                                .message = ""});
      }
    }
    scheduler_->Apply(event, now_);
  }

  std::string Name(int worker) const { return absl::StrCat("w", worker, "-", workers_[worker].incarnation); }

  void Step(bool chaos) {
    now_ += absl::Milliseconds(Draw(600));
    const int dice = Draw(100);
    const int worker = Draw(kWorkers);
    if (dice < 35) return Send(worker);
    if (dice < 55) return Compute(worker, chaos);
    if (dice < 75) return DeliverRequest(chaos);
    if (dice < 90) return DeliverReply(chaos);
    if (dice < 95) return MakeDurable();
    if (!chaos || dice < 96) return static_cast<void>(scheduler_->Apply(TimePassed{}, now_));
    if (dice < 97) return KillWorker(worker);
    if (dice < 98) return StartCoordinator();
    if (dice < 99) {
      now_ += absl::Seconds(Draw(120) - 60);
      return static_cast<void>(scheduler_->Apply(TimePassed{}, now_));
    }
    // Submitted again, as an impatient user does.
    scheduler_->Apply(ExperimentStored{.name = "e", .order = 1, .fresh_budget = true, .jobs = plan_}, now_);
  }

  void KillWorker(int worker) {
    ++workers_[worker].incarnation;
    workers_[worker].waits = false;
    workers_[worker].running.clear();
    workers_[worker].finished.clear();
  }

  void Compute(int index, bool chaos) {
    SimulatedWorker& worker = workers_[index];
    if (worker.running.empty()) return;
    const LeaseKey lease = worker.running.front();
    worker.running.erase(worker.running.begin());
    AttemptOffered offer{Name(index), lease, ResultOf(lease)};
    if (chaos && Draw(20) == 0) offer.outcome = FailureReport{2, "no luck", false};
    worker.finished.push_back(std::move(offer));
  }

  // One request at a time, unless the worker has given up on the one before.
  void Send(int index) {
    SimulatedWorker& worker = workers_[index];
    if (worker.waits && Draw(10) != 0) return;
    worker.waits = true;
    Request request{
        .worker = index, .incarnation = worker.incarnation, .sync = {}, .offers = worker.finished, .want = 2};
    request.sync.worker = Name(index);
    request.sync.executors = static_cast<uint32_t>(index % 3);
    for (const LeaseKey& lease : worker.running) request.sync.running.push_back({lease, true});
    for (const AttemptOffered& offer : worker.finished) request.sync.finished.push_back(offer.lease);
    requests_.push_back(std::move(request));
  }

  // Any request in transit may arrive next, be lost, or arrive and stay in transit as a duplicate.
  void DeliverRequest(bool chaos) {
    if (requests_.empty()) return;
    const auto at = requests_.begin() + (chaos ? Draw(static_cast<int>(requests_.size())) : 0);
    const Request request = *at;
    if (!chaos || Draw(5) != 0) requests_.erase(at);
    if (chaos && Draw(10) == 0) return;
    Serve(request);
    while (requests_.size() > 20) requests_.pop_front();
  }

  void Serve(const Request& request) {
    Reply reply{
        .worker = request.worker, .incarnation = request.incarnation, .leases = {}, .acknowledged = {}, .drop = {}};
    for (const SchedulerEffect& effect : scheduler_->Apply(request.sync, now_)) {
      if (const auto* dropped = std::get_if<LeaseDropped>(&effect)) reply.drop.push_back(dropped->lease);
    }
    for (const AttemptOffered& offer : request.offers) {
      for (const SchedulerEffect& effect : scheduler_->Apply(offer, now_)) {
        if (std::holds_alternative<AttemptAccepted>(effect)) {
          undurable_.push_back(offer);
        } else if (std::holds_alternative<AttemptSettled>(effect)) {
          reply.acknowledged.push_back(offer.lease);
        }
        EXPECT_FALSE(std::holds_alternative<NondeterminismFound>(effect));
      }
    }
    for (const SchedulerEffect& effect : scheduler_->Apply(WorkRequested{request.sync.worker, request.want}, now_)) {
      if (const auto* granted = std::get_if<LeaseGranted>(&effect)) {
        const auto [last, first_time] =
            granted_epochs_.emplace(std::make_pair(granted->lease.job, granted->lease.shard), granted->lease.epoch);
        EXPECT_TRUE(first_time || last->second < granted->lease.epoch) << "an epoch went back";
        last->second = granted->lease.epoch;
        EXPECT_FALSE((store_.shards[{granted->lease.job, granted->lease.shard}].committed))
            << "committed work is redone";
        reply.leases.push_back(granted->lease);
      }
    }
    replies_.push_back(std::move(reply));
  }

  void MakeDurable() {
    for (const AttemptOffered& offer : std::exchange(undurable_, {})) {
      DurableStore::Shard& shard = store_.shards[{offer.lease.job, offer.lease.shard}];
      shard.epoch = offer.lease.epoch;
      if (const auto* result = std::get_if<ResultDigest>(&offer.outcome)) {
        shard.committed = *result;
        ++shard.commits;
      } else {
        ++shard.failures;
      }
      scheduler_->Apply(AttemptDurable{offer.lease}, now_);
    }
  }

  void DeliverReply(bool chaos) {
    if (replies_.empty()) return;
    const Reply reply = replies_.front();
    replies_.pop_front();
    if (chaos && Draw(10) == 0) return;
    SimulatedWorker& worker = workers_[reply.worker];
    if (worker.incarnation != reply.incarnation) return;
    worker.waits = false;
    for (const LeaseKey& lease : reply.acknowledged) {
      std::erase_if(worker.finished, [&](const AttemptOffered& offer) { return offer.lease == lease; });
    }
    for (const LeaseKey& lease : reply.drop) std::erase(worker.running, lease);
    for (const LeaseKey& lease : reply.leases) {
      if (std::find(worker.running.begin(), worker.running.end(), lease) == worker.running.end()) {
        worker.running.push_back(lease);
      }
    }
  }

  void Check() { EXPECT_OK(scheduler_->CheckInvariants()); }
  bool IsFinished() const { return scheduler_->Snapshot("e")->finished; }

  std::mt19937_64 random_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  std::vector<PlannedJob> plan_;
  DurableStore store_;
  std::unique_ptr<Scheduler> scheduler_;
  std::vector<SimulatedWorker> workers_;
  std::deque<Request> requests_;
  std::deque<Reply> replies_;
  std::vector<AttemptOffered> undurable_;
  std::map<std::pair<std::string, uint32_t>, uint64_t> granted_epochs_;
};

class SchedulerSimulationTest : public ::testing::TestWithParam<int> {};

TEST_P(SchedulerSimulationTest, WhateverHappensEverythingIsCommittedExactlyOnce) {
  constexpr int kSeedsPerTest = 25;
  for (int i = 0; i < kSeedsPerTest && !HasFailure(); ++i) {
    const auto seed = static_cast<uint64_t>(GetParam() * kSeedsPerTest + i);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Simulation(seed).Run();
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerSimulationTest, ::testing::Range(0, 8));

}  // namespace
}  // namespace tightrope
