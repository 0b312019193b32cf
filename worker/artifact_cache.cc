#include "worker/artifact_cache.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/artifact/digest.h"
#include "core/status_macros.h"
#include "spdlog/spdlog.h"

namespace tightrope {
namespace {

// Somebody there, but what came was wrong, or the connection broke in a way that gRPC has no better word for.
bool IsBroken(const absl::Status& status) {
  return absl::IsDataLoss(status) || absl::IsInternal(status) || absl::IsUnknown(status);
}

}  // namespace

ArtifactCache::ArtifactCache(BlobStore store, ArtifactTransfer& transfer, ArtifactCacheOptions options)
    : store_(std::move(store)), transfer_(transfer), options_(options) {}

absl::StatusOr<std::string> ArtifactCache::FetchFile(const std::string& sha256, const Cancellation& cancellation) {
  ABSL_RETURN_IF_ERROR(Read(sha256, cancellation).status());
  return store_.Path(sha256);
}

absl::StatusOr<std::string> ArtifactCache::Read(const std::string& sha256, const Cancellation& cancellation) {
  bool damaged = false;
  for (int attempt = 1;; ++attempt) {
    ABSL_RETURN_IF_ERROR(Fetch(sha256, damaged, cancellation)) << "cannot fetch artifact " << sha256;
    absl::StatusOr<std::string> bytes = store_.Get(sha256);
    // A cached file that was changed, or removed by someone who cleans up, is fetched again.
    if (bytes.ok() || attempt >= options_.broken_tries) return bytes;
    if (!absl::IsDataLoss(bytes.status()) && !absl::IsNotFound(bytes.status())) return bytes;
    damaged = true;
    spdlog::warn("cached artifact is fetched again: {}", bytes.status().ToString());
  }
}

absl::Status ArtifactCache::Fetch(const std::string& sha256, bool damaged, const Cancellation& cancellation) {
  if (!IsSha256(sha256)) return absl::InvalidArgumentError("not a SHA-256 digest");
  if (!damaged && store_.Has(sha256)) return absl::OkStatus();
  ABSL_RETURN_IF_ERROR(Claim(sha256, cancellation));
  const auto release = absl::MakeCleanup([&] { Release(sha256); });
  // Another may have fetched it meanwhile. A damaged file is not removed: the whole one takes its place, and what
  // stands there now may be that already.
  if (damaged ? store_.Get(sha256).ok() : store_.Has(sha256)) return absl::OkStatus();
  return Transfer(sha256, cancellation);
}

absl::Status ArtifactCache::Claim(const std::string& sha256, const Cancellation& cancellation) {
  const auto is_free = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !fetching_.contains(sha256); };
  const absl::MutexLock lock(&mutex_);
  // The one who fetches may be cancelled; then another goes on. In slices, because a cancellation does not touch the
  // mutex.
  while (!mutex_.AwaitWithTimeout(absl::Condition(&is_free), absl::Milliseconds(100))) {
    if (cancellation.cancelled()) return Cancelled();
  }
  fetching_.insert(sha256);
  return absl::OkStatus();
}

void ArtifactCache::Release(const std::string& sha256) {
  const absl::MutexLock lock(&mutex_);
  fetching_.erase(sha256);
}

absl::Status ArtifactCache::Transfer(const std::string& sha256, const Cancellation& cancellation) {
  RetryPause pause(options_.retry);
  std::unique_ptr<BlobStore::Writer> writer;  // holds the first `received` of `total` bytes
  uint64_t received = 0;
  uint64_t total = 0;
  absl::Status local;  // an error on this side, which no retry cures
  const ArtifactTransfer::Sink sink = [&](uint64_t size, absl::string_view data) -> absl::Status {
    if (cancellation.cancelled()) return Cancelled();
    bool fits = false;
    local = [&]() -> absl::Status {
      if (writer == nullptr) {
        ABSL_ASSIGN_OR_RETURN(writer, store_.StartPut(sha256, size));
        total = size;
      }
      fits = size == total && data.size() <= total - received;
      if (!fits) return absl::OkStatus();
      ABSL_RETURN_IF_ERROR(writer->Append(data));
      received += data.size();
      pause.Reset();
      return absl::OkStatus();
    }();
    ABSL_RETURN_IF_ERROR(local);
    return fits ? absl::OkStatus() : absl::DataLossError("more data came than the first part announced");
  };
  int wrong = 0;   // times that what came was not the file
  int broken = 0;  // times in a row that the stream broke before anything came
  while (true) {
    if (cancellation.cancelled()) return Cancelled();
    const uint64_t offset = received;
    absl::Status status = transfer_.Get(sha256, offset, sink);
    ABSL_RETURN_IF_ERROR(local);
    if (status.ok() && writer != nullptr && received == total) {
      status = writer->Commit();
      if (!absl::IsDataLoss(status)) return status;
    } else if (status.ok()) {
      // What came so far may be right: it is kept as long as more follows.
      if (received > offset) continue;
      status = absl::DataLossError(absl::StrCat("the file ended early: ", received, " of ", total, " bytes"));
    }
    if (absl::IsDataLoss(status)) {
      if (++wrong >= options_.broken_tries) return status;
      writer.reset();
      received = total = 0;
    } else if (IsBroken(status)) {
      broken = received > offset ? 0 : broken + 1;
      if (broken >= options_.broken_tries) return status;
    } else if (!IsAway(status)) {
      return status;
    }
    ABSL_RETURN_IF_ERROR(pause.Wait(status, cancellation));
  }
}

absl::StatusOr<std::string> ArtifactCache::Put(absl::string_view data, const Cancellation& cancellation) {
  RetryPause pause(options_.retry);
  for (int broken = 0;;) {
    if (cancellation.cancelled()) return Cancelled();
    absl::StatusOr<std::string> sha256 = PutOnce(data);
    if (sha256.ok()) return sha256;
    if (IsBroken(sha256.status()) ? ++broken >= options_.broken_tries : !IsAway(sha256.status())) return sha256;
    ABSL_RETURN_IF_ERROR(pause.Wait(sha256.status(), cancellation));
  }
}

absl::StatusOr<std::string> ArtifactCache::PutOnce(absl::string_view data) {
  const std::string sha256 = Sha256(data);
  const absl::StatusOr<bool> missing = transfer_.IsMissing(sha256);
  absl::Status status = missing.status();
  if (status.ok() && *missing) status = transfer_.Put(sha256, data);
  ABSL_RETURN_IF_ERROR(IsAway(status) ? absl::UnavailableError(status.message()) : status)
      << "cannot put artifact " << sha256;
  return sha256;
}

}  // namespace tightrope
