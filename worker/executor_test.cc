#include "worker/executor.h"

#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "core/steady_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Work = std::function<absl::StatusOr<v1::ShardResult>(const Cancellation&, ShardObserver&)>;

class FunctionRunner final : public ShardRunner {
 public:
  explicit FunctionRunner(Work work) : work_(std::move(work)) {}
  absl::StatusOr<v1::ShardResult> Run(const v1::Lease&, const Cancellation& cancellation,
                                      ShardObserver& observer) override {
    return work_(cancellation, observer);
  }

 private:
  Work work_;
};

// A coordinator with one shard: grants it, optionally drops it once it is started, acknowledges, says that it was all.
class OneShardCoordinator final : public SyncTransport {
 public:
  explicit OneShardCoordinator(bool drop) : drop_(drop) {}

  void Start(const v1::SyncRequest& request, absl::Duration, Done done) override {
    v1::SyncResponse response;
    response.set_coordinator_epoch("one");
    for (const v1::FinishedAttempt& attempt : request.finished()) {
      finished.push_back(attempt);
      *response.add_acknowledged() = attempt.id();
    }
    const bool started = request.running_size() > 0 && request.running(0).started();
    if (!std::exchange(granted_, true)) {
      response.add_leases()->mutable_id()->set_job_digest("job");
    } else if (drop_ && started) {
      *response.add_drop() = request.running(0).id();
      response.set_shutdown(true);
    } else if (!finished.empty()) {
      response.set_shutdown(true);
    } else if (!drop_ && !request.leaving()) {
      const absl::MutexLock lock(&mutex_);
      held_ = std::move(done);
      return;
    }
    done(std::move(response));
  }

  void Cancel() override {
    Done held;
    {
      const absl::MutexLock lock(&mutex_);
      held = std::exchange(held_, nullptr);
    }
    if (held) held(absl::CancelledError("cancelled"));
  }

  std::vector<v1::FinishedAttempt> finished;

 private:
  const bool drop_;
  bool granted_ = false;
  absl::Mutex mutex_;
  Done held_;
};

std::vector<v1::FinishedAttempt> RunOnce(Work work, bool drop = false) {
  OneShardCoordinator coordinator(drop);
  v1::WorkerInfo info;
  info.add_devices("cpu");
  LeaseLoop loop(LeaseTable("worker", info), LeaseLoopOptions{}, coordinator, SteadyClock(), [] { return 0.0; });
  {
    const Executor executor(
        loop, "cpu", [&](const std::string&) { return std::make_unique<FunctionRunner>(work); }, SteadyClock());
    EXPECT_EQ(loop.Run(), LeaseLoop::End::kDone);
  }
  return coordinator.finished;
}

TEST(ExecutorTest, RunnerThatCannotBeMade_EndsTheWorkerWhichSpoilsNoShard) {
  OneShardCoordinator coordinator(/*drop=*/false);
  v1::WorkerInfo info;
  info.add_devices("cuda:7");
  LeaseLoop loop(LeaseTable("worker", info), LeaseLoopOptions{}, coordinator, SteadyClock(), [] { return 0.0; });
  Executor executor(
      loop, "cuda:7",
      [](const std::string&) -> std::unique_ptr<ShardRunner> { throw std::runtime_error("no such device"); },
      SteadyClock());
  EXPECT_EQ(loop.Run(), LeaseLoop::End::kDrained);
  EXPECT_THAT(executor.Join(), StatusIs(absl::StatusCode::kInternal,
                                        AllOf(HasSubstr("cannot compute on cuda:7"), HasSubstr("no such device"))));
  EXPECT_THAT(coordinator.finished, IsEmpty());
}

v1::Failure FailureAfter(Work work) {
  const std::vector<v1::FinishedAttempt> finished = RunOnce(std::move(work));
  return finished.size() == 1 ? finished[0].failure() : v1::Failure();
}

TEST(ExecutorTest, ResultReachesTheCoordinator) {
  const std::vector<v1::FinishedAttempt> finished = RunOnce([](const Cancellation&, ShardObserver&) {
    v1::ShardResult result;
    result.add_artifacts()->set_role("weights");
    return result;
  });
  ASSERT_THAT(finished, SizeIs(1));
  EXPECT_EQ(finished[0].result().artifacts(0).role(), "weights");
  EXPECT_GE(finished[0].seconds(), 0);
}

TEST(ExecutorTest, WrongInputIsAPermanentFailure) {
  for (const absl::Status& status :
       {absl::InvalidArgumentError("bad model"), absl::FailedPreconditionError("diverged")}) {
    const v1::Failure failure = FailureAfter([&](const Cancellation&, ShardObserver&) { return status; });
    EXPECT_TRUE(failure.permanent());
    EXPECT_EQ(failure.code(), status.raw_code());
    EXPECT_EQ(failure.message(), status.message());
  }
}

TEST(ExecutorTest, OtherErrorsMayBeTriedAgain) {
  const v1::Failure failure =
      FailureAfter([](const Cancellation&, ShardObserver&) { return absl::DataLossError("x"); });
  EXPECT_FALSE(failure.permanent());
  EXPECT_EQ(failure.code(), static_cast<int>(absl::StatusCode::kDataLoss));
}

TEST(ExecutorTest, OutOfMemoryIsAFailureThatSaysWhatToDo) {
  const v1::Failure failure = FailureAfter(
      [](const Cancellation&, ShardObserver&) -> absl::StatusOr<v1::ShardResult> { throw std::bad_alloc(); });
  EXPECT_EQ(failure.code(), static_cast<int>(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(failure.message(), HasSubstr("fewer executors"));
  EXPECT_FALSE(failure.permanent());
}

TEST(ExecutorTest, ExceptionsOfAnyTypeAreFailures) {
  EXPECT_THAT(FailureAfter([](const Cancellation&, ShardObserver&) -> absl::StatusOr<v1::ShardResult> {
                throw std::runtime_error("from a library");
              }).message(),
              HasSubstr("from a library"));
  EXPECT_THAT(
      FailureAfter([](const Cancellation&, ShardObserver&) -> absl::StatusOr<v1::ShardResult> { throw 42; }).message(),
      HasSubstr("unknown type"));
}

TEST(ExecutorTest, DroppedAttemptStopsAndNothingIsSaidOfIt) {
  bool stopped = false;
  const std::vector<v1::FinishedAttempt> finished = RunOnce(
      [&](const Cancellation& cancellation, ShardObserver&) {
        stopped = cancellation.WaitFor(absl::InfiniteDuration());
        return absl::CancelledError("stopped");
      },
      /*drop=*/true);
  EXPECT_TRUE(stopped);
  EXPECT_THAT(finished, IsEmpty());
}

TEST(ExecutorTest, CancelledByNobodyIsAFailure) {
  const v1::Failure failure =
      FailureAfter([](const Cancellation&, ShardObserver&) { return absl::CancelledError("?"); });
  EXPECT_EQ(failure.code(), static_cast<int>(absl::StatusCode::kCancelled));
}

}  // namespace
}  // namespace tightrope
