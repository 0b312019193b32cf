#include "worker/lease_loop.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/fault_point.h"
#include "spdlog/spdlog.h"

namespace tightrope {
namespace {

// An answer that changes nothing should have been held for the whole poll; one that comes earlier is not followed at
// once, so that a coordinator that does not hold calls is not flooded.
constexpr absl::Duration kLeastInterval = absl::Milliseconds(100);

}  // namespace

LeaseLoop::LeaseLoop(LeaseTable table, LeaseLoopOptions options, SyncTransport& transport,
                     std::function<absl::Time()> now, std::function<double()> jitter)
    : options_(options),
      transport_(transport),
      now_(std::move(now)),
      jitter_(std::move(jitter)),
      table_(std::move(table)) {}

LeaseLoop::End LeaseLoop::Run() {
  while (true) {
    const absl::Time wake_at = Step();
    absl::Duration pause;
    {
      const absl::MutexLock lock(&mutex_);
      if (ended_) return *end_;
      pause = wake_at - now_();
    }
    wake_.WaitFor(pause);
    wake_.Silence();
  }
}

absl::Time LeaseLoop::Step() {
  std::optional<v1::SyncRequest> request;
  bool cancel = false;
  absl::Time wake_at;
  {
    const absl::MutexLock lock(&mutex_);
    const absl::Time now = now_();
    if (sent_at_ == absl::InfinitePast()) lost_since_ = now;
    if (reply_.has_value()) HandleReply(now);
    DecideEnd(now);
    if (end_.has_value()) {
      table_.CancelAll();
      ended_ = call_ == Call::kNone;
      cancel = call_ == Call::kInFlight;
    } else if (call_ == Call::kNone && now >= send_not_before_) {
      request = NextRequest(now);
    } else if (call_ == Call::kInFlight && news_ && !call_has_news_) {
      cancel = true;
    }
    if (cancel) call_ = Call::kCancelling;
    wake_at = NextWake();
  }
  // Outside the mutex: a transport may call `done` before it returns.
  if (cancel) transport_.Cancel();
  if (request.has_value()) {
    const absl::Duration deadline = absl::Milliseconds(request->poll_ms()) + options_.answer_within;
    transport_.Start(*request, deadline, [this](absl::StatusOr<v1::SyncResponse> reply) {
      const absl::MutexLock lock(&mutex_);
      reply_ = std::move(reply);
      wake_.Ring();
    });
  }
  return wake_at;
}

std::optional<LeaseLoop::End> LeaseLoop::end() const {
  const absl::MutexLock lock(&mutex_);
  return ended_ ? end_ : std::nullopt;
}

void LeaseLoop::Drain() {
  const absl::MutexLock lock(&mutex_);
  StartDraining(now_());
}

std::optional<TakenLease> LeaseLoop::Take() {
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &LeaseLoop::MayTake));
  if (ended_) return std::nullopt;
  return table_.Take();
}

void LeaseLoop::ReportProgress(AttemptNumber number, double fraction, uint64_t examples_done) {
  const absl::MutexLock lock(&mutex_);
  table_.SetProgress(number, fraction, examples_done);
}

void LeaseLoop::ReportEpochs(AttemptNumber number, const std::vector<v1::EpochMetrics>& epochs,
                             const v1::Artifact& checkpoint) {
  const absl::MutexLock lock(&mutex_);
  table_.AddEpochs(number, epochs, checkpoint);
  news_ = true;
  wake_.Ring();
}

void LeaseLoop::Finish(AttemptNumber number, AttemptOutcome outcome, double seconds) {
  const absl::MutexLock lock(&mutex_);
  table_.Finish(number, std::move(outcome), seconds);
  news_ = true;
  wake_.Ring();
}

void LeaseLoop::Abandon(AttemptNumber number) {
  const absl::MutexLock lock(&mutex_);
  table_.Abandon(number);
  news_ = true;  // there is room for a lease again
  wake_.Ring();
}

LeaseTable::Intake LeaseLoop::intake() const {
  if (draining_since_.has_value()) return LeaseTable::Intake::kLeaving;
  return shutdown_ ? LeaseTable::Intake::kClosed : LeaseTable::Intake::kOpen;
}

void LeaseLoop::HandleReply(absl::Time now) {
  const absl::StatusOr<v1::SyncResponse> reply = *std::move(reply_);
  reply_.reset();
  const bool cancelled = std::exchange(call_, Call::kNone) == Call::kCancelling;
  if (reply.ok()) {
    HandleAnswer(*reply, now);
  } else if (cancelled) {
    send_not_before_ = now;
  } else {
    HandleLoss(reply.status(), now);
  }
}

void LeaseLoop::HandleAnswer(const v1::SyncResponse& response, absl::Time now) {
  if (coordinator_epoch_.empty()) {
    spdlog::info("the coordinator answers");
  } else if (response.coordinator_epoch() != coordinator_epoch_) {
    spdlog::info("the coordinator was restarted; everything held here is offered again");
  } else if (lost_since_.has_value()) {
    spdlog::info("the coordinator is back");
  }
  coordinator_epoch_ = response.coordinator_epoch();
  lost_since_.reset();
  failures_in_a_row_ = 0;
  if (response.lease_ms() > 0) lease_ = absl::Milliseconds(response.lease_ms());
  if (response.shutdown()) shutdown_ = true;

  const LeaseTable::Changes changes = table_.Apply(response, intake());
  for (int i = 0; i < changes.epochs_stored; ++i) FaultPoint("worker.training.after-checkpoint");
  if (changes.dropped > 0) spdlog::info("the coordinator took back {} attempt(s)", changes.dropped);
  if (call_leaves_ && draining_since_.has_value() && !table_.HasFinished()) end_ = End::kDrained;
  send_not_before_ = changes.any() || news_ ? now : std::max(now, sent_at_ + kLeastInterval);
}

void LeaseLoop::HandleLoss(const absl::Status& status, absl::Time now) {
  if (!lost_since_.has_value() || failures_in_a_row_ == 0) {
    spdlog::warn("no answer from the coordinator, trying again: {}", status.ToString());
  }
  if (!lost_since_.has_value()) lost_since_ = now;
  if (draining_since_.has_value() && !table_.HasFinished()) {
    end_ = End::kDrained;  // good-byes need not be heard: leases run out
    return;
  }
  const absl::Duration pause =
      std::min(options_.longest_retry, options_.first_retry * std::pow(2.0, std::min(failures_in_a_row_, 20)));
  ++failures_in_a_row_;
  send_not_before_ = now + pause * (0.5 + 0.5 * jitter_());
}

void LeaseLoop::DecideEnd(absl::Time now) {
  if (end_.has_value()) return;
  if (table_.HoldsNothing() && !lost_since_.has_value()) {  // nobody is idle for want of a coordinator
    if (!idle_since_.has_value()) idle_since_ = now;
    if (now - *idle_since_ >= options_.idle_exit) StartDraining(now);
  } else {
    idle_since_.reset();
  }
  if (draining_since_.has_value()) {
    if (now - *draining_since_ < options_.drain_limit) return;
    end_ = table_.HasFinished() ? End::kUnreachable : End::kDrained;
  } else if (shutdown_ && (table_.HoldsNothing() || lost_since_.has_value())) {
    // A coordinator that is done and gone needs nothing more from us.
    end_ = End::kDone;
  } else if (lost_since_.has_value() && now - *lost_since_ >= options_.give_up_after) {
    end_ = End::kUnreachable;
  }
}

void LeaseLoop::StartDraining(absl::Time now) {
  if (draining_since_.has_value()) return;
  draining_since_ = now;
  table_.CancelAll();
  send_not_before_ = std::min(send_not_before_, now);
  news_ = true;
  wake_.Ring();
}

v1::SyncRequest LeaseLoop::NextRequest(absl::Time now) {
  v1::SyncRequest request = table_.BuildRequest(intake());
  const absl::Duration hold =
      table_.HoldsLeases() ? std::min(options_.progress_interval, lease_ / 3) : options_.idle_poll;
  request.set_poll_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(hold)));
  call_has_news_ = request.leaving() || request.finished_size() > 0 ||
                   std::any_of(request.running().begin(), request.running().end(),
                               [](const v1::RunningAttempt& running) { return running.epochs_size() > 0; });
  call_leaves_ = request.leaving();
  call_ = Call::kInFlight;
  news_ = false;
  sent_at_ = now;
  return request;
}

absl::Time LeaseLoop::NextWake() const {
  absl::Time wake_at = absl::InfiniteFuture();
  if (call_ == Call::kNone) wake_at = send_not_before_;
  if (draining_since_.has_value()) return std::min(wake_at, *draining_since_ + options_.drain_limit);
  if (lost_since_.has_value()) wake_at = std::min(wake_at, *lost_since_ + options_.give_up_after);
  if (idle_since_.has_value()) wake_at = std::min(wake_at, *idle_since_ + options_.idle_exit);
  return wake_at;
}

}  // namespace tightrope
