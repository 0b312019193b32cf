#include "core/artifact/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "core/artifact/file.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// SHA-256 can fail only where OpenSSL is broken or memory is gone; no digest can be trusted then.
void Require(bool done) {
  if (!done) std::abort();
}

}  // namespace

struct Sha256Stream::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  State() { Require(context != nullptr && EVP_DigestInit_ex(context, EVP_sha256(), nullptr) == 1); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256Stream::Sha256Stream() : state_(std::make_unique<State>()) {}
Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::Update(absl::string_view data) {
  Require(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1);
}

std::string Sha256Stream::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw;
  unsigned int size = 0;
  Require(EVP_DigestFinal_ex(state_->context, raw.data(), &size) == 1);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(size * size_t{2});
  for (unsigned int i = 0; i < size; ++i) {
    text += kDigits[raw[i] >> 4];
    text += kDigits[raw[i] & 15];
  }
  return text;
}

bool IsSha256(absl::string_view text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string Sha256(absl::string_view data) {
  Sha256Stream stream;
  stream.Update(data);
  return stream.Finish();
}

absl::StatusOr<std::string> Sha256OfFile(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const FileDescriptor file, OpenForReading(path));
  Sha256Stream stream;
  std::string chunk;
  do {
    ABSL_RETURN_IF_ERROR(ReadUpTo(file, path, uint64_t{1} << 20, chunk));
    stream.Update(chunk);
  } while (!chunk.empty());
  return stream.Finish();
}

}  // namespace tightrope
