// Data sets in memory, shared by the executors of a worker.
#pragma once

#include <list>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "core/dataset/dataset.h"
#include "tightrope/v1/plan.pb.h"
#include "worker/artifact_cache.h"
#include "worker/cancellation.h"

namespace tightrope {

// Keeps the last few data sets, by digest. Thread-safe; a data set is fetched and parsed once, however many executors
// ask.
class DatasetCache {
 public:
  // `artifacts` must outlive the cache.
  explicit DatasetCache(ArtifactCache& artifacts) : artifacts_(artifacts) {}

  // Immutable, and alive for as long as someone holds it. Errors: as ArtifactCache::Read; INVALID_ARGUMENT (the files
  // are not what `ref` says).
  absl::StatusOr<std::shared_ptr<const Dataset>> Get(const v1::DatasetRef& ref, const Cancellation& cancellation);

 private:
  struct Loaded {
    std::string key;
    std::shared_ptr<const Dataset> data;
  };

  ArtifactCache& artifacts_;
  absl::Mutex mutex_;  // held while loading: the others would wait for the same data anyway
  std::list<Loaded> loaded_ ABSL_GUARDED_BY(mutex_);  // the last used first
};

}  // namespace tightrope
