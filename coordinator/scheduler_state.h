// What a Scheduler remembers. Private to scheduler*.cc.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/scheduler.h"

namespace tightrope {

struct Scheduler::Shard {
  uint64_t epoch = 0;        // the latest granted or taken over in this generation, or committed; 0: none
  Worker* holder = nullptr;  // while leased
  ResultDigest result{};     // once committed
  State state = State::kBlocked;
  bool nondeterministic = false;
  bool spent = false;  // the attempt of `epoch` has failed: a repeated report of it is not another failure
  int16_t failures = 0;
  int16_t losses = 0;
};

struct Scheduler::Job {
  struct Reference {
    Experiment* experiment;
    uint32_t position;
  };
  struct Offer {
    uint64_t epoch;
    std::string worker;
    std::variant<ResultDigest, FailureReport> outcome;
  };

  std::string digest;
  uint64_t number = 0;
  bool counts_examples = true;
  double work = 1;  // as PlannedJob
  std::vector<ShardRange> ranges;
  std::vector<Shard> shards;
  std::vector<Job*> dependencies;
  std::vector<Job*> dependants;
  std::vector<Reference> references;
  uint32_t missing_dependencies = 0;  // not committed
  std::array<uint32_t, kStates> counts{};
  uint32_t nondeterministic = 0;
  uint64_t examples_committed = 0;
  std::string message;               // why it failed or was cancelled
  bool failed = false;               // by itself: `failing_shard` has state kFailed
  bool stopped = false;              // failed or cancelled: nothing more is handed out
  bool settled = false;              // nothing blocked, pending or leased
  std::optional<Priority> ready_at;  // its key in ready_
  // By shard, of those that failed and were tried again: the workers on which they did.
  absl::flat_hash_map<uint32_t, WorkerIds> failed_on;
  // Heaps, smallest index first, by the workers on which the shards failed: of every pending shard, and of some that
  // are no longer pending or have failed on more workers since.
  std::map<WorkerIds, std::vector<uint32_t>> pending;
  absl::flat_hash_map<uint32_t, Offer> committing;
  // Refused results, to be compared with the one that is committed.
  std::multimap<uint32_t, Offer> late;

  uint32_t Count(State state) const { return counts[static_cast<size_t>(state)]; }
  // Why its dependants cannot run.
  std::string ReasonForDependants() const { return failed ? "a job that it needs failed: " + message : message; }
  bool IsWanted() const;  // by an active experiment
  bool IsCommitted() const { return Count(State::kCommitted) == shards.size(); }
  bool HasLeftovers() const {
    return Count(State::kBlocked) + Count(State::kPending) + Count(State::kLeased) + Count(State::kCommitting) > 0;
  }
  uint64_t Examples(uint32_t index) const { return counts_examples ? ranges[index].end - ranges[index].begin : 0; }
  LeaseKey Key(uint32_t index) const { return {digest, index, shards[index].epoch}; }
  const WorkerIds& FailedOn(uint32_t index) const {
    static const WorkerIds* const kNone = new WorkerIds;
    const auto it = failed_on.find(index);
    return it == failed_on.end() ? *kNone : it->second;
  }
  void PushPending(uint32_t index) {
    std::vector<uint32_t>& heap = pending[FailedOn(index)];
    heap.push_back(index);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
};

struct Scheduler::Worker {
  struct Held {
    Job* job = nullptr;
    bool started = false;
    double progress = 0;
    uint64_t examples_done = 0;
  };

  std::string id;
  uint64_t number = 0;
  absl::Time deadline = absl::InfinitePast();
  bool leaving = false;
  uint32_t executors = 0;
  absl::btree_map<std::pair<uint64_t, uint32_t>, Held> leases;  // by job number and shard
};

struct Scheduler::Experiment {
  struct Member {
    Job* job;
    uint32_t cached_shards;
    uint64_t cached_examples;
  };

  std::string name;
  uint64_t order = 0;
  bool active = true;
  std::vector<Member> members;
  size_t unfinished = 0;  // members that are not settled
};

inline bool Scheduler::Job::IsWanted() const {
  return std::any_of(references.begin(), references.end(),
                     [](const Reference& reference) { return reference.experiment->active; });
}

}  // namespace tightrope
