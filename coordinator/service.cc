// Workers: Sync and what follows from it.
#include "coordinator/service.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "coordinator/result_validation.h"
#include "coordinator/service_state.h"
#include "core/artifact/digest.h"
#include "core/fault_point.h"
#include "core/printable_text.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr uint32_t kMaxWant = 1024;
constexpr int kMaxListed = 65536;  // running or finished attempts in one Sync
constexpr size_t kMaxNameBytes = 256;
constexpr size_t kMaxMessageBytes = 16 << 10;  // of a failure, whoever found it
// Leases in one answer, so that it stays below the 4 MiB that a gRPC client accepts by default.
constexpr size_t kMaxLeaseBytes = 2 << 20;

absl::Status CheckLease(const v1::LeaseId& id) {
  if (IsSha256(id.job_digest())) return absl::OkStatus();
  return absl::InvalidArgumentError("a lease names a job by something that is not a SHA-256 digest");
}

absl::Status CheckRequest(const v1::SyncRequest& request) {
  if (request.worker_id().empty() || request.worker_id().size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(absl::StrCat("worker_id must have 1 to ", kMaxNameBytes, " bytes"));
  }
  if (request.running_size() > kMaxListed || request.finished_size() > kMaxListed) {
    return absl::InvalidArgumentError(absl::StrCat("a Sync may list at most ", kMaxListed, " attempts"));
  }
  for (const v1::RunningAttempt& running : request.running()) ABSL_RETURN_IF_ERROR(CheckLease(running.id()));
  for (const v1::FinishedAttempt& finished : request.finished()) {
    ABSL_RETURN_IF_ERROR(CheckLease(finished.id()));
    if (finished.outcome_case() == v1::FinishedAttempt::OUTCOME_NOT_SET) {
      return absl::InvalidArgumentError("a finished attempt has neither a result nor a failure");
    }
  }
  return absl::OkStatus();
}

ResultDigest DigestOf(const v1::ShardResult& result) {
  const std::string text = Sha256(result.SerializeAsString());
  ResultDigest digest{};
  for (size_t i = 0; i < digest.size(); ++i) {
    uint32_t byte = 0;
    (void)absl::SimpleHexAtoi(text.substr(2 * i, 2), &byte);  // two hexadecimal digits, by Sha256's promise
    digest[i] = static_cast<uint8_t>(byte);
  }
  return digest;
}

// The model that a job works on; null: none.
const v1::ModelRef* ModelOf(const v1::JobSpec& spec) {
  switch (spec.kind_case()) {
    case v1::JobSpec::kEvaluate:
      return &spec.evaluate().model();
    case v1::JobSpec::kAttack:
      return &spec.attack().model();
    case v1::JobSpec::kEvaluateInvariance:
      return &spec.evaluate_invariance().model();
    default:
      return nullptr;
  }
}

}  // namespace

CoordinatorService::CoordinatorService(CoordinatorServiceOptions options, ResultStore* store, const BlobStore* blobs)
    : options_(std::move(options)), store_(store), blobs_(blobs), scheduler_(options_.scheduler) {}

absl::StatusOr<std::unique_ptr<CoordinatorService>> CoordinatorService::Start(CoordinatorServiceOptions options,
                                                                              ResultStore* store,
                                                                              const BlobStore* blobs) {
  std::unique_ptr<CoordinatorService> service(new CoordinatorService(std::move(options), store, blobs));
  ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> names, store->ExperimentNames());
  for (const std::string& name : names) {
    ABSL_ASSIGN_OR_RETURN(StoredExperiment stored, store->ReadExperiment(name));
    const absl::MutexLock lock(&service->mutex_);
    service->AddExperiment(std::move(stored), service->options_.resume_experiments, /*fresh=*/false);
  }
  service->commits_ = std::make_unique<GroupCommit>(
      store, [raw = service.get()](auto& writes, const auto& tickets) { raw->OnDurable(writes, tickets); },
      [raw = service.get()](const absl::Status& status) { raw->OnFailure(status); });
  return service;
}

CoordinatorService::~CoordinatorService() {
  Stop();
  commits_.reset();
}

CoordinatorService::CallId CoordinatorService::NewCall() {
  const absl::MutexLock lock(&mutex_);
  return next_call_++;
}

std::vector<SchedulerEffect> CoordinatorService::Apply(const SchedulerEvent& event) {
  std::vector<SchedulerEffect> effects = scheduler_.Apply(event, options_.clock());
  Record(effects);
  // An empty WorkRequested only extends leases, which no status shows; watchers need not wake for it.
  if (!effects.empty() || !std::holds_alternative<WorkRequested>(event)) ++version_;
  return effects;
}

void CoordinatorService::Record(const std::vector<SchedulerEffect>& effects) {
  for (const SchedulerEffect& effect : effects) {
    if (const auto* lost = std::get_if<AttemptLost>(&effect)) {
      Enqueue(
          StoreAttempt{.lease = lost->lease,
                       .kind = StoreAttempt::Kind::kLost,
                       .worker = lost->worker,
                       .failure = {.code = static_cast<int>(absl::StatusCode::kUnavailable), .message = lost->message},
                       .digest = std::nullopt,
                       .when = options_.clock()});
    } else if (std::holds_alternative<ExperimentFinished>(effect)) {
      finished_something_ = true;
    }
  }
}

uint64_t CoordinatorService::Enqueue(StoreWrite write) {
  const uint64_t ticket = next_ticket_++;
  commits_->Enqueue(std::move(write), ticket);
  return ticket;
}

// ---- A Sync arrives
// --------------------------------------------------------------------------------------------------

CoordinatorService::Checked CoordinatorService::Check(const v1::FinishedAttempt& finished) const {
  Checked checked{.attempt = &finished, .outcome = {}};
  if (finished.has_failure()) {
    const v1::Failure& failure = finished.failure();
    checked.outcome = FailureReport{.code = failure.code(),
                                    .message = PrintableText(failure.message(), kMaxMessageBytes),
                                    .permanent = failure.permanent()};
    return checked;
  }
  std::shared_ptr<const v1::Job> job;
  {
    const absl::MutexLock lock(&mutex_);
    if (const auto it = jobs_.find(finished.id().job_digest()); it != jobs_.end()) job = it->second.job;
  }
  checked.outcome = DigestOf(finished.result());
  if (job == nullptr || finished.id().shard() >= static_cast<uint32_t>(job->shards_size())) return checked;
  const absl::Status valid =
      ValidateResult(job->spec(), job->shards(static_cast<int>(finished.id().shard())), finished.result(), *blobs_);
  if (!valid.ok()) {
    checked.outcome = FailureReport{.code = static_cast<int>(valid.code()),
                                    .message = PrintableText(valid.message(), kMaxMessageBytes)};
  }
  return checked;
}

void CoordinatorService::Sync(CallId id, const v1::SyncRequest& request, SyncDone done) {
  if (absl::Status status = CheckRequest(request); !status.ok()) return done(std::move(status));
  std::vector<Checked> checked;
  checked.reserve(static_cast<size_t>(request.finished_size()));
  for (const v1::FinishedAttempt& finished : request.finished()) checked.push_back(Check(finished));
  std::vector<bool> checkpoint_is_there;
  checkpoint_is_there.reserve(static_cast<size_t>(request.running_size()));
  for (const v1::RunningAttempt& running : request.running()) {
    checkpoint_is_there.push_back(!running.epochs().empty() && ValidateArtifact(running.checkpoint(), *blobs_).ok());
  }

  Outbox outbox;
  const absl::MutexLock lock(&mutex_);
  if (stopped_)
    return outbox.Add<v1::SyncResponse>(std::move(done), absl::UnavailableError("the coordinator is stopping"));
  NoteWorker(request);
  WorkerRecord& worker = workers_[request.worker_id()];
  if (worker.call.has_value()) {
    const auto older = syncs_.find(*worker.call);
    outbox.Add<v1::SyncResponse>(std::move(older->second.done), absl::AbortedError("a newer Sync of this worker came"));
    syncs_.erase(older);
  }
  worker.call = id;
  SyncCall& call = syncs_[id];
  call.worker = request.worker_id();
  call.done = std::move(done);
  call.want = request.leaving() ? 0 : std::min(request.want(), kMaxWant);
  // Held for less than a lease, so that what the worker holds does not expire meanwhile.
  const absl::Duration longest = std::min(options_.poll, options_.scheduler.lease / 3);
  call.deadline = options_.clock() + std::min(longest, absl::Milliseconds(static_cast<int64_t>(request.poll_ms())));
  call.due = request.leaving();

  WorkerSynced synced{.worker = request.worker_id(),
                      .running = {},
                      .finished = {},
                      .leaving = request.leaving(),
                      .executors = static_cast<uint32_t>(request.info().devices_size())};
  for (const v1::RunningAttempt& running : request.running()) {
    const double progress = running.progress() > 0 ? std::min(running.progress(), 1.0) : 0;  // NaN is none
    synced.running.push_back({ToKey(running.id()), running.started(), progress, running.examples_done()});
  }
  for (const v1::FinishedAttempt& finished : request.finished()) synced.finished.push_back(ToKey(finished.id()));
  for (const SchedulerEffect& effect : Apply(synced)) {
    if (const auto* dropped = std::get_if<LeaseDropped>(&effect)) {
      *call.response.add_drop() = ToId(dropped->lease);
      call.due = true;
    }
  }
  for (int i = 0; i < request.running_size(); ++i) {
    TakeEpochs(id, request.running(i), checkpoint_is_there[static_cast<size_t>(i)]);
  }
  for (Checked& one : checked) Offer(id, request.worker_id(), std::move(one));
  Settle(outbox);
}

void CoordinatorService::NoteWorker(const v1::SyncRequest& request) {
  WorkerRecord& worker = workers_[request.worker_id()];
  worker.info = request.info();
  worker.seen = options_.clock();
  uint64_t gained = 0;
  absl::flat_hash_map<std::pair<std::string, uint32_t>, uint64_t> counted;
  for (const v1::RunningAttempt& running : request.running()) {
    const std::pair<std::string, uint32_t> key{running.id().job_digest(), running.id().shard()};
    const auto before = worker.counted.find(key);
    const uint64_t earlier = before == worker.counted.end() ? 0 : before->second;
    if (running.examples_done() > earlier) gained += running.examples_done() - earlier;
    counted.emplace(key, std::max(earlier, running.examples_done()));
  }
  // A finished attempt is sent until it is acknowledged, but counts once.
  for (const v1::FinishedAttempt& finished : request.finished()) {
    const std::pair<std::string, uint32_t> key{finished.id().job_digest(), finished.id().shard()};
    const auto before = worker.counted.find(key);
    const v1::ShardResult& result = finished.result();
    const auto done =
        static_cast<uint64_t>(result.records_size()) + static_cast<uint64_t>(result.alignment().anchors_size());
    const uint64_t earlier = before == worker.counted.end() ? 0 : before->second;
    if (done > earlier) gained += done - earlier;
    counted.insert_or_assign(key, std::max(earlier, done));
  }
  worker.counted = std::move(counted);
  worker.rate.Add(worker.seen, gained);
}

void CoordinatorService::TakeEpochs(CallId id, const v1::RunningAttempt& running, bool checkpoint_is_there) {
  const LeaseKey lease = ToKey(running.id());
  const auto job = jobs_.find(lease.job);
  SyncCall& call = syncs_.at(id);
  if (job == jobs_.end() || !job->second.job->spec().has_train() || !scheduler_.Holds(call.worker, lease)) return;
  call.trainings.push_back(lease);
  if (running.epochs().empty()) return;
  call.due = true;
  // What is refused is not counted in epochs_stored, which tells the worker where to go on.
  if (!checkpoint_is_there ||
      !ValidateEpochs(job->second.job->spec().train(), job->second.epochs.size(), running).ok()) {
    return;
  }
  const uint64_t ticket = Enqueue(StoreEpochs{.job = lease.job,
                                              .epochs = {running.epochs().begin(), running.epochs().end()},
                                              .checkpoint = running.checkpoint()});
  waiting_[ticket].push_back({id, std::nullopt});
  ++call.unstored;
}

void CoordinatorService::Offer(CallId id, const std::string& worker, Checked checked) {
  const v1::FinishedAttempt& attempt = *checked.attempt;
  const LeaseKey lease = ToKey(attempt.id());
  SyncCall& call = syncs_.at(id);
  const auto wait = [&](uint64_t ticket) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    waiting_[ticket].push_back({id, lease});
    ++call.unstored;
  };
  for (const SchedulerEffect& effect : Apply(AttemptOffered{worker, lease, checked.outcome})) {
    if (std::holds_alternative<AttemptAccepted>(effect)) {
      uint64_t ticket = 0;
      if (const auto* digest = std::get_if<ResultDigest>(&checked.outcome)) {
        ticket = Enqueue(StoreResult{.lease = lease,
                                     .worker = worker,
                                     .seconds = attempt.seconds(),
                                     .digest = *digest,
                                     .result = attempt.result()});
      } else {
        ticket = Enqueue(StoreAttempt{.lease = lease,
                                      .kind = StoreAttempt::Kind::kFailed,
                                      .worker = worker,
                                      .failure = std::get<FailureReport>(checked.outcome),
                                      .digest = std::nullopt,
                                      .when = options_.clock()});
      }
      storing_[{lease.job, lease.shard}] = ticket;
      wait(ticket);
    } else if (std::holds_alternative<AttemptJoined>(effect)) {
      const auto storing = storing_.find({lease.job, lease.shard});
      if (storing != storing_.end()) wait(storing->second);
    } else if (std::holds_alternative<AttemptSettled>(effect)) {
      *call.response.add_acknowledged() = ToId(lease);
      call.due = true;
    } else if (const auto* found = std::get_if<NondeterminismFound>(&effect)) {
      wait(Enqueue(Evidence(*found)));
    }
  }
}

StoreAttempt CoordinatorService::Evidence(const NondeterminismFound& found) const {
  return {.lease = found.lease,
          .kind = StoreAttempt::Kind::kNondeterministic,
          .worker = found.worker,
          .failure = {.code = static_cast<int>(absl::StatusCode::kDataLoss),
                      .message = "the result differs from the committed one"},
          .digest = found.result,
          .when = options_.clock()};
}

// ---- Something is durable
// --------------------------------------------------------------------------------------------

void CoordinatorService::OnDurable(std::vector<StoreWrite>& writes, const std::vector<uint64_t>& tickets) {
  // A submission is read back before the mutex is taken: what later writes of this batch change in it is applied twice,
  // which changes nothing.
  absl::flat_hash_map<uint64_t, absl::StatusOr<StoredExperiment>> submitted;
  for (size_t i = 0; i < writes.size(); ++i) {
    const auto* submission = std::get_if<StoreSubmission>(&writes[i]);
    if (submission != nullptr) submitted.emplace(tickets[i], store_->ReadExperiment(submission->experiment.name()));
  }
  Outbox outbox;
  std::vector<std::string> obsolete;
  {
    const absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < writes.size(); ++i) {
      if (const auto it = submitted.find(tickets[i]); it != submitted.end()) {
        if (!it->second.ok()) return StopWith(it->second.status(), outbox);
        if (const auto done = submissions_.find(tickets[i]); done != submissions_.end()) {
          outbox.Add<v1::SubmitResponse>(std::move(done->second), Summarize(*it->second));
          submissions_.erase(done);
        }
        AddExperiment(*std::move(it->second), /*active=*/true, /*fresh=*/true);
        continue;
      }
      Stored(writes[i], tickets[i], obsolete);
      const auto waiters = waiting_.find(tickets[i]);
      if (waiters == waiting_.end()) continue;
      for (const Waiter& waiter : waiters->second) {
        const auto call = syncs_.find(waiter.call);
        if (call == syncs_.end()) continue;
        --call->second.unstored;
        if (waiter.acknowledge.has_value()) *call->second.response.add_acknowledged() = ToId(*waiter.acknowledge);
        call->second.due = true;
      }
      waiting_.erase(waiters);
    }
    Settle(outbox);
  }
  // One that cannot be removed takes space, no more.
  for (const std::string& sha256 : obsolete) blobs_->Remove(sha256).IgnoreError();
}

bool CoordinatorService::IsNeeded(const std::string& sha256) const {
  return std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& entry) {
    const JobRecord& record = entry.second;
    const auto& inputs = record.job->artifacts();
    return std::find(inputs.begin(), inputs.end(), sha256) != inputs.end() ||
           (record.weights.has_value() && record.weights->sha256() == sha256) ||
           std::any_of(record.examples.begin(), record.examples.end(),
                       [&](const auto& made) { return made.second.sha256() == sha256; }) ||
           (record.checkpoint.has_value() && record.checkpoint->sha256() == sha256);
  });
}

void CoordinatorService::Stored(StoreWrite& write, uint64_t ticket, std::vector<std::string>& obsolete) {
  const auto durable = [this, ticket](const LeaseKey& lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    // Another attempt's write may be under way by now, where the job was forgotten and planned again.
    const auto storing = storing_.find({lease.job, lease.shard});
    if (storing != storing_.end() && storing->second == ticket) storing_.erase(storing);
    for (const SchedulerEffect& effect : Apply(AttemptDurable{lease})) {
      if (const auto* found = std::get_if<NondeterminismFound>(&effect)) Enqueue(Evidence(*found));
    }
  };
  const auto leave = [&](const std::optional<v1::Artifact>& checkpoint) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (checkpoint.has_value() && !IsNeeded(checkpoint->sha256())) obsolete.push_back(checkpoint->sha256());
  };
  if (auto* result = std::get_if<StoreResult>(&write)) {
    if (const auto job = jobs_.find(result->lease.job); job != jobs_.end()) {
      for (const v1::Artifact& artifact : result->result.artifacts()) {
        if (artifact.role() == "weights") job->second.weights = artifact;
        if (artifact.role() == "examples") job->second.examples.emplace(result->lease.shard, artifact);
      }
      job->second.epochs.clear();
      leave(std::exchange(job->second.checkpoint, std::nullopt));
    }
    durable(result->lease);
  } else if (auto* epochs = std::get_if<StoreEpochs>(&write)) {
    const auto job = jobs_.find(epochs->job);
    if (job == jobs_.end()) return;
    std::vector<v1::EpochMetrics>& known = job->second.epochs;
    known.resize(std::min<size_t>(known.size(), epochs->epochs.front().epoch()));
    known.insert(known.end(), epochs->epochs.begin(), epochs->epochs.end());
    leave(std::exchange(job->second.checkpoint, epochs->checkpoint));
    ++version_;
  } else if (const auto* attempt = std::get_if<StoreAttempt>(&write)) {
    if (attempt->kind == StoreAttempt::Kind::kFailed) durable(attempt->lease);
  }
}

// ---- Answers
// ---------------------------------------------------------------------------------------------------------

v1::Lease CoordinatorService::MakeLease(const LeaseGranted& granted) const {
  v1::Lease lease;
  *lease.mutable_id() = ToId(granted.lease);
  lease.mutable_range()->set_begin(granted.range.begin);
  lease.mutable_range()->set_end(granted.range.end);
  const JobRecord& record = jobs_.at(granted.lease.job);
  const v1::JobSpec& spec = record.job->spec();
  *lease.mutable_spec() = spec;
  const v1::ModelRef* const model = ModelOf(spec);
  if (model != nullptr && model->has_trained_by()) {
    const auto trained = jobs_.find(model->trained_by());
    if (trained != jobs_.end() && trained->second.weights.has_value())
      *lease.mutable_weights() = *trained->second.weights;
  }
  if (const auto made = jobs_.find(spec.evaluate_invariance().built_by()); made != jobs_.end()) {
    for (const auto& [shard, artifact] : made->second.examples) {
      const v1::Shard& range = made->second.job->shards(static_cast<int>(shard));
      if (range.end() <= granted.range.begin || range.begin() >= granted.range.end) continue;
      v1::LeasedExamples& examples = *lease.add_examples();
      *examples.mutable_artifact() = artifact;
      *examples.mutable_range() = range;
    }
  }
  if (record.checkpoint.has_value()) {
    *lease.mutable_checkpoint() = *record.checkpoint;
    lease.mutable_epochs()->Assign(record.epochs.begin(), record.epochs.end());
  }
  return lease;
}

bool CoordinatorService::TryAnswer(SyncCall& call) {
  if (call.unstored > 0) return false;
  bool granted = false;
  if (call.want > 0 && !released_ && scheduler_.HasWork()) {
    size_t bytes = 0;
    for (const SchedulerEffect& effect : Apply(WorkRequested{call.worker, call.want})) {
      const auto* one = std::get_if<LeaseGranted>(&effect);
      // What does not fit is not listed by the worker next time, and so pending again.
      if (one == nullptr || bytes > kMaxLeaseBytes) continue;
      v1::Lease* const lease = call.response.add_leases();
      *lease = MakeLease(*one);
      bytes += lease->ByteSizeLong();
      granted = true;
    }
  }
  if (granted) FaultPoint("coordinator.lease.after-grant");
  if (!granted && !call.due && !released_ && options_.clock() < call.deadline) return false;
  if (!granted) Apply(WorkRequested{call.worker, 0});  // extends what it holds, as the answer says
  call.response.set_coordinator_epoch(options_.epoch);
  call.response.set_lease_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.scheduler.lease)));
  call.response.set_shutdown(released_);
  for (const LeaseKey& lease : call.trainings) {
    const auto job = jobs_.find(lease.job);
    if (job == jobs_.end()) continue;
    v1::EpochsStored* const stored = call.response.add_epochs_stored();
    *stored->mutable_id() = ToId(lease);
    stored->set_count(static_cast<uint32_t>(job->second.epochs.size()));
  }
  return true;
}

}  // namespace tightrope
