// What happens to a Scheduler and what it asks to be done about it. Plain values: a test is a list of events and the
// effects that it expects.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "coordinator/store/stored_job.h"

namespace tightrope {

// ---- Events
// ----------------------------------------------------------------------------------------------------------

// An experiment was stored (submitted), or is read from the store at start. One of the same name is replaced: jobs that
// no experiment refers to any more are forgotten, and their leases with them.
struct ExperimentStored {
  std::string name{};
  uint64_t order = 0;              // of submission: earlier ones are worked on first
  bool active = true;              // false: only shown
  bool fresh_budget = false;       // submitted now: failed and cancelled jobs start again, with whole budgets
  std::vector<PlannedJob> jobs{};  // dependencies first
};

// A worker called: it holds exactly `running` and `finished`. A lease granted to it before that it does not list was
// lost with the response that carried it, and is pending again, uncharged.
struct WorkerSynced {
  struct Running {
    LeaseKey lease;
    bool started = false;
    double progress = 0;
    uint64_t examples_done = 0;
  };
  std::string worker{};
  std::vector<Running> running{};
  std::vector<LeaseKey> finished{};
  bool leaving = false;
  uint32_t executors = 0;  // shards that it can run at a time; 0: not said, and nothing is taken over from it
};

// A worker offers the outcome of an attempt.
struct AttemptOffered {
  std::string worker{};
  LeaseKey lease;
  std::variant<ResultDigest, FailureReport> outcome;
};

// What an AttemptAccepted asked to be stored is durable.
struct AttemptDurable {
  LeaseKey lease;
};

// A worker is answered, with up to `count` leases; those that it holds are extended.
struct WorkRequested {
  std::string worker{};
  uint32_t count = 0;
};

struct TimePassed {};

using SchedulerEvent =
    std::variant<ExperimentStored, WorkerSynced, AttemptOffered, AttemptDurable, WorkRequested, TimePassed>;

// ---- Effects
// ---------------------------------------------------------------------------------------------------------

struct LeaseGranted {
  std::string worker{};
  LeaseKey lease;
  ShardRange range;
};

// The worker must stop this attempt: expired and handed on, cancelled, unknown.
struct LeaseDropped {
  std::string worker{};
  LeaseKey lease;
};

// Store this outcome, then apply AttemptDurable, then acknowledge.
struct AttemptAccepted {
  LeaseKey lease;
};

// The same result is being stored: acknowledge when that is durable.
struct AttemptJoined {
  LeaseKey lease;
};

// Nothing to store: acknowledge now.
struct AttemptSettled {
  enum class Kind {
    kDuplicate,   // this very attempt is committed
    kReproduced,  // another attempt is committed, with the same result: the reproducibility check passed
    kRefused,     // the fencing rule, or a cancelled or unknown job
  };
  LeaseKey lease;
  Kind kind = Kind::kRefused;
};

// Two attempts of a shard gave different results. Store the evidence; an offer that caused it is acknowledged after.
struct NondeterminismFound {
  LeaseKey lease;  // of the result that is not the committed one
  std::string worker{};
  ResultDigest result{};
};

// A worker vanished while it ran this. Store the attempt.
struct AttemptLost {
  LeaseKey lease;
  std::string worker{};
  std::string message{};
};

// Every shard of the job is committed: its dependants may use it.
struct JobCommitted {
  std::string job{};
};

struct JobFailed {
  std::string job{};
  std::string message{};
};

// Nothing of it is blocked, pending or leased any more.
struct ExperimentFinished {
  std::string name{};
};

using SchedulerEffect = std::variant<LeaseGranted, LeaseDropped, AttemptAccepted, AttemptJoined, AttemptSettled,
                                     NondeterminismFound, AttemptLost, JobCommitted, JobFailed, ExperimentFinished>;

}  // namespace tightrope
