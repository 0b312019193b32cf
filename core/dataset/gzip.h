// Gzip data to plain bytes, by zlib.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tightrope {

// Told by the first two bytes.
bool IsGzip(absl::string_view bytes);

// All members of `bytes`, one after the other, as gunzip gives them. Memory grows with what is really there, never by a
// size that the data claims, and never beyond `max_bytes`.
// Errors: INVALID_ARGUMENT (corrupt, truncated, something after the last member, more than `max_bytes`).
absl::StatusOr<std::string> Gunzip(absl::string_view bytes, uint64_t max_bytes);

}  // namespace tightrope
