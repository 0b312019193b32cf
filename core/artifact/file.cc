#include "core/artifact/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

absl::StatusCode CodeOf(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
      return absl::StatusCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return absl::StatusCode::kPermissionDenied;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return absl::StatusCode::kResourceExhausted;
    case EISDIR:
    case ENAMETOOLONG:
      return absl::StatusCode::kInvalidArgument;
    default:
      return absl::StatusCode::kUnavailable;
  }
}

}  // namespace

absl::Status SystemError(int error_number, absl::string_view what, absl::string_view path) {
  const std::string reason = std::error_code(error_number, std::generic_category()).message();
  return absl::Status(CodeOf(error_number), absl::StrCat(what, " (", reason, "): ", path));
}

int FileDescriptor::Close() {
  if (!is_open()) return 0;
  return ::close(release()) == 0 ? 0 : errno;
}

absl::StatusOr<FileDescriptor> OpenForReading(const std::string& path) {
  // Without O_NONBLOCK, opening a pipe waits for a writer before it can be told that it is one.
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.is_open()) return SystemError(errno, "cannot open file", path);
  struct stat status;
  if (::fstat(file.get(), &status) != 0) return SystemError(errno, "cannot inspect file", path);
  if (S_ISDIR(status.st_mode)) return SystemError(EISDIR, "cannot read file", path);
  if (!S_ISREG(status.st_mode)) return absl::InvalidArgumentError(absl::StrCat("not a regular file: ", path));
  return file;
}

absl::Status ReadUpTo(const FileDescriptor& file, const std::string& path, uint64_t size, std::string& out) {
  constexpr uint64_t kStep = 1 << 20;
  out.clear();
  while (out.size() < size) {
    const size_t step = static_cast<size_t>(std::min(kStep, size - out.size()));
    const size_t filled = out.size();
    out.resize(filled + step);
    const ssize_t got = ::read(file.get(), out.data() + filled, step);
    out.resize(filled + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got == 0) break;
    if (got < 0 && errno != EINTR) return SystemError(errno, "cannot read file", path);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  ABSL_ASSIGN_OR_RETURN(const FileDescriptor file, OpenForReading(path));
  std::string bytes;
  ABSL_RETURN_IF_ERROR(ReadUpTo(file, path, max_bytes, bytes));
  std::string beyond;
  ABSL_RETURN_IF_ERROR(ReadUpTo(file, path, 1, beyond));
  if (!beyond.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("file larger than the limit of ", max_bytes, " bytes: ", path));
  }
  return bytes;
}

absl::Status WriteAll(const FileDescriptor& file, const std::string& path, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t written = ::write(file.get(), data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError(errno, "cannot write file", path);
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& directory) {
  const FileDescriptor opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened.is_open()) return SystemError(errno, "cannot open directory", directory);
  if (::fsync(opened.get()) != 0) return SystemError(errno, "cannot sync directory", directory);
  return absl::OkStatus();
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view data) {
  const std::string fresh = path + ".new";
  FileDescriptor file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file.is_open()) return SystemError(errno, "cannot create file", fresh);
  const absl::Status replaced = [&]() -> absl::Status {
    ABSL_RETURN_IF_ERROR(WriteAll(file, fresh, data));
    if (::fsync(file.get()) != 0) return SystemError(errno, "cannot sync file", fresh);
    if (const int error = file.Close(); error != 0) return SystemError(error, "cannot close file", fresh);
    if (::rename(fresh.c_str(), path.c_str()) != 0) return SystemError(errno, "cannot rename file to", path);
    return absl::OkStatus();
  }();
  if (!replaced.ok()) {
    ::unlink(fresh.c_str());  // a full disk gets its space back
    return replaced;
  }
  const std::string directory = std::filesystem::path(path).parent_path().string();
  return SyncDirectory(directory.empty() ? "." : directory);
}

}  // namespace tightrope
