// A worker, put together: connection, artifact cache, lease loop, executors. The computing comes in as a factory, so
// that nothing here needs LibTorch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/artifact_cache.h"
#include "worker/coordinator_connection.h"
#include "worker/executor.h"
#include "worker/lease_loop.h"
#include "worker/shard_runner.h"

namespace tightrope {

struct WorkerOptions {
  std::string coordinator;           // host:port
  std::string cache_directory;       // created where missing; may be shared with other workers
  std::vector<std::string> devices;  // one an executor
  std::string version;               // for the coordinator's list of workers
  LeaseLoopOptions loop;
};

class Worker {
 public:
  // Makes the runner of one executor, on its thread.
  using RunnerFactory =
      std::function<std::unique_ptr<ShardRunner>(const std::string& device, ArtifactCache&, DatasetCache&)>;

  // Opens the cache; speaks to nobody yet. Errors: PERMISSION_DENIED, UNAVAILABLE (the cache directory).
  static absl::StatusOr<std::unique_ptr<Worker>> Create(const WorkerOptions& options, RunnerFactory make_runner);

  // Works until the end. Call once.
  LeaseLoop::End Run();

  // Thread-safe, from any thread but a signal handler.
  void Drain();

 private:
  Worker(const WorkerOptions& options, BlobStore cache, RunnerFactory make_runner);

  const std::vector<std::string> devices_;
  const RunnerFactory make_runner_;
  const std::unique_ptr<CoordinatorConnection> connection_;
  ArtifactCache artifacts_;
  DatasetCache datasets_;
  LeaseLoop loop_;
};

}  // namespace tightrope
