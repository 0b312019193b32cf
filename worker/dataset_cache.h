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

// Keeps the last few data sets, by digest. Thread-safe; whoever asks for a data set that is here does not wait for one
// that is being fetched. Executors that ask at once for one that is not share one transfer; each parses it, and one
// copy is kept.
class DatasetCache {
 public:
  // `artifacts` must outlive the cache.
  explicit DatasetCache(ArtifactCache& artifacts) : artifacts_(artifacts) {}

  // Immutable, and alive for as long as someone holds it. Errors: as ArtifactCache::Read; INVALID_ARGUMENT (the files
  // are not what `ref` says).
  absl::StatusOr<std::shared_ptr<const Dataset>> Get(const v1::DatasetRef& ref, const Cancellation& cancellation);

 private:
  // Nothing where it is not here.
  std::shared_ptr<const Dataset> Find(const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  struct Loaded {
    std::string key;
    std::shared_ptr<const Dataset> data;
  };

  ArtifactCache& artifacts_;
  absl::Mutex mutex_;                                 // never held while loading, which may take minutes
  std::list<Loaded> loaded_ ABSL_GUARDED_BY(mutex_);  // the last used first
};

}  // namespace tightrope
