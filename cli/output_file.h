// The file that -o names.
#pragma once

#include <functional>
#include <ostream>
#include <string>

#include "absl/status/status.h"

namespace tightrope {

// True where what is written to `path` is out at once: a device, a pipe. A file is replaced when it is whole.
bool WritesThrough(const std::string& path);

// Calls `write` with a stream to `path`. A file appears whole or not at all, and one that was there stays until then; a
// symbolic link goes on to point where it points. Errors: FAILED_PRECONDITION (a directory, or it cannot be written),
// RESOURCE_EXHAUSTED (not all could be written), those of `write`.
absl::Status WriteOutput(const std::string& path, const std::function<absl::Status(std::ostream&)>& write);

}  // namespace tightrope
