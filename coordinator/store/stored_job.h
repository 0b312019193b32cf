// What the store keeps of jobs and shards, as the scheduler gets it back: plain values. They stand here because the
// scheduler is rebuilt from the store, and the store knows nothing of scheduling.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tightrope {

// One try of one shard; `epoch` is the fencing number, (coordinator generation << 32) | counter.
struct LeaseKey {
  std::string job{};  // digest
  uint32_t shard = 0;
  uint64_t epoch = 0;

  friend bool operator==(const LeaseKey&, const LeaseKey&) = default;
};

struct ShardRange {
  uint64_t begin = 0;
  uint64_t end = 0;
};

// SHA-256 of a ShardResult, as bytes: a million shards each keep one.
using ResultDigest = std::array<uint8_t, 32>;

// What the store knows of a shard; shards without an entry are untouched.
struct RestoredShard {
  uint32_t shard = 0;
  std::optional<ResultDigest> committed{};
  uint64_t epoch = 0;  // of the committed attempt, else of the last one that failed; 0: none
  bool nondeterministic = false;
  // Attempts that count against the budgets.
  int failures = 0;
  int losses = 0;
  bool permanent_failure = false;
  std::string message{};  // of the last counted attempt
};

// A job of a plan. Where the scheduler knows the digest already, its own state is kept and `restored` is not looked at.
struct PlannedJob {
  std::string digest{};
  std::vector<std::string> depends_on{};  // jobs earlier in the same plan
  std::vector<ShardRange> shards{};       // at least one
  bool counts_examples = true;            // false for training
  double work = 1;                        // its weight in the experiment's progress; > 0
  std::vector<RestoredShard> restored{};
  // Committed when the experiment was last submitted; what its status calls `cached`.
  uint32_t cached_shards = 0;
  uint64_t cached_examples = 0;
};

struct FailureReport {
  int code = 2;  // absl::StatusCode
  std::string message{};
  bool permanent = false;  // trying again cannot help

  friend bool operator==(const FailureReport&, const FailureReport&) = default;
};

}  // namespace tightrope
