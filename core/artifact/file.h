// Files: bounded reading, and writing that is durable when it returns. Errors carry the path and what the system said.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tightrope {

// An error of the operating system as "what (No such file or directory): path". NOT_FOUND, PERMISSION_DENIED,
// RESOURCE_EXHAUSTED (no space, quota or file size limit), INVALID_ARGUMENT (a directory), else UNAVAILABLE.
absl::Status SystemError(int error_number, absl::string_view what, absl::string_view path);

// Owns an open file. Move-only.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }
  ~FileDescriptor() { static_cast<void>(Close()); }

  bool is_open() const { return descriptor_ >= 0; }
  int get() const { return descriptor_; }
  int release() { return std::exchange(descriptor_, -1); }
  // The error number, or 0. A file system may report a failed write only here.
  int Close();

 private:
  int descriptor_ = -1;
};

// Opens a regular file for reading: neither directories nor pipes, on which reading could wait for ever.
// Errors: NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT (not a regular file), UNAVAILABLE.
absl::StatusOr<FileDescriptor> OpenForReading(const std::string& path);

// Reads up to `size` bytes at the file's position; shorter only at the end of the file. Errors: UNAVAILABLE.
absl::Status ReadUpTo(const FileDescriptor& file, const std::string& path, uint64_t size, std::string& out);

// The whole file. Nothing is allocated by the size that the file claims to have.
// Errors: as OpenForReading; INVALID_ARGUMENT (more than `max_bytes`).
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes);

// Errors: RESOURCE_EXHAUSTED, UNAVAILABLE.
absl::Status WriteAll(const FileDescriptor& file, const std::string& path, absl::string_view data);

// Makes renames and new files in `directory` durable.
// Errors: NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE.
absl::Status SyncDirectory(const std::string& directory);

// Replaces `path` in one step, through `path`.new, which is gone afterwards; durable. REQUIRES: one writer of `path` at
// a time. Errors: NOT_FOUND (no such directory), PERMISSION_DENIED, INVALID_ARGUMENT (`path` is a directory),
// RESOURCE_EXHAUSTED (disk full), UNAVAILABLE. `path` is then as it was or, where only the directory could not be
// synced, new.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view data);

}  // namespace tightrope
