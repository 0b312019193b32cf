// From a lease to its result: fetches what the shard needs, computes, and puts the files it made.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tightrope/v1/coordinator.pb.h"
#include "worker/artifact_cache.h"
#include "worker/cancellation.h"
#include "worker/dataset_cache.h"
#include "worker/kernel_table.h"

namespace tightrope {

// What is said while a shard runs; called on the thread of Run.
class ShardObserver {
 public:
  virtual ~ShardObserver() = default;
  virtual void Progress(double fraction, uint64_t examples_done) = 0;
  // Training: these epochs are done and the checkpoint after the last of them is in the coordinator's artifact store.
  virtual void EpochsDone(const std::vector<v1::EpochMetrics>& epochs, const v1::Artifact& checkpoint) = 0;
};

// Computes one shard after another on one device. Not thread-safe; one an executor.
class ShardRunner {
 public:
  virtual ~ShardRunner() = default;

  // The result depends on the lease's spec, range and job digest alone: not on the time, the worker, what ran before,
  // or whether a training was resumed. Its artifacts are in the coordinator's artifact store.
  //
  // Errors: CANCELLED (stopped by `cancellation`). INVALID_ARGUMENT and FAILED_PRECONDITION mean that trying again
  // cannot help: an unknown kind of job, a model that does not load or fit, data that is not what the spec says, a loss
  // that diverged, a kernel that this worker does not have. NOT_FOUND and DATA_LOSS (artifacts, but not checkpoints: a
  // training whose checkpoint is gone or of no use starts over), RESOURCE_EXHAUSTED (memory, disk), UNAVAILABLE (the
  // coordinator is away for too long) and INTERNAL (a device that fails) may be tried again. May throw, std::bad_alloc
  // for one: what computes has statuses for what it meets, and the executor has one for the rest.
  virtual absl::StatusOr<v1::ShardResult> Run(const v1::Lease& lease, const Cancellation& cancellation,
                                              ShardObserver& observer) = 0;
};

// A runner that computes with LibTorch on `device` ("cpu", "cuda:0"). Call on the thread that will use it. Throws what
// LibTorch throws where `device` is no device. Keeps the models it used last; data sets are shared with other executors
// through `datasets`, and the choice of kernels through `kernels`. All three must outlive it.
std::unique_ptr<ShardRunner> MakeTorchShardRunner(const std::string& device, ArtifactCache& artifacts,
                                                  DatasetCache& datasets, KernelTable& kernels);

}  // namespace tightrope
