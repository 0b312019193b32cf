#include "worker/executor.h"

#include <cstddef>
#include <exception>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/fault_point.h"
#include "core/printable_text.h"
#include "core/status_macros.h"
#include "spdlog/spdlog.h"

namespace tightrope {
namespace {

constexpr size_t kMessageBytes = 4096;

class LoopObserver final : public ShardObserver {
 public:
  LoopObserver(LeaseLoop& loop, AttemptNumber number) : loop_(loop), number_(number) {}

  void Progress(double fraction, uint64_t examples_done) override {
    loop_.ReportProgress(number_, fraction, examples_done);
  }
  void EpochsDone(const std::vector<v1::EpochMetrics>& epochs, const v1::Artifact& checkpoint) override {
    loop_.ReportEpochs(number_, epochs, checkpoint);
  }

 private:
  LeaseLoop& loop_;
  const AttemptNumber number_;
};

// What `work` returns, or what it threw as a status.
template <typename Work>
std::invoke_result_t<Work> Guarded(Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("not enough memory; use fewer executors or a smaller shard_size");
  } catch (const std::exception& thrown) {
    return absl::InternalError(absl::StrCat("unexpected exception: ", thrown.what()));
  } catch (...) {
    return absl::InternalError("unexpected exception of an unknown type");
  }
}

std::string NameOf(const v1::LeaseId& id) {
  return absl::StrCat(id.job_digest().substr(0, 12), "/", id.shard(), " (epoch ", id.epoch(), ")");
}

}  // namespace

Executor::Executor(LeaseLoop& loop, std::string device, ShardRunnerFactory make_runner, std::function<absl::Time()> now)
    : loop_(loop),
      device_(std::move(device)),
      make_runner_(std::move(make_runner)),
      now_(std::move(now)),
      thread_([this] { Work(); }) {}

Executor::~Executor() { Join().IgnoreError(); }

absl::Status Executor::Join() {
  if (thread_.joinable()) thread_.join();
  return made_;
}

void Executor::Work() {
  const absl::StatusOr<std::unique_ptr<ShardRunner>> runner =
      Guarded([&]() -> absl::StatusOr<std::unique_ptr<ShardRunner>> { return make_runner_(device_); });
  if (!runner.ok()) {
    made_ = Annotate(runner.status(), absl::StrCat("cannot compute on ", device_));
    loop_.Drain();
    return;
  }
  while (const std::optional<TakenLease> taken = loop_.Take()) RunOne(**runner, *taken);
}

void Executor::RunOne(ShardRunner& runner, const TakenLease& taken) {
  FaultPoint("worker.lease.before-start");
  const absl::Time start = now_();
  LoopObserver observer(loop_, taken.number);
  absl::StatusOr<v1::ShardResult> result =
      Guarded([&] { return runner.Run(taken.lease, *taken.cancellation, observer); });
  const double seconds = absl::ToDoubleSeconds(now_() - start);
  if (result.ok()) {
    spdlog::debug("{} done on {} in {:.3f} s", NameOf(taken.lease.id()), device_, seconds);
    loop_.Finish(taken.number, *std::move(result), seconds);
  } else if (taken.cancellation->cancelled()) {
    spdlog::debug("{} stopped", NameOf(taken.lease.id()));
    loop_.Abandon(taken.number);
  } else {
    spdlog::warn("{} failed on {}: {}", NameOf(taken.lease.id()), device_, result.status().ToString());
    loop_.Finish(taken.number, FailureOf(result.status()), seconds);
  }
}

v1::Failure FailureOf(const absl::Status& status) {
  v1::Failure failure;
  failure.set_code(status.raw_code());
  failure.set_message(PrintableText(status.message(), kMessageBytes));
  failure.set_permanent(absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status));
  return failure;
}

}  // namespace tightrope
