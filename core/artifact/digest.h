// SHA-256 digests: the identity of every artifact and job. Written as 64 lower-case hexadecimal digits.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tightrope {

// True for exactly 64 characters of [0-9a-f]: check every digest that comes from outside before it becomes a file name.
bool IsSha256(absl::string_view text);

// Digest of `data`.
std::string Sha256(absl::string_view data);

// Digest of data that arrives in pieces. Not thread-safe.
class Sha256Stream {
 public:
  Sha256Stream();
  ~Sha256Stream();
  Sha256Stream(const Sha256Stream&) = delete;
  Sha256Stream& operator=(const Sha256Stream&) = delete;

  void Update(absl::string_view data);
  // The digest of all data so far; REQUIRES: called once, last.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Digest of a file's bytes. Errors: NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT (not a regular file), UNAVAILABLE
// (read error).
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

}  // namespace tightrope
