// One thread that computes: takes leases from the loop, runs them, says how it went.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tightrope/v1/coordinator.pb.h"
#include "worker/lease_loop.h"
#include "worker/shard_runner.h"

namespace tightrope {

// Makes the runner of one executor; called on that executor's thread, where it may also set what holds for the thread.
// May throw.
using ShardRunnerFactory = std::function<std::unique_ptr<ShardRunner>(const std::string& device)>;

// Runs until the loop has ended. Nothing that a runner returns or throws ends the process: it becomes a Failure. A
// runner that cannot be made ends the loop: a worker that took leases and could not compute any would spoil them all.
class Executor {
 public:
  // `loop` must outlive the executor. `now` measures how long attempts take.
  Executor(LeaseLoop& loop, std::string device, ShardRunnerFactory make_runner, std::function<absl::Time()> now);
  // Waits for the thread, as Join.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Waits for the thread, and says why the runner could not be made: RESOURCE_EXHAUSTED (memory), INTERNAL (what it
  // threw). REQUIRES: the loop has ended or will; one thread.
  absl::Status Join();

 private:
  void Work();
  void RunOne(ShardRunner& runner, const TakenLease& taken);

  LeaseLoop& loop_;
  const std::string device_;
  const ShardRunnerFactory make_runner_;
  const std::function<absl::Time()> now_;
  absl::Status made_;  // written by the thread
  std::thread thread_;
};

// What the coordinator is told of an attempt that ended with `status`.
v1::Failure FailureOf(const absl::Status& status);

}  // namespace tightrope
