// The program that computes, and command lines that are shown to the user.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tightrope {

// Path of the `tightrope-worker` that belongs to the running binary: the one beside it.
// Errors: UNAVAILABLE (it is not there, or may not be executed).
absl::StatusOr<std::string> FindWorkerProgram();

// `address`, HOST:PORT, as other machines can reach it: `this_host` in place of a wildcard such as 0.0.0.0.
std::string AddressForOthers(const std::string& address, const std::string& this_host);

// `words` as one line for a shell, quoted where they have to be.
std::string ShellLine(const std::vector<std::string>& words);

}  // namespace tightrope
