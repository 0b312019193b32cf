// Data sets in memory, and what is prepared from them, shared by the executors of a worker.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "core/dataset/dataset.h"
#include "core/robustness/invariance/invariance_candidates.h"
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
  explicit DatasetCache(ArtifactCache& artifacts);

  // Immutable, and alive for as long as someone holds it. Errors: as ArtifactCache::Read; INVALID_ARGUMENT (the files
  // are not what `ref` says).
  absl::StatusOr<std::shared_ptr<const Dataset>> Get(const v1::DatasetRef& ref, const Cancellation& cancellation);

  // Of a training set, what invariance-based examples are made from. Preparing it takes about a second; executors that
  // ask at once each prepare it, and one copy is kept. Errors: as Get and PrepareCandidates.
  absl::StatusOr<std::shared_ptr<const InvarianceCandidates>> Candidates(const v1::DatasetRef& training,
                                                                         const CandidateChoice& choice,
                                                                         const Cancellation& cancellation);

 private:
  // The last few that were used, by key. Not thread-safe.
  template <typename Value>
  class LastUsed {
   public:
    explicit LastUsed(size_t kept) : kept_(kept) {}

    // Nothing where it is not here.
    std::shared_ptr<const Value> Find(const std::string& key);
    // What is here under the key by then, because another was quicker, or else `made`.
    std::shared_ptr<const Value> FindOrKeep(const std::string& key, std::shared_ptr<const Value> made);

   private:
    struct Entry {
      std::string key;
      std::shared_ptr<const Value> value;
    };
    size_t kept_;
    std::list<Entry> entries_;  // the last used first
  };

  ArtifactCache& artifacts_;
  absl::Mutex mutex_;  // never held while loading, which may take minutes
  LastUsed<Dataset> datasets_ ABSL_GUARDED_BY(mutex_);
  LastUsed<InvarianceCandidates> candidates_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tightrope
