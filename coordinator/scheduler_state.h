// What a Scheduler remembers. Private to scheduler*.cc.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
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
  // A heap, smallest index first, of every pending shard and of some that are no longer pending.
  std::vector<uint32_t> pending;
  absl::flat_hash_map<uint32_t, Offer> committing;
  // Refused results, to be compared with the one that is committed.
  std::multimap<uint32_t, Offer> late;

  uint32_t Count(State state) const { return counts[static_cast<size_t>(state)]; }
  // Why its dependants cannot run.
  std::string ReasonForDependants() const { return failed ? "a job that it needs failed: " + message : message; }
  bool IsCommitted() const { return Count(State::kCommitted) == shards.size(); }
  bool HasLeftovers() const {
    return Count(State::kBlocked) + Count(State::kPending) + Count(State::kLeased) + Count(State::kCommitting) > 0;
  }
  uint64_t Examples(uint32_t index) const { return counts_examples ? ranges[index].end - ranges[index].begin : 0; }
  LeaseKey Key(uint32_t index) const { return {digest, index, shards[index].epoch}; }
  void PushPending(uint32_t index) {
    pending.push_back(index);
    std::push_heap(pending.begin(), pending.end(), std::greater<>());
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

}  // namespace tightrope
