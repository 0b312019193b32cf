// The directory given by --dir: the only place that knows the names of the files in it.
//
//   DIR/results.sqlite          the store (plus SQLite's -wal and -shm)
//   DIR/artifacts/ab/abcdef…    content-addressed files
//   DIR/cache/                  the artifact cache of workers that `tightrope run` starts
//   DIR/logs/worker-00.log      their logs
//   DIR/coordinator.lock        locked (flock) while a coordinator owns the directory
//   DIR/coordinator.address     host:port of that coordinator, for `status`, `watch`, `results` … with the same --dir
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
  // Creates the directory and its sub-directories. Errors: PERMISSION_DENIED, UNAVAILABLE.
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
  // Errors: FAILED_PRECONDITION (another coordinator has it; the message gives its address), UNAVAILABLE.
  absl::StatusOr<Lock> Acquire() const;
  // Written after Acquire, atomically.
  absl::Status WriteAddress(const std::string& address) const;
  // Address of the coordinator that holds the lock now. Errors: NOT_FOUND (none is running).
  absl::StatusOr<std::string> RunningAddress() const;

 private:
  std::string root_;
};

}  // namespace tightrope
