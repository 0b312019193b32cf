#include "core/artifact/data_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "core/artifact/file.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxAddressBytes = 4096;

// An exclusive lock on the whole file, owned by the open file and so by the process that keeps it open.
struct flock WholeFile() {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

// The directory that holds the name `path`, whether that ends in a slash or not.
fs::path Parent(const fs::path& path) {
  return path.has_filename() ? path.parent_path() : path.parent_path().parent_path();
}

// Creates `directory` and what is missing above it. What was made stays after a crash of the machine: every directory
// that has got a new entry is synced.
absl::Status CreateDirectories(const std::string& directory) {
  std::error_code error;
  std::vector<fs::path> grown;
  for (fs::path path = fs::absolute(directory, error); path.has_relative_path() && !fs::exists(path, error);
       path = Parent(path)) {
    grown.push_back(Parent(path));
  }
  fs::create_directories(directory, error);
  if (error == std::errc::not_a_directory || error == std::errc::file_exists) {
    return absl::InvalidArgumentError(
        absl::StrCat("a file is where the data directory should be; give another --dir: ", directory));
  }
  if (error) return SystemError(error.value(), "cannot create directory", directory);
  for (const fs::path& parent : grown) ABSL_RETURN_IF_ERROR(SyncDirectory(parent.string()));
  return absl::OkStatus();
}

}  // namespace

DataDirectory::DataDirectory(std::string root) : root_(std::move(root)) {}

std::string DataDirectory::StorePath() const { return root_ + "/results.sqlite"; }
std::string DataDirectory::ArtifactsPath() const { return root_ + "/artifacts"; }
std::string DataDirectory::CachePath() const { return root_ + "/cache"; }
std::string DataDirectory::WorkerLogPath(int worker) const {
  return absl::StrFormat("%s/logs/worker-%02d.log", root_, worker);
}
std::string DataDirectory::LockPath() const { return root_ + "/coordinator.lock"; }
std::string DataDirectory::AddressPath() const { return root_ + "/coordinator.address"; }

bool DataDirectory::HasStore() const {
  std::error_code error;
  return fs::is_regular_file(StorePath(), error);
}

absl::Status DataDirectory::Create() const {
  for (const std::string& directory : {root_, ArtifactsPath(), CachePath(), root_ + "/logs"}) {
    ABSL_RETURN_IF_ERROR(CreateDirectories(directory));
  }
  return absl::OkStatus();
}

DataDirectory::Lock::Lock(Lock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
DataDirectory::Lock& DataDirectory::Lock::operator=(Lock&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}
DataDirectory::Lock::~Lock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

absl::StatusOr<DataDirectory::Lock> DataDirectory::Acquire() const {
  FileDescriptor file(::open(LockPath().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file.is_open()) return SystemError(errno, "cannot open lock file", LockPath());
  struct flock lock = WholeFile();
  if (::fcntl(file.get(), F_OFD_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) return SystemError(errno, "cannot lock file", LockPath());
    const absl::StatusOr<std::string> address = RunningAddress();
    return absl::AbortedError(
        absl::StrCat("another coordinator is using this data directory; stop it, or give another --dir: ", root_,
                     address.ok() ? absl::StrCat(" (its address: ", *address, ")") : ""));
  }
  // The address of an earlier owner must not be taken for ours before ours is written.
  if (::unlink(AddressPath().c_str()) != 0 && errno != ENOENT) {
    return SystemError(errno, "cannot remove file", AddressPath());
  }
  return Lock(file.release());
}

absl::Status DataDirectory::WriteAddress(const std::string& address) const {
  return WriteFileAtomically(AddressPath(), absl::StrCat(address, "\n"));
}

absl::StatusOr<std::string> DataDirectory::RunningAddress() const {
  const absl::Status none = absl::NotFoundError(
      absl::StrCat("no coordinator is running on this data directory; start one, or give --coordinator: ", root_));
  const FileDescriptor file(::open(LockPath().c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) {
    return errno == ENOENT || errno == ENOTDIR ? none : SystemError(errno, "cannot open lock file", LockPath());
  }
  struct flock lock = WholeFile();
  if (::fcntl(file.get(), F_OFD_GETLK, &lock) != 0) return SystemError(errno, "cannot query lock of file", LockPath());
  if (lock.l_type == F_UNLCK) return none;
  absl::StatusOr<std::string> address = ReadFile(AddressPath(), kMaxAddressBytes);
  if (absl::IsNotFound(address.status())) {
    return absl::NotFoundError(absl::StrCat("the coordinator has not started to listen yet; try again: ", root_));
  }
  if (!address.ok()) return address;
  return std::string(absl::StripSuffix(*address, "\n"));
}

}  // namespace tightrope
