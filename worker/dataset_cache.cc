#include "worker/dataset_cache.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// Both splits of two data sets.
constexpr size_t kDatasetsKept = 4;
// Those of the last two jobs.
constexpr size_t kCandidatesKept = 2;

std::string KeyOf(const v1::DatasetRef& ref) {
  return absl::StrCat(ref.images_sha256(), " ", ref.labels_sha256(), " ", ref.classes());
}

}  // namespace

template <typename Value>
std::shared_ptr<const Value> DatasetCache::LastUsed<Value>::Find(const std::string& key) {
  for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
    if (entry->key != key) continue;
    entries_.splice(entries_.begin(), entries_, entry);
    return entries_.front().value;
  }
  return nullptr;
}

template <typename Value>
std::shared_ptr<const Value> DatasetCache::LastUsed<Value>::FindOrKeep(const std::string& key,
                                                                       std::shared_ptr<const Value> made) {
  if (std::shared_ptr<const Value> found = Find(key); found != nullptr) return found;
  entries_.push_front({.key = key, .value = std::move(made)});
  if (entries_.size() > kept_) entries_.pop_back();
  return entries_.front().value;
}

DatasetCache::DatasetCache(ArtifactCache& artifacts)
    : artifacts_(artifacts), datasets_(kDatasetsKept), candidates_(kCandidatesKept) {}

absl::StatusOr<std::shared_ptr<const Dataset>> DatasetCache::Get(const v1::DatasetRef& ref,
                                                                 const Cancellation& cancellation) {
  const std::string key = KeyOf(ref);
  {
    const absl::MutexLock lock(&mutex_);
    if (std::shared_ptr<const Dataset> found = datasets_.Find(key); found != nullptr) return found;
  }
  ABSL_ASSIGN_OR_RETURN(const std::string images, artifacts_.Read(ref.images_sha256(), cancellation));
  ABSL_ASSIGN_OR_RETURN(const std::string labels, artifacts_.Read(ref.labels_sha256(), cancellation));
  ABSL_ASSIGN_OR_RETURN(Dataset data, LoadDataset(ref, images, labels));
  const absl::MutexLock lock(&mutex_);
  return datasets_.FindOrKeep(key, std::make_shared<const Dataset>(std::move(data)));
}

absl::StatusOr<std::shared_ptr<const InvarianceCandidates>> DatasetCache::Candidates(const v1::DatasetRef& training,
                                                                                     const CandidateChoice& choice,
                                                                                     const Cancellation& cancellation) {
  const uint64_t count = choice.count == 0 ? training.count() : choice.count;
  const std::string key = absl::StrCat(KeyOf(training), " ", count, choice.as_bits ? " as bits" : "");
  {
    const absl::MutexLock lock(&mutex_);
    if (std::shared_ptr<const InvarianceCandidates> found = candidates_.Find(key); found != nullptr) return found;
  }
  ABSL_ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> data, Get(training, cancellation));
  ABSL_ASSIGN_OR_RETURN(InvarianceCandidates prepared, PrepareCandidates(data, choice));
  const absl::MutexLock lock(&mutex_);
  return candidates_.FindOrKeep(key, std::make_shared<const InvarianceCandidates>(std::move(prepared)));
}

}  // namespace tightrope
