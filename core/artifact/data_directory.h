// The directory given by --dir: the only place that knows the names of the files in it.
//
//   DIR/results.sqlite          the store (plus SQLite's -wal and -shm)
//   DIR/artifacts/ab/abcdef…    content-addressed files
//   DIR/cache/                  the artifact cache of workers that `tightrope run` starts
//   DIR/logs/worker-00.log      their logs
//   DIR/coordinator.lock        locked while a coordinator owns the directory
//   DIR/coordinator.address     host:port of that coordinator, for `status`, `watch`, `results` … with the same --dir
//
// The lock is an open-file-description lock (fcntl): like flock it ends with its process, however that dies, and unlike
// flock it can be asked for without being taken, so that a `status` never makes a starting coordinator fail.
// Thread-safe; several processes may use a directory.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tightrope {

class DataDirectory {
 public:
  explicit DataDirectory(std::string root);

  const std::string& root() const { return root_; }
  std::string StorePath() const;
  std::string ArtifactsPath() const;
  std::string CachePath() const;
  std::string WorkerLogPath(int worker) const;  // zero-padded, so that names sort

  bool HasStore() const;  // there is a results.sqlite
  // Creates the directory and its sub-directories where missing, durably. Errors: INVALID_ARGUMENT (a file is in the
  // way), PERMISSION_DENIED, RESOURCE_EXHAUSTED (disk full), UNAVAILABLE.
  absl::Status Create() const;

  // Held by the coordinator; released by the destructor or the end of the process. Move-only.
  class Lock {
   public:
    Lock(Lock&& other) noexcept;
    Lock& operator=(Lock&& other) noexcept;
    ~Lock();

   private:
    friend class DataDirectory;
    explicit Lock(int descriptor) : descriptor_(descriptor) {}
    int descriptor_;
  };
  // REQUIRES: Create. Forgets the address of an earlier owner.
  // Errors: ABORTED (another coordinator has it; the message gives its address), PERMISSION_DENIED, UNAVAILABLE.
  absl::StatusOr<Lock> Acquire() const;
  // Written after Acquire, atomically. Errors: PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE.
  absl::Status WriteAddress(const std::string& address) const;
  // Address of the coordinator that holds the lock now. Errors: NOT_FOUND (none is running, or it does not listen yet),
  // PERMISSION_DENIED, UNAVAILABLE.
  absl::StatusOr<std::string> RunningAddress() const;

 private:
  std::string LockPath() const;
  std::string AddressPath() const;

  std::string root_;
};

}  // namespace tightrope
