#include "cli/output_file.h"

#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;

absl::Status CannotWrite(const std::string& path) {
  return absl::FailedPreconditionError(absl::StrCat("cannot write the file ", path));
}

absl::Status WriteTo(const std::string& path, const std::function<absl::Status(std::ostream&)>& write) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  if (!file) return CannotWrite(path);
  absl::Status status = write(file);
  file.close();
  if (status.ok() && !file) return absl::ResourceExhaustedError(absl::StrCat("cannot write all of the file ", path));
  return status;
}

}  // namespace

bool WritesThrough(const std::string& path) {
  std::error_code error;
  const fs::file_status target = fs::status(path, error);
  // A link that leads nowhere yet: what it names is created by writing through it.
  if (!fs::exists(target)) return fs::is_symlink(fs::symlink_status(path, error));
  return !fs::is_regular_file(target);
}

absl::Status WriteOutput(const std::string& path, const std::function<absl::Status(std::ostream&)>& write) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    return absl::FailedPreconditionError(absl::StrCat("this is a directory; name a file to write: ", path));
  }
  if (WritesThrough(path)) return WriteTo(path, write);
  fs::path file = fs::weakly_canonical(path, error);
  if (error) file = path;
  const std::string partial = file.string() + ".partial";
  absl::Status status = WriteTo(partial, write);
  if (status.ok()) {
    fs::rename(partial, file, error);
    if (error) status = CannotWrite(path);
  }
  if (!status.ok()) fs::remove(partial, error);
  return status;
}

}  // namespace tightrope
