// How a command ends. The codes are a contract: scripts depend on them.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace tightrope {

enum ExitCode : int {
  kExitDone = 0,
  kExitJobsFailed = 1,     // the results of the other jobs are kept
  kExitWrongInput = 2,     // the user's input is wrong, and nothing was created
  kExitUnreachable = 3,    // the coordinator, the store or the workers can't be reached or used
  kExitInterrupted = 130,  // SIGINT or SIGTERM; everything that was committed is kept
};

// INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, ALREADY_EXISTS and OUT_OF_RANGE are the user's to mend (2);
// CANCELLED is an interrupt (130); all else means that something we depend on does not answer as it should (3).
ExitCode ExitCodeOf(const absl::Status& status);

// Prints "tightrope: <message>" to standard error and, below it, `hint` where it is not empty. Returns
// ExitCodeOf(status). An OK status prints nothing.
ExitCode Report(const absl::Status& status, const std::string& hint = "");

}  // namespace tightrope
