#include "core/artifact/blob_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/artifact/file.h"
#include "core/fault_point.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;

// What a blob that is being written ends in, before six letters that mkostemp draws: no digest, so never taken for a
// blob.
constexpr absl::string_view kUnfinished = ".unfinished-";
// A file that nobody has written to for this long has lost its writer.
constexpr time_t kAbandonedSeconds = 24 * 60 * 60;

std::string ShardDirectory(const std::string& directory, absl::string_view sha256) {
  return absl::StrCat(directory, "/", sha256.substr(0, 2));
}

std::string BlobPath(const std::string& directory, absl::string_view sha256) {
  return absl::StrCat(ShardDirectory(directory, sha256), "/", sha256);
}

absl::Status CheckDigest(absl::string_view sha256) {
  if (IsSha256(sha256)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("malformed digest, must be 64 lower-case hexadecimal digits: \"", sha256.substr(0, 80), "\""));
}

// Makes the name of a blob durable.
absl::Status SyncName(const std::string& directory, absl::string_view sha256) {
  ABSL_RETURN_IF_ERROR(SyncDirectory(ShardDirectory(directory, sha256)));
  return SyncDirectory(directory);
}

absl::Status MakeDirectory(const std::string& directory) {
  if (::mkdir(directory.c_str(), 0755) == 0 || errno == EEXIST) return absl::OkStatus();
  return SystemError(errno, "cannot create directory", directory);
}

// A new file beside `path`, open for writing; `made` gets its name.
absl::StatusOr<FileDescriptor> CreateUnfinished(const std::string& path, std::string& made) {
  made = absl::StrCat(path, kUnfinished, "XXXXXX");
  FileDescriptor file(::mkostemp(made.data(), O_CLOEXEC));
  if (!file.is_open()) return SystemError(errno, "cannot create file", made);
  // Readable for whoever may read the directory, as other files are; mkostemp makes it private.
  if (::fchmod(file.get(), 0644) != 0) {
    const int error = errno;
    ::unlink(made.c_str());
    return SystemError(error, "cannot set permissions of file", made);
  }
  return file;
}

// The time by the clock of the file system, which need not be this machine's.
absl::StatusOr<time_t> FileSystemTime(const std::string& directory) {
  std::string path;
  ABSL_ASSIGN_OR_RETURN(const FileDescriptor file, CreateUnfinished(directory + "/", path));
  struct stat status;
  const int error = ::fstat(file.get(), &status) == 0 ? 0 : errno;
  ::unlink(path.c_str());
  if (error != 0) return SystemError(error, "cannot inspect file", path);
  return status.st_mtime;
}

void RemoveAbandoned(const std::string& directory, time_t now) {
  // Files may come and go while we look; whatever can't be listed or removed now is left to the next start.
  std::error_code ignored;
  for (fs::recursive_directory_iterator it(directory, fs::directory_options::skip_permission_denied, ignored), end;
       it != end; it.increment(ignored)) {
    if (it.depth() > 1) it.disable_recursion_pending();
    const std::string path = it->path().string();
    if (!absl::StrContains(it->path().filename().string(), std::string(kUnfinished))) continue;
    struct stat status;
    if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (status.st_mtime + kAbandonedSeconds < now) ::unlink(path.c_str());
  }
}

}  // namespace

struct BlobStore::Writer::State {
  std::string directory;  // of the store
  std::string sha256;
  uint64_t size = 0;
  uint64_t written = 0;
  std::string unfinished;  // path; empty once it is renamed or removed
  FileDescriptor file;
  Sha256Stream digest;
  absl::Status failed;  // the first error; every later call returns it

  // Gives the disk space back at once: the writer's owner may hold it for some time yet.
  absl::Status Fail(absl::Status status) {
    failed = std::move(status);
    Discard();
    return failed;
  }

  void Discard() {
    static_cast<void>(file.Close());
    if (!unfinished.empty()) ::unlink(unfinished.c_str());
    unfinished.clear();
  }
};

BlobStore::Writer::Writer(std::unique_ptr<State> state) : state_(std::move(state)) {}
BlobStore::Writer::~Writer() { state_->Discard(); }

absl::Status BlobStore::Writer::Append(absl::string_view data) {
  State& state = *state_;
  if (!state.failed.ok()) return state.failed;
  if (!state.file.is_open()) return absl::FailedPreconditionError("blob was already committed: " + state.sha256);
  if (data.size() > state.size - state.written) {
    return state.Fail(absl::InvalidArgumentError(
        absl::StrCat("more data than announced, ", state.size, " bytes, for blob ", state.sha256)));
  }
  if (absl::Status status = WriteAll(state.file, state.unfinished, data); !status.ok()) return state.Fail(status);
  state.digest.Update(data);
  state.written += data.size();
  return absl::OkStatus();
}

absl::Status BlobStore::Writer::Commit() {
  State& state = *state_;
  if (!state.failed.ok()) return state.failed;
  if (!state.file.is_open()) return absl::FailedPreconditionError("blob was already committed: " + state.sha256);
  if (state.written != state.size) {
    return state.Fail(absl::InvalidArgumentError(absl::StrCat("less data than announced: ", state.written, " of ",
                                                              state.size, " bytes of blob ", state.sha256)));
  }
  if (const std::string digest = state.digest.Finish(); digest != state.sha256) {
    return state.Fail(absl::DataLossError(
        absl::StrCat("data does not have the announced digest; send it again: got ", digest, ", want ", state.sha256)));
  }
  if (::fsync(state.file.get()) != 0) return state.Fail(SystemError(errno, "cannot sync file", state.unfinished));
  if (const int error = state.file.Close(); error != 0) {
    return state.Fail(SystemError(error, "cannot close file", state.unfinished));
  }
  FaultPoint("artifact.before-rename");
  const std::string path = BlobPath(state.directory, state.sha256);
  if (::rename(state.unfinished.c_str(), path.c_str()) != 0) {
    return state.Fail(SystemError(errno, "cannot rename file to", path));
  }
  state.unfinished.clear();
  return SyncName(state.directory, state.sha256);
}

absl::StatusOr<BlobStore> BlobStore::Open(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return SystemError(error.value(), "cannot create directory", directory);
  ABSL_ASSIGN_OR_RETURN(const time_t now, FileSystemTime(directory));
  RemoveAbandoned(directory, now);
  return BlobStore(directory);
}

bool BlobStore::Has(absl::string_view sha256) const { return Path(sha256).ok(); }

absl::StatusOr<std::string> BlobStore::Path(absl::string_view sha256) const {
  ABSL_RETURN_IF_ERROR(CheckDigest(sha256));
  std::string path = BlobPath(directory_, sha256);
  struct stat status;
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return absl::NotFoundError(absl::StrCat("no such blob: ", sha256));
  }
  return path;
}

absl::StatusOr<std::string> BlobStore::Get(absl::string_view sha256) const {
  ABSL_ASSIGN_OR_RETURN(const std::string path, Path(sha256));
  ABSL_ASSIGN_OR_RETURN(std::string data, ReadFile(path, kMaxBlobBytes));
  if (const std::string digest = Sha256(data); digest != sha256) {
    return absl::DataLossError(
        absl::StrCat("blob was changed on disk; remove the file, and it will be fetched or computed again: ", path));
  }
  return data;
}

absl::Status BlobStore::EnsureDurable(absl::string_view sha256) const {
  ABSL_RETURN_IF_ERROR(Path(sha256).status());
  return SyncName(directory_, sha256);
}

absl::Status BlobStore::Remove(absl::string_view sha256) const {
  ABSL_RETURN_IF_ERROR(CheckDigest(sha256));
  const std::string path = BlobPath(directory_, sha256);
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return SystemError(errno, "cannot remove file", path);
}

absl::StatusOr<std::string> BlobStore::Put(absl::string_view data) const {
  std::string sha256 = Sha256(data);
  struct stat status;
  if (::stat(BlobPath(directory_, sha256).c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
      static_cast<uint64_t>(status.st_size) == data.size()) {
    // Whoever renamed it into place may not have come to sync the directories yet.
    ABSL_RETURN_IF_ERROR(SyncName(directory_, sha256));
    return sha256;
  }
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<Writer> writer, StartPut(sha256, data.size()));
  ABSL_RETURN_IF_ERROR(writer->Append(data));
  ABSL_RETURN_IF_ERROR(writer->Commit());
  return sha256;
}

absl::StatusOr<std::unique_ptr<BlobStore::Writer>> BlobStore::StartPut(absl::string_view sha256, uint64_t size) const {
  ABSL_RETURN_IF_ERROR(CheckDigest(sha256));
  if (size > kMaxBlobBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("blob larger than the store's limit of ", kMaxBlobBytes, " bytes: ", size));
  }
  ABSL_RETURN_IF_ERROR(MakeDirectory(ShardDirectory(directory_, sha256)));
  auto state = std::make_unique<Writer::State>();
  state->directory = directory_;
  state->sha256 = std::string(sha256);
  state->size = size;
  ABSL_ASSIGN_OR_RETURN(state->file, CreateUnfinished(BlobPath(directory_, sha256), state->unfinished));
  return std::unique_ptr<Writer>(new Writer(std::move(state)));
}

}  // namespace tightrope
