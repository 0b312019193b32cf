// How attempts end: offered and accepted or refused, durable, lost.
#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "coordinator/scheduler.h"
#include "coordinator/scheduler_state.h"

namespace tightrope {
namespace {

// Refused results that are remembered for one shard; a peer that offers more is not believed to be honest.
constexpr size_t kMaxLateResults = 4;

}  // namespace

void Scheduler::On(const AttemptOffered& event, Effects& effects) {
  const LeaseKey& lease = event.lease;
  Job* const job = FindJob(lease.job);
  if (job == nullptr || lease.shard >= job->shards.size()) {
    effects.push_back(AttemptSettled{lease, AttemptSettled::Kind::kRefused});
    return;
  }
  Shard& shard = job->shards[lease.shard];
  const ResultDigest* const result = std::get_if<ResultDigest>(&event.outcome);
  const auto found_different = [&] {
    if (!std::exchange(shard.nondeterministic, true)) ++job->nondeterministic;
    effects.push_back(NondeterminismFound{lease, event.worker, *result});
  };
  switch (shard.state) {
    case State::kLeased:
      if (lease.epoch == shard.epoch) return Accept(job, event, effects);
      return Refuse(job, event, effects);
    case State::kPending:
      if (MayTakeOver(shard, lease.epoch)) return Accept(job, event, effects);
      return Refuse(job, event, effects);
    case State::kCommitting: {
      const Job::Offer& first = job->committing.at(lease.shard);
      const ResultDigest* const first_result = std::get_if<ResultDigest>(&first.outcome);
      if (result != nullptr && first_result != nullptr) {
        if (*result == *first_result) {
          effects.push_back(AttemptJoined{lease});
        } else {
          found_different();
        }
      } else if (result == nullptr && first.epoch == lease.epoch) {
        effects.push_back(AttemptJoined{lease});
      } else {
        Refuse(job, event, effects);
      }
      return;
    }
    case State::kCommitted:
      if (result != nullptr && *result != shard.result) return found_different();
      effects.push_back(AttemptSettled{lease, result == nullptr            ? AttemptSettled::Kind::kRefused
                                              : lease.epoch == shard.epoch ? AttemptSettled::Kind::kDuplicate
                                                                           : AttemptSettled::Kind::kReproduced});
      return;
    case State::kBlocked:
    case State::kFailed:
    case State::kCancelled:
      effects.push_back(AttemptSettled{lease, AttemptSettled::Kind::kRefused});
      return;
  }
}

void Scheduler::Accept(Job* job, const AttemptOffered& offer, Effects& effects) {
  const uint32_t index = offer.lease.shard;
  Shard& shard = job->shards[index];
  if (shard.state == State::kLeased) {
    EndLease(job, index, State::kCommitting);
  } else {
    SetState(job, index, State::kCommitting);
  }
  shard.epoch = offer.lease.epoch;
  shard.spent = true;
  job->committing.emplace(index, Job::Offer{offer.lease.epoch, offer.worker, offer.outcome});
  effects.push_back(AttemptAccepted{offer.lease});
}

void Scheduler::Refuse(Job* job, const AttemptOffered& offer, Effects& effects) {
  const uint32_t index = offer.lease.shard;
  const auto [first, last] = job->late.equal_range(index);
  const bool known = std::any_of(first, last, [&](const auto& entry) {
    return entry.second.epoch == offer.lease.epoch && entry.second.outcome == offer.outcome;
  });
  if (std::holds_alternative<ResultDigest>(offer.outcome) && !known && job->late.count(index) < kMaxLateResults) {
    job->late.emplace(index, Job::Offer{offer.lease.epoch, offer.worker, offer.outcome});
  }
  effects.push_back(AttemptSettled{offer.lease, AttemptSettled::Kind::kRefused});
}

void Scheduler::On(const AttemptDurable& event, Effects& effects) {
  Job* const job = FindJob(event.lease.job);
  if (job == nullptr) return;  // forgotten meanwhile
  const uint32_t index = event.lease.shard;
  const auto it = job->committing.find(index);
  if (it == job->committing.end() || it->second.epoch != event.lease.epoch) return;  // forgotten, and planned again
  const Job::Offer offer = std::move(it->second);
  job->committing.erase(it);
  if (const auto* result = std::get_if<ResultDigest>(&offer.outcome)) {
    CommitShard(job, index, *result, effects);
  } else {
    const FailureReport& failure = std::get<FailureReport>(offer.outcome);
    Shard& shard = job->shards[index];
    ++shard.failures;
    if (job->stopped) {
      SetState(job, index, State::kCancelled);
    } else if (failure.permanent || shard.failures > options_.max_failures) {
      FailShard(job, index, failure.message, effects);
    } else {
      job->failed_on[index].insert(offer.worker);
      SetState(job, index, State::kPending);
    }
  }
  NoteProgress(job, effects);
}

void Scheduler::CommitShard(Job* job, uint32_t index, const ResultDigest& result, Effects& effects) {
  Shard& shard = job->shards[index];
  shard.result = result;
  SetState(job, index, State::kCommitted);
  job->failed_on.erase(index);
  job->examples_committed += job->Examples(index);
  const auto [first, last] = job->late.equal_range(index);
  for (auto late = first; late != last; ++late) {
    const ResultDigest& other = std::get<ResultDigest>(late->second.outcome);
    if (other == result) continue;
    if (!std::exchange(shard.nondeterministic, true)) ++job->nondeterministic;
    effects.push_back(NondeterminismFound{{job->digest, index, late->second.epoch}, late->second.worker, other});
  }
  job->late.erase(first, last);
  if (!job->IsCommitted()) return;
  effects.push_back(JobCommitted{job->digest});
  for (Job* dependant : job->dependants) {
    if (--dependant->missing_dependencies > 0 || dependant->stopped) continue;
    for (uint32_t i = 0; i < dependant->shards.size(); ++i) {
      if (dependant->shards[i].state == State::kBlocked) SetState(dependant, i, State::kPending);
    }
  }
}

void Scheduler::FailShard(Job* job, uint32_t index, const std::string& message, Effects& effects) {
  if (job->shards[index].state == State::kLeased) {
    EndLease(job, index, State::kFailed);
  } else {
    SetState(job, index, State::kFailed);
  }
  job->failed = true;
  Stop(job, message, effects);
  effects.push_back(JobFailed{job->digest, message});
}

// What is left of the job, and everything that needs it, is cancelled; what is being stored goes on to be committed.
void Scheduler::Stop(Job* job, const std::string& reason, Effects& effects) {
  job->stopped = true;
  job->message = reason;
  for (uint32_t i = 0; i < job->shards.size(); ++i) {
    const State state = job->shards[i].state;
    if (state == State::kLeased) {
      EndLease(job, i, State::kCancelled);
    } else if (state == State::kBlocked || state == State::kPending) {
      SetState(job, i, State::kCancelled);
    }
  }
  NoteProgress(job, effects);
  const std::string inherited = job->ReasonForDependants();
  for (Job* dependant : job->dependants) {
    if (!dependant->stopped) Stop(dependant, inherited, effects);
  }
}

void Scheduler::ExpireWorker(Worker* worker, Effects& effects) {
  while (!worker->leases.empty()) {
    const auto [key, held] = *worker->leases.begin();
    Job* const job = held.job;
    const uint32_t index = key.second;
    Shard& shard = job->shards[index];
    if (!held.started) {
      EndLease(job, index, State::kPending);
      continue;
    }
    ++shard.losses;
    const bool give_up = shard.losses > options_.max_losses;
    const std::string message =
        give_up ? absl::StrCat("this shard seems to kill its workers (out of memory?): workers lost while running it: ",
                               shard.losses, ", the last was ", worker->id)
                : absl::StrCat("the worker was not heard of for ", absl::FormatDuration(options_.lease));
    effects.push_back(AttemptLost{job->Key(index), worker->id, message});
    if (give_up) {
      FailShard(job, index, message, effects);
    } else {
      EndLease(job, index, State::kPending);
    }
  }
  ForgetWorker(worker);
}

}  // namespace tightrope
