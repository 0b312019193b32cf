// Content-addressed files in one directory: DIR/ab/abcdef…, named by SHA-256. A blob is written to a temporary file,
// checked, synced and renamed, so that a name that exists is whole and right, whatever was killed when. A killed
// writer's temporary file is never visible as a blob; Open removes it once nobody has written to it for a day. Several
// processes may share a directory. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/artifact/digest.h"

namespace tightrope {

class BlobStore {
 public:
  // A blob being written. Dropped without Commit it leaves nothing behind. Not thread-safe.
  class Writer {
   public:
    ~Writer();
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    // Errors: INVALID_ARGUMENT (more than the announced size), RESOURCE_EXHAUSTED (disk full), UNAVAILABLE. After an
    // error the temporary file is gone and every further call returns that error.
    absl::Status Append(absl::string_view data);
    // Makes the blob durable and visible; call once. Errors: INVALID_ARGUMENT (less data than announced), DATA_LOSS
    // (digest differs), RESOURCE_EXHAUSTED, UNAVAILABLE.
    absl::Status Commit();

   private:
    friend class BlobStore;
    struct State;
    explicit Writer(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };

  // Creates `directory` where missing. Errors: PERMISSION_DENIED (also: not writable), NOT_FOUND (a file is in the
  // way), RESOURCE_EXHAUSTED (disk full), UNAVAILABLE.
  static absl::StatusOr<BlobStore> Open(const std::string& directory);

  bool Has(absl::string_view sha256) const;
  // Path of a blob that is there. Errors: INVALID_ARGUMENT (malformed digest), NOT_FOUND.
  absl::StatusOr<std::string> Path(absl::string_view sha256) const;
  // The whole blob, its digest checked. Errors: as Path; DATA_LOSS (the file was changed on disk).
  absl::StatusOr<std::string> Get(absl::string_view sha256) const;
  // Makes sure that a blob that is there stays: whoever put it may not have come to sync the directories yet.
  // Errors: as Path; RESOURCE_EXHAUSTED, UNAVAILABLE.
  absl::Status EnsureDurable(absl::string_view sha256) const;
  // Forgets a blob; one that is not there is no error. Who reads it now may finish; who comes later gets NOT_FOUND.
  // After a crash of the machine it may be back. Errors: INVALID_ARGUMENT (malformed digest), PERMISSION_DENIED,
  // UNAVAILABLE.
  absl::Status Remove(absl::string_view sha256) const;
  // Stores `data`, returns its digest; a blob that is there already, whole, is not written again. Errors: as Writer.
  absl::StatusOr<std::string> Put(absl::string_view data) const;
  // For data that arrives in pieces. A blob that is there already is replaced on Commit, which repairs one that was
  // changed on disk. Errors: INVALID_ARGUMENT (malformed digest), RESOURCE_EXHAUSTED (size > kMaxBlobBytes, disk full),
  // UNAVAILABLE.
  absl::StatusOr<std::unique_ptr<Writer>> StartPut(absl::string_view sha256, uint64_t size) const;

  static constexpr uint64_t kMaxBlobBytes = uint64_t{16} << 30;

 private:
  explicit BlobStore(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

}  // namespace tightrope
