#include "worker/lease_table.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace tightrope {
namespace {

bool SameShard(const v1::LeaseId& a, const v1::LeaseId& b) {
  return a.job_digest() == b.job_digest() && a.shard() == b.shard();
}

bool SameLease(const v1::LeaseId& a, const v1::LeaseId& b) { return SameShard(a, b) && a.epoch() == b.epoch(); }

}  // namespace

LeaseTable::LeaseTable(std::string worker_id, v1::WorkerInfo info)
    : worker_id_(std::move(worker_id)), info_(std::move(info)) {}

std::optional<TakenLease> LeaseTable::Take() {
  for (auto& [number, held] : held_) {
    if (held.started) continue;
    held.started = true;
    return TakenLease{.number = number, .lease = held.lease, .cancellation = held.cancellation};
  }
  return std::nullopt;
}

bool LeaseTable::HasQueued() const {
  return std::any_of(held_.begin(), held_.end(), [](const auto& entry) { return !entry.second.started; });
}

void LeaseTable::SetProgress(AttemptNumber number, double fraction, uint64_t examples_done) {
  const auto found = held_.find(number);
  if (found == held_.end()) return;
  found->second.progress = fraction;
  found->second.examples_done = examples_done;
}

void LeaseTable::AddEpochs(AttemptNumber number, const std::vector<v1::EpochMetrics>& epochs,
                           const v1::Artifact& checkpoint) {
  const auto found = held_.find(number);
  if (found == held_.end()) return;
  Held& held = found->second;
  held.epochs.insert(held.epochs.end(), epochs.begin(), epochs.end());
  held.checkpoint = checkpoint;
}

void LeaseTable::Finish(AttemptNumber number, AttemptOutcome outcome, double seconds) {
  const auto found = held_.find(number);
  if (found == held_.end()) return;
  const bool is_result = std::holds_alternative<v1::ShardResult>(outcome);
  if (is_result || !found->second.dropped) {
    v1::FinishedAttempt& finished = finished_.emplace_back();
    *finished.mutable_id() = found->second.lease.id();
    finished.set_seconds(seconds);
    if (is_result) {
      *finished.mutable_result() = std::get<v1::ShardResult>(std::move(outcome));
    } else {
      *finished.mutable_failure() = std::get<v1::Failure>(std::move(outcome));
    }
  }
  held_.erase(found);
}

void LeaseTable::Abandon(AttemptNumber number) { held_.erase(number); }

v1::SyncRequest LeaseTable::BuildRequest(Intake intake) const {
  v1::SyncRequest request;
  request.set_worker_id(worker_id_);
  *request.mutable_info() = info_;
  request.set_leaving(intake == Intake::kLeaving);
  size_t bytes = 0;
  for (const v1::FinishedAttempt& finished : finished_) {
    bytes += finished.ByteSizeLong();
    if (request.finished_size() == 0 || bytes <= kRequestBytes) {
      *request.add_finished() = finished;
    } else {
      // Its turn comes with a later request. A lease that a request does not name is taken back.
      v1::RunningAttempt& running = *request.add_running();
      *running.mutable_id() = finished.id();
      running.set_started(true);
      running.set_progress(1);
    }
  }
  for (const auto& [number, held] : held_) {
    if (held.dropped || intake == Intake::kLeaving) continue;
    v1::RunningAttempt& running = *request.add_running();
    *running.mutable_id() = held.lease.id();
    running.set_started(held.started);
    running.set_progress(held.progress);
    running.set_examples_done(held.examples_done);
    running.mutable_epochs()->Add(held.epochs.begin(), held.epochs.end());
    if (!held.epochs.empty()) *running.mutable_checkpoint() = held.checkpoint;
  }
  if (intake == Intake::kOpen) {
    const size_t capacity = 2 * static_cast<size_t>(info_.devices_size());
    request.set_want(static_cast<uint32_t>(capacity - std::min(capacity, held_.size())));
  }
  return request;
}

LeaseTable::Changes LeaseTable::Apply(const v1::SyncResponse& response, Intake intake) {
  Changes changes;
  for (const v1::LeaseId& id : response.acknowledged()) {
    const auto gone = std::remove_if(finished_.begin(), finished_.end(),
                                     [&](const v1::FinishedAttempt& finished) { return SameLease(finished.id(), id); });
    changes.acknowledged += static_cast<int>(std::distance(gone, finished_.end()));
    finished_.erase(gone, finished_.end());
  }
  for (const v1::EpochsStored& stored : response.epochs_stored()) changes.epochs_stored += StoreEpochs(stored);
  // Before `drop`: where an old number is dropped and a new one is given for the same shard, the attempt goes on.
  if (intake == Intake::kOpen) {
    for (const v1::Lease& lease : response.leases()) changes.leases += AddLease(lease) ? 1 : 0;
  }
  for (const v1::LeaseId& id : response.drop()) changes.dropped += Drop(id) ? 1 : 0;
  return changes;
}

bool LeaseTable::AddLease(const v1::Lease& lease) {
  for (const v1::FinishedAttempt& finished : finished_) {
    if (SameLease(finished.id(), lease.id())) return false;
  }
  for (auto& [number, held] : held_) {
    if (held.dropped || !SameShard(held.lease.id(), lease.id())) continue;
    if (lease.id().epoch() > held.lease.id().epoch()) held.lease.mutable_id()->set_epoch(lease.id().epoch());
    return false;
  }
  held_[next_number_++].lease = lease;
  return true;
}

bool LeaseTable::Drop(const v1::LeaseId& id) {
  const auto found = std::find_if(held_.begin(), held_.end(), [&](const auto& entry) {
    return !entry.second.dropped && SameLease(entry.second.lease.id(), id);
  });
  if (found == held_.end()) return false;
  if (found->second.started) {
    found->second.dropped = true;
    found->second.cancellation->Cancel();
  } else {
    held_.erase(found);
  }
  return true;
}

int LeaseTable::StoreEpochs(const v1::EpochsStored& stored) {
  for (auto& [number, held] : held_) {
    if (!SameLease(held.lease.id(), stored.id())) continue;
    const size_t before = held.epochs.size();
    std::erase_if(held.epochs, [&](const v1::EpochMetrics& metrics) { return metrics.epoch() < stored.count(); });
    return static_cast<int>(before - held.epochs.size());
  }
  return 0;
}

void LeaseTable::CancelAll() {
  std::erase_if(held_, [](const auto& entry) { return !entry.second.started; });
  for (auto& [number, held] : held_) {
    held.dropped = true;
    held.cancellation->Cancel();
  }
}

}  // namespace tightrope
