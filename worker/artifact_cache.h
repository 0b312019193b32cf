// Files by digest on a worker: kept in a directory, fetched from the coordinator where missing, and put there when made
// here. Survives what networks do: a broken stream is resumed where it broke, what arrives is checked before anyone
// sees it, and a coordinator that is away is waited for.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/artifact/blob_store.h"
#include "worker/cancellation.h"
#include "worker/retry_pause.h"

namespace tightrope {

// One try at moving a file; no retries here. Thread-safe. Errors are those of the Artifacts service, or UNAVAILABLE and
// DEADLINE_EXCEEDED from the way there.
class ArtifactTransfer {
 public:
  // `size` is that of the whole file. An error ends the transfer with that error.
  using Sink = std::function<absl::Status(uint64_t size, absl::string_view data)>;

  virtual ~ArtifactTransfer() = default;
  // Gives the bytes from `offset` on to `sink`, in order; OK when the peer says that there are no more. Nothing here
  // says that they are all or the right ones.
  virtual absl::Status Get(const std::string& sha256, uint64_t offset, const Sink& sink) = 0;
  virtual absl::Status Put(const std::string& sha256, absl::string_view data) = 0;
  // Is the file missing in the coordinator's store?
  virtual absl::StatusOr<bool> IsMissing(const std::string& sha256) = 0;
};

struct ArtifactCacheOptions {
  RetryOptions retry;  // it starts again with every byte
  // How often a file is tried that comes wrong or short; and how often in a row one of which nothing comes from a
  // coordinator that is there.
  int broken_tries = 3;
};

// Thread-safe; executors that ask for the same digest share one transfer.
class ArtifactCache {
 public:
  // `transfer` must outlive the cache.
  ArtifactCache(BlobStore store, ArtifactTransfer& transfer, ArtifactCacheOptions options = {});

  // Path of the file, complete and checked now. Waits for a coordinator that is away.
  // Errors: CANCELLED, INVALID_ARGUMENT (malformed digest), NOT_FOUND (the coordinator has no such file), DATA_LOSS (it
  // keeps sending something else), RESOURCE_EXHAUSTED (disk full, or over the limit for one file), UNAVAILABLE (away
  // for too long).
  absl::StatusOr<std::string> FetchFile(const std::string& sha256, const Cancellation& cancellation);

  // The file's bytes. Errors: as FetchFile.
  absl::StatusOr<std::string> Read(const std::string& sha256, const Cancellation& cancellation);

  // Puts `data` into the coordinator's store and returns its digest; does nothing where it is there already. Waits as
  // FetchFile. Errors: CANCELLED, DATA_LOSS, RESOURCE_EXHAUSTED (the coordinator's disk or limit), UNAVAILABLE (away
  // for too long).
  absl::StatusOr<std::string> Put(absl::string_view data, const Cancellation& cancellation);

  // As Put, but tries once: UNAVAILABLE where the coordinator is away.
  absl::StatusOr<std::string> PutOnce(absl::string_view data);

 private:
  // `damaged`: the file is there and wrong.
  absl::Status Fetch(const std::string& sha256, bool damaged, const Cancellation& cancellation);
  absl::Status Transfer(const std::string& sha256, const Cancellation& cancellation);
  // Makes the caller the only one that fetches `sha256`; waits for another that does.
  absl::Status Claim(const std::string& sha256, const Cancellation& cancellation);
  void Release(const std::string& sha256);

  const BlobStore store_;
  ArtifactTransfer& transfer_;
  const ArtifactCacheOptions options_;
  absl::Mutex mutex_;
  std::set<std::string> fetching_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tightrope
