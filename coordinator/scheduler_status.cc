// What can be asked of a Scheduler without changing it.
#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "coordinator/scheduler.h"
#include "coordinator/scheduler_state.h"

namespace tightrope {

bool Scheduler::Holds(absl::string_view worker, const LeaseKey& lease) const {
  const Job* const job = FindJob(lease.job);
  if (job == nullptr || lease.shard >= job->shards.size()) return false;
  const Shard& shard = job->shards[lease.shard];
  return shard.state == State::kLeased && shard.epoch == lease.epoch && shard.holder->id == worker;
}

uint32_t Scheduler::LeaseCount(absl::string_view worker) const {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? 0 : static_cast<uint32_t>(it->second->leases.size());
}

bool Scheduler::IsActive() const {
  return std::any_of(experiments_.begin(), experiments_.end(),
                     [](const auto& entry) { return entry.second->active && entry.second->unfinished > 0; });
}

std::optional<ExperimentSnapshot> Scheduler::Snapshot(absl::string_view name) const {
  const auto found = experiments_.find(name);
  if (found == experiments_.end()) return std::nullopt;
  const Experiment& experiment = *found->second;

  struct InFlight {
    double progress = 0;
    uint64_t examples = 0;
  };
  absl::flat_hash_map<const Job*, InFlight> in_flight;
  for (const auto& [id, worker] : workers_) {
    for (const auto& [key, held] : worker->leases) {
      InFlight& sum = in_flight[held.job];
      sum.progress += std::clamp(held.progress, 0.0, 1.0);
      sum.examples += held.examples_done;
    }
  }

  ExperimentSnapshot snapshot;
  snapshot.active = experiment.active;
  snapshot.finished = experiment.unfinished == 0;
  double done = 0;
  double total = 0;
  for (const Experiment::Member& member : experiment.members) {
    const Job& job = *member.job;
    const uint32_t leased = job.Count(State::kLeased) + job.Count(State::kCommitting);
    const uint32_t cached = std::min(member.cached_shards, job.Count(State::kCommitted));
    snapshot.shards.blocked += job.Count(State::kBlocked);
    snapshot.shards.pending += job.Count(State::kPending);
    snapshot.shards.leased += leased;
    snapshot.shards.cached += cached;
    snapshot.shards.committed += job.Count(State::kCommitted) - cached;
    snapshot.shards.failed += job.Count(State::kFailed);
    snapshot.shards.cancelled += job.Count(State::kCancelled);
    if (job.IsCommitted()) {
      ++(cached == job.shards.size() ? snapshot.jobs.cached : snapshot.jobs.committed);
    } else if (job.failed) {
      ++snapshot.jobs.failed;
      if (snapshot.failures.size() < ExperimentSnapshot::kMaxFailures) {
        snapshot.failures.push_back({job.digest, job.message});
      }
    } else if (job.stopped) {
      ++snapshot.jobs.cancelled;
    } else if (job.Count(State::kBlocked) > 0) {
      ++snapshot.jobs.blocked;
    } else {
      ++(leased > 0 ? snapshot.jobs.leased : snapshot.jobs.pending);
    }
    InFlight flying;
    if (const auto it = in_flight.find(&job); it != in_flight.end()) flying = it->second;
    const double shards_done = job.Count(State::kCommitted) + job.Count(State::kCommitting) + flying.progress;
    done += job.work * shards_done / static_cast<double>(job.shards.size());
    total += job.work;
    uint64_t examples = 0;
    if (job.counts_examples && !job.ranges.empty()) examples = job.ranges.back().end - job.ranges.front().begin;
    const uint64_t cached_examples = std::min(member.cached_examples, job.examples_committed);
    snapshot.examples_total += examples - cached_examples;
    snapshot.examples_done += job.examples_committed - cached_examples + flying.examples;
    snapshot.nondeterministic_shards += job.nondeterministic;
  }
  snapshot.progress = total == 0 ? 1 : done / total;
  return snapshot;
}

absl::Status Scheduler::CheckInvariants() const {
  const auto broken = [](const auto&... parts) { return absl::InternalError(absl::StrCat(parts...)); };
  uint64_t ready_shards = 0;
  size_t ready_jobs = 0;
  size_t leased = 0;
  for (const auto& [digest, owned] : jobs_) {
    const Job& job = *owned;
    if (job.references.empty()) return broken("a job that nobody refers to: ", digest);
    std::array<uint32_t, kStates> counts{};
    uint64_t examples = 0;
    std::set<uint32_t> queued;
    for (const auto& [failed_on, heap] : job.pending) {
      for (const uint32_t index : heap) {
        if (job.FailedOn(index) == failed_on) queued.insert(index);
      }
    }
    for (uint32_t i = 0; i < job.shards.size(); ++i) {
      const Shard& shard = job.shards[i];
      ++counts[static_cast<size_t>(shard.state)];
      if ((shard.state == State::kLeased) != (shard.holder != nullptr)) return broken("lease without holder: ", i);
      if (shard.holder != nullptr && !shard.holder->leases.contains({job.number, i})) {
        return broken("a holder does not know of its lease: ", i);
      }
      if ((shard.state == State::kCommitting) != job.committing.contains(i)) return broken("committing, or not: ", i);
      if (shard.state == State::kPending && !queued.contains(i)) return broken("pending but not queued: ", i);
      if (shard.state == State::kCommitted) examples += job.Examples(i);
      leased += shard.state == State::kLeased ? 1 : 0;
    }
    if (counts != job.counts) return broken("counts by state differ: ", digest);
    if (examples != job.examples_committed) return broken("committed examples differ: ", digest);
    uint32_t missing = 0;
    for (const Job* dependency : job.dependencies) missing += dependency->IsCommitted() ? 0 : 1;
    if (missing != job.missing_dependencies) return broken("missing dependencies differ: ", digest);
    if (missing > 0 && job.Count(State::kPending) + job.Count(State::kLeased) > 0) {
      return broken("runs before what it needs: ", digest);
    }
    if (missing == 0 && job.Count(State::kBlocked) > 0) return broken("blocked on nothing: ", digest);
    if (job.stopped && job.Count(State::kBlocked) + job.Count(State::kPending) + job.Count(State::kLeased) > 0) {
      return broken("a stopped job goes on: ", digest);
    }
    if (job.failed != (job.Count(State::kFailed) > 0)) return broken("failed, or not: ", digest);
    if (job.settled == job.HasLeftovers()) return broken("settled, or not: ", digest);
    if (job.ready_at.has_value() != (job.IsWanted() && job.Count(State::kPending) > 0)) {
      return broken("ready, or not: ", digest);
    }
    if (job.ready_at.has_value()) {
      const auto it = ready_.find(*job.ready_at);
      if (it == ready_.end() || it->second != &job) return broken("not in the ready queue: ", digest);
      ++ready_jobs;
      ready_shards += job.Count(State::kPending);
    }
  }
  if (ready_jobs != ready_.size() || ready_shards != ready_shards_) return broken("the ready queue's counts differ");

  size_t held = 0;
  uint32_t present = 0;
  for (const auto& [id, worker] : workers_) {
    present += worker->leaving ? 0 : 1;
    const auto it = deadlines_.find({worker->deadline, worker->number});
    if (it == deadlines_.end() || it->second != worker.get()) return broken("a worker without a deadline: ", id);
    const bool queues = worker->executors > 0 && worker->leases.size() > worker->executors;
    if (queues != queueing_.contains(worker->number)) return broken("a queue that is not noted: ", id);
    for (const auto& [key, lease] : worker->leases) {
      if (lease.job->shards[key.second].holder != worker.get()) return broken("two holders of a lease: ", id);
      ++held;
    }
  }
  if (held != leased || present != present_workers_ || deadlines_.size() != workers_.size() ||
      queueing_.size() > workers_.size()) {
    return broken("leases or workers are counted wrongly");
  }
  for (const auto& [name, experiment] : experiments_) {
    size_t unfinished = 0;
    for (const Experiment::Member& member : experiment->members) unfinished += member.job->settled ? 0 : 1;
    if (unfinished != experiment->unfinished) return broken("unfinished jobs are counted wrongly: ", name);
  }
  return absl::OkStatus();
}

}  // namespace tightrope
