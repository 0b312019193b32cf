#include "coordinator/scheduler.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>

#include "coordinator/scheduler_state.h"

namespace tightrope {
namespace {

constexpr int kEpochCounterBits = 32;

uint32_t GenerationOf(uint64_t epoch) { return static_cast<uint32_t>(epoch >> kEpochCounterBits); }

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options) : options_(options) {}
Scheduler::~Scheduler() = default;

std::vector<SchedulerEffect> Scheduler::Apply(const SchedulerEvent& event, absl::Time now) {
  now_ = std::max(now_, now);
  Effects effects;
  std::visit([&](const auto& one) { On(one, effects); }, event);
  return effects;
}

absl::Time Scheduler::NextDeadline() const {
  return deadlines_.empty() ? absl::InfiniteFuture() : deadlines_.begin()->first.first;
}

Scheduler::Job* Scheduler::FindJob(absl::string_view digest) const {
  const auto it = jobs_.find(digest);
  return it == jobs_.end() ? nullptr : it->second.get();
}

// ---- Experiments
// -----------------------------------------------------------------------------------------------------

void Scheduler::On(const ExperimentStored& event, Effects& effects) {
  auto experiment = std::make_unique<Experiment>();
  experiment->name = event.name;
  experiment->order = event.order;
  experiment->active = event.active;
  for (const PlannedJob& planned : event.jobs) {
    Job* job = FindJob(planned.digest);
    if (job == nullptr) job = AddJob(planned);
    experiment->members.push_back({job, planned.cached_shards, planned.cached_examples});
    job->references.push_back({experiment.get(), static_cast<uint32_t>(experiment->members.size() - 1)});
    if (!job->settled) ++experiment->unfinished;
    if (event.fresh_budget) RenewJob(job, effects);
    UpdateReady(job);
  }
  std::unique_ptr<Experiment>& slot = experiments_[event.name];
  const std::unique_ptr<Experiment> replaced = std::exchange(slot, std::move(experiment));
  if (replaced != nullptr) Dereference(replaced.get());
  if (slot->unfinished == 0) effects.push_back(ExperimentFinished{slot->name});
}

void Scheduler::Dereference(Experiment* experiment) {
  // Dependants first, so that nobody is left who needs a job that is forgotten.
  for (auto member = experiment->members.rbegin(); member != experiment->members.rend(); ++member) {
    Job* const job = member->job;
    std::erase_if(job->references, [&](const Job::Reference& reference) { return reference.experiment == experiment; });
    if (job->references.empty()) {
      ForgetJob(job);
    } else {
      UpdateReady(job);
    }
  }
}

Scheduler::Job* Scheduler::AddJob(const PlannedJob& planned) {
  auto owned = std::make_unique<Job>();
  Job* const job = owned.get();
  job->digest = planned.digest;
  job->number = job_numbers_++;
  job->counts_examples = planned.counts_examples;
  job->work = planned.work;
  job->ranges = planned.shards;
  job->shards.resize(planned.shards.size());
  job->counts[static_cast<size_t>(State::kBlocked)] = static_cast<uint32_t>(job->shards.size());
  std::string cancelled_by;
  for (const std::string& digest : planned.depends_on) {
    Job* const dependency = FindJob(digest);
    if (dependency == nullptr) continue;
    job->dependencies.push_back(dependency);
    dependency->dependants.push_back(job);
    if (!dependency->IsCommitted()) ++job->missing_dependencies;
    if (dependency->stopped) cancelled_by = dependency->ReasonForDependants();
  }
  jobs_.emplace(planned.digest, std::move(owned));

  std::string failure;
  for (const RestoredShard& restored : planned.restored) {
    if (restored.shard >= job->shards.size()) continue;
    Shard& shard = job->shards[restored.shard];
    shard.failures = static_cast<int16_t>(std::min<int>(restored.failures, std::numeric_limits<int16_t>::max()));
    shard.losses = static_cast<int16_t>(std::min<int>(restored.losses, std::numeric_limits<int16_t>::max()));
    shard.epoch = restored.epoch;
    shard.spent = !restored.committed.has_value();
    if (restored.nondeterministic) {
      shard.nondeterministic = true;
      ++job->nondeterministic;
    }
    if (restored.committed.has_value()) {
      shard.result = *restored.committed;
      SetState(job, restored.shard, State::kCommitted);
      job->examples_committed += job->Examples(restored.shard);
    } else if (restored.permanent_failure || restored.failures > options_.max_failures ||
               restored.losses > options_.max_losses) {
      failure = restored.message;
      job->failed = true;
      SetState(job, restored.shard, State::kFailed);
    }
  }
  job->stopped = job->failed || !cancelled_by.empty();
  job->message = job->failed ? failure : cancelled_by;
  const State next = job->stopped                    ? State::kCancelled
                     : job->missing_dependencies > 0 ? State::kBlocked
                                                     : State::kPending;
  for (uint32_t i = 0; i < job->shards.size(); ++i) {
    if (job->shards[i].state == State::kBlocked && next != State::kBlocked) SetState(job, i, next);
  }
  job->settled = !job->HasLeftovers();
  return job;
}

void Scheduler::RenewJob(Job* job, Effects& effects) {
  for (Shard& shard : job->shards) shard.failures = shard.losses = 0;
  Revive(job, effects);
}

void Scheduler::Revive(Job* job, Effects& effects) {
  if (!job->stopped) return;
  // A dependency of the same plan was renewed before; of what is still stopped, the reason stays.
  for (const Job* dependency : job->dependencies) {
    if (dependency->stopped) return;
  }
  job->stopped = job->failed = false;
  job->message.clear();
  const State next = job->missing_dependencies > 0 ? State::kBlocked : State::kPending;
  for (uint32_t i = 0; i < job->shards.size(); ++i) {
    const State state = job->shards[i].state;
    if (state == State::kFailed || state == State::kCancelled) SetState(job, i, next);
  }
  NoteProgress(job, effects);
  // Other experiments may have needed it, too.
  for (Job* dependant : job->dependants) {
    if (!dependant->failed) Revive(dependant, effects);
  }
}

void Scheduler::ForgetJob(Job* job) {
  for (uint32_t i = 0; i < job->shards.size(); ++i) {
    if (job->shards[i].state == State::kLeased) EndLease(job, i, State::kCancelled);
  }
  for (Job* dependency : job->dependencies) std::erase(dependency->dependants, job);
  for (Job* dependant : job->dependants) std::erase(dependant->dependencies, job);
  job->references.clear();
  UpdateReady(job);
  const std::string digest = job->digest;
  jobs_.erase(digest);
}

// ---- Keeping the queues
// ----------------------------------------------------------------------------------------------

void Scheduler::SetState(Job* job, uint32_t index, State state) {
  Shard& shard = job->shards[index];
  if (shard.state == state) return;
  --job->counts[static_cast<size_t>(shard.state)];
  ++job->counts[static_cast<size_t>(state)];
  if (job->ready_at.has_value()) {
    if (shard.state == State::kPending) --ready_shards_;
    if (state == State::kPending) ++ready_shards_;
  }
  shard.state = state;
  if (state == State::kPending) job->PushPending(index);
  UpdateReady(job);
}

void Scheduler::UpdateReady(Job* job) {
  std::optional<Priority> wanted;
  if (job->Count(State::kPending) > 0) {
    for (const Job::Reference& reference : job->references) {
      if (!reference.experiment->active) continue;
      const Priority priority{reference.experiment->order, reference.position};
      if (!wanted.has_value() || priority < *wanted) wanted = priority;
    }
  }
  if (wanted == job->ready_at) return;
  if (job->ready_at.has_value()) {
    ready_.erase(*job->ready_at);
    ready_shards_ -= job->Count(State::kPending);
  }
  if (wanted.has_value()) {
    ready_.emplace(*wanted, job);
    ready_shards_ += job->Count(State::kPending);
  }
  job->ready_at = wanted;
}

void Scheduler::NoteProgress(Job* job, Effects& effects) {
  const bool settled = !job->HasLeftovers();
  if (settled == job->settled) return;
  job->settled = settled;
  for (const Job::Reference& reference : job->references) {
    if (!settled) {
      ++reference.experiment->unfinished;
    } else if (--reference.experiment->unfinished == 0) {
      effects.push_back(ExperimentFinished{reference.experiment->name});
    }
  }
}

// ---- Leases
// ----------------------------------------------------------------------------------------------------------

bool Scheduler::MayTakeOver(const Shard& shard, uint64_t epoch) const {
  if (shard.state != State::kPending) return false;
  if (epoch == shard.epoch) return epoch != 0 && !shard.spent;
  return epoch > shard.epoch && GenerationOf(epoch) < options_.generation;
}

void Scheduler::StartLease(Job* job, uint32_t index, Worker* worker) {
  SetState(job, index, State::kLeased);
  job->shards[index].holder = worker;
  worker->leases[{job->number, index}].job = job;
  NoteQueue(worker);
}

void Scheduler::EndLease(Job* job, uint32_t index, State next) {
  Shard& shard = job->shards[index];
  shard.holder->leases.erase({job->number, index});
  NoteQueue(shard.holder);
  shard.holder = nullptr;
  SetState(job, index, next);
}

void Scheduler::Touch(Worker* worker) {
  deadlines_.erase({worker->deadline, worker->number});
  worker->deadline = now_ + options_.lease;
  deadlines_.emplace(std::make_pair(worker->deadline, worker->number), worker);
}

void Scheduler::NoteQueue(Worker* worker) {
  if (worker->executors > 0 && worker->leases.size() > worker->executors) {
    queueing_.emplace(worker->number, worker);
  } else {
    queueing_.erase(worker->number);
  }
}

void Scheduler::ForgetWorker(Worker* worker) {
  queueing_.erase(worker->number);
  deadlines_.erase({worker->deadline, worker->number});
  if (!worker->leaving) --present_workers_;
  const std::string id = worker->id;
  workers_.erase(id);
}

void Scheduler::On(const WorkerSynced& event, Effects& effects) {
  std::unique_ptr<Worker>& slot = workers_[event.worker];
  if (slot == nullptr) {
    slot = std::make_unique<Worker>();
    slot->id = event.worker;
    slot->number = worker_numbers_++;
    ++present_workers_;
  }
  Worker* const worker = slot.get();
  Touch(worker);
  worker->executors = event.executors;
  NoteQueue(worker);
  if (worker->leaving != event.leaving) {
    worker->leaving = event.leaving;
    present_workers_ += event.leaving ? -1 : 1;
  }

  // Held leases that it does not list (or lists as running while it leaves) are free again.
  absl::btree_map<std::pair<uint64_t, uint32_t>, Job*> unlisted;
  for (const auto& [key, held] : worker->leases) unlisted.emplace(key, held.job);
  const auto strike = [&](const LeaseKey& lease) {
    Job* const job = FindJob(lease.job);
    if (job == nullptr || lease.shard >= job->shards.size() || job->shards[lease.shard].epoch != lease.epoch) return;
    unlisted.erase({job->number, lease.shard});
  };
  for (const LeaseKey& lease : event.finished) strike(lease);
  if (!event.leaving) {
    for (const WorkerSynced::Running& running : event.running) strike(running.lease);
  }
  for (const auto& [key, job] : unlisted) EndLease(job, key.second, State::kPending);
  if (event.leaving) return;

  for (const WorkerSynced::Running& running : event.running) {
    const LeaseKey& lease = running.lease;
    Job* const job = FindJob(lease.job);
    if (job != nullptr && job->ready_at.has_value() && lease.shard < job->shards.size() &&
        MayTakeOver(job->shards[lease.shard], lease.epoch)) {
      job->shards[lease.shard].epoch = lease.epoch;
      job->shards[lease.shard].spent = false;
      StartLease(job, lease.shard, worker);
    }
    if (!Holds(event.worker, lease)) {
      effects.push_back(LeaseDropped{event.worker, lease});
      continue;
    }
    Worker::Held& held = worker->leases[{job->number, lease.shard}];
    held.started = held.started || running.started;
    held.progress = running.progress;
    held.examples_done = std::min(running.examples_done, job->Examples(lease.shard));
  }
}

void Scheduler::On(const WorkRequested& event, Effects& effects) {
  const auto it = workers_.find(event.worker);
  if (it == workers_.end() || it->second->leaving) return;
  Worker* const worker = it->second.get();
  Touch(worker);
  // Towards the end of the queue everybody gets a share, so that nobody idles beside a worker that hoards.
  const uint64_t share = (ready_shards_ + present_workers_ - 1) / present_workers_;
  uint64_t granted = 0;
  while (granted < std::min<uint64_t>(event.count, share) && Grant(worker, effects)) ++granted;
  for (; granted < event.count && worker->leases.size() < worker->executors; ++granted) {
    if (Grant(worker, effects)) continue;
    if (!FreeQueuedLease(worker) || !Grant(worker, effects)) return;
  }
}

bool Scheduler::MustPass(const Worker* worker, const WorkerIds& failed_on) const {
  if (!failed_on.contains(worker->id)) return false;
  const auto present = std::count_if(failed_on.begin(), failed_on.end(), [this](const std::string& id) {
    const auto it = workers_.find(id);
    return it != workers_.end() && !it->second->leaving;
  });
  return present_workers_ > present;
}

std::optional<uint32_t> Scheduler::PopPending(Job* job, const Worker* worker) {
  const auto pop = [](std::vector<uint32_t>& heap) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
  };
  std::vector<uint32_t>* first = nullptr;
  for (auto it = job->pending.begin(); it != job->pending.end();) {
    auto& [failed_on, heap] = *it;
    while (!heap.empty() &&
           (job->shards[heap.front()].state != State::kPending || job->FailedOn(heap.front()) != failed_on)) {
      pop(heap);
    }
    if (heap.empty()) {
      it = job->pending.erase(it);
      continue;
    }
    if ((first == nullptr || heap.front() < first->front()) && !MustPass(worker, failed_on)) first = &heap;
    ++it;
  }
  if (first == nullptr) return std::nullopt;
  const uint32_t index = first->front();
  pop(*first);
  return index;
}

bool Scheduler::Grant(Worker* worker, Effects& effects) {
  for (const auto& [priority, ready] : ready_) {
    Job* const job = ready;
    const std::optional<uint32_t> index = PopPending(job, worker);
    if (!index.has_value()) continue;
    job->shards[*index].epoch = uint64_t{options_.generation} << kEpochCounterBits | ++grants_;
    job->shards[*index].spent = false;
    StartLease(job, *index, worker);
    effects.push_back(LeaseGranted{worker->id, job->Key(*index), job->ranges[*index]});
    return true;
  }
  return false;
}

bool Scheduler::FreeQueuedLease(const Worker* worker) {
  for (const auto& [number, other] : queueing_) {
    if (other == worker) continue;
    // The last in the order of the plan is the last that it would come to.
    for (auto lease = other->leases.rbegin(); lease != other->leases.rend(); ++lease) {
      Job* const job = lease->second.job;
      const uint32_t index = lease->first.second;
      if (lease->second.started || !job->IsWanted() || MustPass(worker, job->FailedOn(index))) continue;
      EndLease(job, index, State::kPending);
      return true;
    }
  }
  return false;
}

void Scheduler::On(const TimePassed&, Effects& effects) {
  while (!deadlines_.empty() && deadlines_.begin()->first.first <= now_) {
    ExpireWorker(deadlines_.begin()->second, effects);
  }
}

}  // namespace tightrope
