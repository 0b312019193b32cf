#include "core/dataset/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tightrope {
namespace {

struct Inflater {
  z_stream stream = {};
  bool ready = false;

  Inflater() { ready = inflateInit2(&stream, /*windowBits=*/15 + 16) == Z_OK; }  // + 16: gzip, not zlib
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() {
    if (ready) inflateEnd(&stream);
  }
};

}  // namespace

bool IsGzip(absl::string_view bytes) { return bytes.substr(0, 2) == "\x1f\x8b"; }

absl::StatusOr<std::string> Gunzip(absl::string_view bytes, uint64_t max_bytes) {
  constexpr size_t kStep = 256 << 10;
  Inflater inflater;
  if (!inflater.ready) return absl::ResourceExhaustedError("no memory to uncompress gzip data");
  z_stream& stream = inflater.stream;
  std::string plain;
  while (true) {
    if (stream.avail_in == 0) {
      const size_t step = std::min<size_t>(bytes.size(), std::numeric_limits<uInt>::max());
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));  // zlib does not write to it
      stream.avail_in = static_cast<uInt>(step);
      bytes.remove_prefix(step);
    }
    const size_t filled = plain.size();
    // One byte more than allowed, so that data that ends just at the limit is told from data that goes on.
    const uint64_t room = max_bytes - filled + 1;
    plain.resize(filled + static_cast<size_t>(std::min<uint64_t>(kStep, room)));
    stream.next_out = reinterpret_cast<Bytef*>(plain.data() + filled);
    stream.avail_out = static_cast<uInt>(plain.size() - filled);
    const int result = inflate(&stream, Z_NO_FLUSH);
    plain.resize(plain.size() - stream.avail_out);
    if (plain.size() > max_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("gzip data larger than the limit when uncompressed, bytes: ", max_bytes));
    }
    if (result == Z_STREAM_END) {
      if (stream.avail_in == 0 && bytes.empty()) return plain;
      // What is left of this step, and all that follows it in memory.
      const absl::string_view rest(reinterpret_cast<const char*>(stream.next_in), stream.avail_in + bytes.size());
      if (!IsGzip(rest)) return absl::InvalidArgumentError("bytes after the end of the gzip data");
      inflateReset(&stream);
    } else if (result == Z_BUF_ERROR || (result == Z_OK && stream.avail_in == 0 && stream.avail_out > 0)) {
      if (bytes.empty()) return absl::InvalidArgumentError("truncated gzip data; copy or download the file again");
    } else if (result != Z_OK) {
      return absl::InvalidArgumentError(absl::StrCat("corrupt gzip data; copy or download the file again: ",
                                                     stream.msg != nullptr ? stream.msg : "unknown fault"));
    }
  }
}

}  // namespace tightrope
