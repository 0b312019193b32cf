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
#include "worker/kernel_table.h"
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
  // Makes the runner of one executor, on its thread. May throw.
  using RunnerFactory = std::function<std::unique_ptr<ShardRunner>(const std::string& device, ArtifactCache&,
                                                                   DatasetCache&, KernelTable&)>;

  // Opens the cache; speaks to nobody yet. Errors: those of BlobStore::Open for the cache directory (PERMISSION_DENIED,
  // NOT_FOUND, RESOURCE_EXHAUSTED, UNAVAILABLE).
  static absl::StatusOr<std::unique_ptr<Worker>> Create(const WorkerOptions& options, RunnerFactory make_runner);

  // Works until the end. Call once. Errors: RESOURCE_EXHAUSTED (no memory or no thread for an executor), INTERNAL (a
  // device that nothing can be computed on); the worker has left the coordinator then.
  absl::StatusOr<LeaseLoop::End> Run();

  // Thread-safe, from any thread but a signal handler.
  void Drain();

 private:
  Worker(const WorkerOptions& options, BlobStore cache, RunnerFactory make_runner);

  const std::vector<std::string> devices_;
  const RunnerFactory make_runner_;
  const std::unique_ptr<CoordinatorConnection> connection_;
  ArtifactCache artifacts_;
  DatasetCache datasets_;
  KernelTable kernels_;
  LeaseLoop loop_;
};

}  // namespace tightrope
