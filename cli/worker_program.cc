#include "cli/worker_program.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace tightrope {
namespace {

bool IsPlain(const std::string& word) {
  for (const char c : word) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && std::string("-_./:=,@%+").find(c) == std::string::npos) {
      return false;
    }
  }
  return !word.empty();
}

}  // namespace

absl::StatusOr<std::string> FindWorkerProgram() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return absl::UnavailableError(absl::StrCat("cannot read /proc/self/exe: ", error.message()));
  std::string program = (self.parent_path() / "tightrope-worker").string();
  if (access(program.c_str(), X_OK) != 0) {
    return absl::UnavailableError(
        absl::StrCat("the program that does the computing is missing beside this one; build or install it: ", program));
  }
  return program;
}

std::string AddressForOthers(const std::string& address, const std::string& this_host) {
  const size_t colon = address.rfind(':');
  const std::string host = address.substr(0, colon);
  if (colon == std::string::npos || (host != "0.0.0.0" && host != "[::]" && host != "::")) return address;
  return this_host + address.substr(colon);
}

std::string ShellLine(const std::vector<std::string>& words) {
  return absl::StrJoin(words, " ", [](std::string* out, const std::string& word) {
    absl::StrAppend(out, IsPlain(word) ? word : absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'"));
  });
}

}  // namespace tightrope
