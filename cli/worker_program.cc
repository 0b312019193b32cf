#include "cli/worker_program.h"

#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

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

absl::Status CheckDevices(const std::string& devices) {
  if (devices == "auto") return absl::OkStatus();
  for (absl::string_view name : absl::StrSplit(devices, ',')) {
    name = absl::StripAsciiWhitespace(name);
    absl::string_view number = name;
    uint32_t gpu = 0;
    if (name == "cpu" || (absl::ConsumePrefix(&number, "cuda:") && absl::SimpleAtoi(number, &gpu))) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("give auto, or cpu and cuda:N separated by commas, not: ", name.empty() ? "an empty name" : name));
  }
  return absl::OkStatus();
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
