#include "worker/dataset_cache.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// Both splits of two data sets.
constexpr size_t kDatasetsKept = 4;

}  // namespace

absl::StatusOr<std::shared_ptr<const Dataset>> DatasetCache::Get(const v1::DatasetRef& ref,
                                                                 const Cancellation& cancellation) {
  const std::string key = absl::StrCat(ref.images_sha256(), " ", ref.labels_sha256(), " ", ref.classes());
  {
    const absl::MutexLock lock(&mutex_);
    if (std::shared_ptr<const Dataset> found = Find(key); found != nullptr) return found;
  }
  ABSL_ASSIGN_OR_RETURN(const std::string images, artifacts_.Read(ref.images_sha256(), cancellation));
  ABSL_ASSIGN_OR_RETURN(const std::string labels, artifacts_.Read(ref.labels_sha256(), cancellation));
  ABSL_ASSIGN_OR_RETURN(Dataset data, LoadDataset(ref, images, labels));
  const absl::MutexLock lock(&mutex_);
  if (std::shared_ptr<const Dataset> found = Find(key); found != nullptr) return found;  // another was quicker
  loaded_.push_front({.key = key, .data = std::make_shared<const Dataset>(std::move(data))});
  if (loaded_.size() > kDatasetsKept) loaded_.pop_back();
  return loaded_.front().data;
}

std::shared_ptr<const Dataset> DatasetCache::Find(const std::string& key) {
  for (auto loaded = loaded_.begin(); loaded != loaded_.end(); ++loaded) {
    if (loaded->key != key) continue;
    loaded_.splice(loaded_.begin(), loaded_, loaded);
    return loaded_.front().data;
  }
  return nullptr;
}

}  // namespace tightrope
