#include "cli/exit_code.h"

#include <iostream>

#include "absl/strings/string_view.h"

namespace tightrope {

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kOutOfRange:
      return kExitWrongInput;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitUnreachable;
  }
}

ExitCode Report(const absl::Status& status, const std::string& hint) {
  if (status.ok()) return kExitDone;
  std::cerr << "tightrope: "
            << (status.message().empty() ? absl::StatusCodeToString(status.code()) : std::string(status.message()))
            << '\n';
  if (!hint.empty()) std::cerr << "  " << hint << '\n';
  return ExitCodeOf(status);
}

}  // namespace tightrope
