// Users: experiments, their status and results; and the ends of calls that are held.
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/service.h"
#include "coordinator/service_state.h"
#include "core/experiment/experiment_file.h"
#include "core/plan/plan.h"
#include "core/plan/work_estimate.h"
#include "core/statistics/aggregate.h"
#include "core/statistics/invariance_rows.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr size_t kMaxListedArtifacts = 20;
constexpr absl::Duration kForgetWorkersAfter = absl::Minutes(10);

v1::StateCounts ToCounts(const StateTally& tally) {
  v1::StateCounts counts;
  counts.set_blocked(tally.blocked);
  counts.set_pending(tally.pending);
  counts.set_leased(tally.leased);
  counts.set_committed(tally.committed);
  counts.set_cached(tally.cached);
  counts.set_failed(tally.failed);
  counts.set_cancelled(tally.cancelled);
  return counts;
}

absl::Status CheckArtifacts(const v1::Plan& plan, const BlobStore& blobs) {
  std::set<std::string> missing;
  for (const v1::Job& job : plan.jobs()) {
    for (const std::string& sha256 : job.artifacts()) {
      if (!blobs.Has(sha256)) missing.insert(sha256);
    }
  }
  if (missing.empty()) return absl::OkStatus();
  const auto end =
      std::next(missing.begin(), static_cast<std::ptrdiff_t>(std::min(missing.size(), kMaxListedArtifacts)));
  return absl::FailedPreconditionError(absl::StrCat(
      "artifacts that the experiment needs are not in the store; put them first: ",
      absl::StrJoin(missing.begin(), end, ", "),
      missing.size() > kMaxListedArtifacts ? absl::StrCat(" and ", missing.size() - kMaxListedArtifacts, " more")
                                           : ""));
}

// What the store has of the plan's committed jobs.
absl::StatusOr<CountedJobs> CountJobs(const v1::Plan& plan, ResultStore& store) {
  CountedJobs counted;
  std::vector<std::string> on_the_data;
  for (const v1::Job& job : plan.jobs()) {
    if (job.spec().has_evaluate() || job.spec().has_attack()) on_the_data.push_back(job.digest());
    if (!job.spec().has_alignment()) continue;
    ABSL_ASSIGN_OR_RETURN(std::vector<v1::AlignmentResult> shards, store.ReadAlignment(job.digest()));
    if (!shards.empty()) counted.alignments.emplace(job.digest(), std::move(shards));
  }
  ABSL_ASSIGN_OR_RETURN(counted.verdicts, store.CountVerdicts(on_the_data));
  for (const auto& [evaluation, attacks] : AttacksBesideEvaluations(plan)) {
    ABSL_ASSIGN_OR_RETURN(std::optional<InvarianceRecords> records, store.ReadInvariance(evaluation, attacks));
    if (records.has_value()) counted.invariance.emplace(evaluation, *std::move(records));
  }
  return counted;
}

}  // namespace

void CoordinatorService::Submit(const v1::SubmitRequest& request, SubmitDone done) {
  v1::Plan plan;
  const absl::Status valid = [&]() -> absl::Status {
    ABSL_RETURN_IF_ERROR(ValidateExperiment(request.experiment(), request.inputs()));
    plan = MakePlan(request.experiment(), request.inputs());
    return CheckArtifacts(plan, *blobs_);
  }();
  if (!valid.ok()) return done(valid);
  Outbox outbox;
  const absl::MutexLock lock(&mutex_);
  if (stopped_)
    return outbox.Add<v1::SubmitResponse>(std::move(done), absl::UnavailableError("the coordinator is stopping"));
  const uint64_t ticket = Enqueue(StoreSubmission{.experiment = request.experiment(),
                                                  .inputs = request.inputs(),
                                                  .source = request.source(),
                                                  .plan = std::move(plan)});
  submissions_.emplace(ticket, std::move(done));
}

v1::SubmitResponse CoordinatorService::Summarize(const StoredExperiment& stored) {
  v1::SubmitResponse response;
  uint32_t cached_jobs = 0;
  uint32_t shards = 0;
  uint32_t cached_shards = 0;
  for (const StoredJob& job : stored.jobs) {
    shards += static_cast<uint32_t>(job.job.shards_size());
    cached_shards += job.cached_shards;
    cached_jobs += job.cached_shards == static_cast<uint32_t>(job.job.shards_size()) ? 1 : 0;
  }
  response.set_jobs(static_cast<uint32_t>(stored.jobs.size()));
  response.set_cached_jobs(cached_jobs);
  response.set_shards(shards);
  response.set_cached_shards(cached_shards);
  return response;
}

void CoordinatorService::AddExperiment(StoredExperiment stored, bool active, bool fresh) {
  ExperimentRecord record;
  absl::flat_hash_map<std::string, const v1::Job*> by_digest;
  for (const StoredJob& job : stored.jobs) by_digest.emplace(job.job.digest(), &job.job);
  for (const v1::Cell& cell : stored.cells) {
    for (const std::string* digest : {&cell.job_digest(), &cell.train_job_digest()}) {
      const auto job = by_digest.find(*digest);
      if (job != by_digest.end()) record.descriptions.emplace(*digest, Describe(cell, *job->second));
    }
  }
  ExperimentStored event{
      .name = stored.name, .order = stored.order, .active = active, .fresh_budget = fresh, .jobs = {}};
  for (StoredJob& job : stored.jobs) {
    PlannedJob& planned = event.jobs.emplace_back();
    planned.digest = job.job.digest();
    planned.depends_on.assign(job.job.depends_on().begin(), job.job.depends_on().end());
    for (const v1::Shard& shard : job.job.shards()) planned.shards.push_back({shard.begin(), shard.end()});
    planned.counts_examples = !job.job.spec().has_train();
    const WorkEstimate work = EstimateWork(job.job);
    planned.work = std::max(1.0, work.forward_passes + work.backward_passes);
    planned.restored = std::move(job.restored);
    planned.cached_shards = job.cached_shards;
    planned.cached_examples = job.cached_examples;
    record.jobs.push_back(planned.digest);
    if (!job.checkpoint.has_value()) job.epochs.clear();
    jobs_.try_emplace(planned.digest, JobRecord{.job = std::make_shared<const v1::Job>(std::move(job.job)),
                                                .weights = std::move(job.weights),
                                                .examples = std::move(job.examples),
                                                .checkpoint = std::move(job.checkpoint),
                                                .epochs = std::move(job.epochs)});
  }
  Apply(event);
  const bool replaced = !experiments_.insert_or_assign(stored.name, std::move(record)).second;
  if (!replaced) return;
  std::set<std::string> wanted;
  for (const auto& [name, experiment] : experiments_) wanted.insert(experiment.jobs.begin(), experiment.jobs.end());
  absl::erase_if(jobs_, [&](const auto& entry) { return !wanted.contains(entry.first); });
}

absl::StatusOr<v1::StatusResponse> CoordinatorService::MakeStatus(const std::string& wanted) const {
  v1::StatusResponse response;
  const absl::Time now = options_.clock();
  for (const auto& [name, record] : experiments_) {
    if (!wanted.empty() && name != wanted) continue;
    const std::optional<ExperimentSnapshot> snapshot = scheduler_.Snapshot(name);
    if (!snapshot.has_value()) continue;
    v1::ExperimentStatus* const status = response.add_experiments();
    status->set_name(name);
    *status->mutable_jobs() = ToCounts(snapshot->jobs);
    *status->mutable_shards() = ToCounts(snapshot->shards);
    status->set_active(snapshot->active);
    status->set_finished(snapshot->finished);
    status->set_progress(snapshot->progress);
    status->set_examples_done(snapshot->examples_done);
    status->set_examples_total(snapshot->examples_total);
    status->set_nondeterministic_shards(snapshot->nondeterministic_shards);
    for (const ExperimentSnapshot::Failure& failure : snapshot->failures) {
      v1::JobFailure* const shown = status->add_failures();
      shown->set_job_digest(failure.job);
      shown->set_message(failure.message);
      const auto description = record.descriptions.find(failure.job);
      if (description != record.descriptions.end()) shown->set_description(description->second);
    }
  }
  if (!wanted.empty() && response.experiments().empty()) {
    return absl::NotFoundError(absl::StrCat("no such experiment: ", wanted));
  }
  for (const auto& [id, worker] : workers_) {
    // One that holds a call is there, however long ago the call came.
    const absl::Duration unseen = worker.call.has_value() ? absl::ZeroDuration() : now - worker.seen;
    if (unseen > options_.scheduler.lease && scheduler_.LeaseCount(id) == 0) continue;
    v1::WorkerStatus* const status = response.add_workers();
    status->set_worker_id(id);
    status->set_host(worker.info.host());
    status->set_pid(worker.info.pid());
    *status->mutable_devices() = worker.info.devices();
    status->set_leases(scheduler_.LeaseCount(id));
    status->set_seconds_since_seen(absl::ToDoubleSeconds(unseen));
    status->set_examples_per_second(worker.rate.PerSecond(now));
  }
  response.set_coordinator_epoch(options_.epoch);
  return response;
}

bool CoordinatorService::IsOver(const std::string& experiment) const {
  if (experiment.empty()) return !scheduler_.IsActive();
  const std::optional<ExperimentSnapshot> snapshot = scheduler_.Snapshot(experiment);
  return !snapshot.has_value() || snapshot->finished || !snapshot->active;
}

absl::StatusOr<v1::StatusResponse> CoordinatorService::Status(const std::string& experiment) {
  const absl::MutexLock lock(&mutex_);
  return MakeStatus(experiment);
}

void CoordinatorService::AwaitUpdate(CallId id, const std::string& experiment, uint64_t seen, absl::Duration not_before,
                                     UpdateDone done) {
  Outbox outbox;
  const absl::MutexLock lock(&mutex_);
  if (stopped_) return outbox.Add<Update>(std::move(done), absl::UnavailableError("the coordinator is stopping"));
  updates_.emplace(id, UpdateCall{experiment, seen, options_.clock() + not_before, std::move(done)});
  SettleUpdates(outbox);
}

absl::StatusOr<v1::ResultsResponse> CoordinatorService::Results(const std::string& experiment) {
  std::vector<std::string> names{experiment};
  if (experiment.empty()) {
    ABSL_ASSIGN_OR_RETURN(names, store_->ExperimentNames());
    std::sort(names.begin(), names.end());
  }
  v1::ResultsResponse response;
  for (const std::string& name : names) {
    ABSL_ASSIGN_OR_RETURN(const StoredPlan stored, store_->ReadPlan(name));
    ABSL_ASSIGN_OR_RETURN(const CountedJobs counted, CountJobs(stored.plan, *store_));
    for (v1::MetricRow& row : Aggregate(stored.experiment, stored.plan, counted)) *response.add_rows() = std::move(row);
  }
  return response;
}

// ---- Held calls
// ------------------------------------------------------------------------------------------------------

void CoordinatorService::Settle(Outbox& outbox) {
  for (auto it = syncs_.begin(); it != syncs_.end();) {
    SyncCall& call = it->second;
    if (!TryAnswer(call)) {
      ++it;
      continue;
    }
    workers_[call.worker].call.reset();
    outbox.Add<v1::SyncResponse>(std::move(call.done), std::move(call.response));
    it = syncs_.erase(it);
  }
  if (std::exchange(finished_something_, false)) SettleUpdates(outbox);
}

void CoordinatorService::SettleUpdates(Outbox& outbox) {
  const absl::Time now = options_.clock();
  for (auto it = updates_.begin(); it != updates_.end();) {
    UpdateCall& call = it->second;
    const bool last = IsOver(call.experiment);
    if (!last && (call.seen == version_ || now < call.not_before)) {
      ++it;
      continue;
    }
    absl::StatusOr<v1::StatusResponse> status = MakeStatus(call.experiment);
    absl::StatusOr<Update> update = Update{.status = {}, .version = version_, .last = last};
    if (status.ok()) {
      update->status = *std::move(status);
    } else {
      update = status.status();
    }
    outbox.Add<Update>(std::move(call.done), std::move(update));
    it = updates_.erase(it);
  }
}

void CoordinatorService::Cancel(CallId id) {
  Outbox outbox;
  const absl::MutexLock lock(&mutex_);
  const absl::Status cancelled = absl::CancelledError("the caller has gone");
  if (const auto sync = syncs_.find(id); sync != syncs_.end()) {
    workers_[sync->second.worker].call.reset();
    outbox.Add<v1::SyncResponse>(std::move(sync->second.done), cancelled);
    syncs_.erase(sync);
  } else if (const auto update = updates_.find(id); update != updates_.end()) {
    outbox.Add<Update>(std::move(update->second.done), cancelled);
    updates_.erase(update);
  }
}

void CoordinatorService::Tick() {
  Outbox outbox;
  const absl::MutexLock lock(&mutex_);
  if (stopped_) return;
  const absl::Time now = options_.clock();
  if (scheduler_.NextDeadline() <= now) {
    // A worker whose answer waits for the disk is there: it is us who are late.
    for (const auto& [id, call] : syncs_) {
      if (call.unstored > 0) Apply(WorkRequested{call.worker, 0});
    }
    Apply(TimePassed{});
  }
  Settle(outbox);
  SettleUpdates(outbox);
  std::erase_if(workers_, [&](const auto& entry) {
    return !entry.second.call.has_value() && now - entry.second.seen > kForgetWorkersAfter;
  });
}

void CoordinatorService::ReleaseWorkers() {
  Outbox outbox;
  const absl::MutexLock lock(&mutex_);
  released_ = true;
  Settle(outbox);
}

void CoordinatorService::Stop() {
  Outbox outbox;
  const absl::MutexLock lock(&mutex_);
  StopWith(absl::OkStatus(), outbox);
}

void CoordinatorService::OnFailure(const absl::Status& status) {
  Outbox outbox;
  const absl::MutexLock lock(&mutex_);
  StopWith(status, outbox);
}

void CoordinatorService::StopWith(const absl::Status& status, Outbox& outbox) {
  if (std::exchange(stopped_, true)) return;
  stop_status_ = status;
  const absl::Status answer = absl::UnavailableError(status.ok() ? "the coordinator is stopping"
                                                                 : "the coordinator is stopping, its store has failed");
  for (auto& [id, call] : syncs_) outbox.Add<v1::SyncResponse>(std::move(call.done), answer);
  for (auto& [id, call] : updates_) outbox.Add<Update>(std::move(call.done), answer);
  for (auto& [ticket, done] : submissions_) outbox.Add<v1::SubmitResponse>(std::move(done), answer);
  syncs_.clear();
  updates_.clear();
  submissions_.clear();
  for (auto& [id, worker] : workers_) worker.call.reset();
}

absl::Status CoordinatorService::Wait() {
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&stopped_));
  return stop_status_;
}

absl::Status CoordinatorService::CheckInvariants() {
  const absl::MutexLock lock(&mutex_);
  return scheduler_.CheckInvariants();
}

}  // namespace tightrope
