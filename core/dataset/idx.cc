#include "core/dataset/idx.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/artifact/array_size.h"
#include "core/dataset/gzip.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803;
constexpr uint32_t kLabelsMagic = 0x00000801;

uint32_t BigEndian(absl::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[offset + i]);
  return value;
}

// Checks magic number, header and size; returns what follows the header. `shape` gets the header's sizes.
template <size_t kDimensions>
absl::StatusOr<absl::string_view> ReadHeader(absl::string_view what, uint32_t magic, absl::string_view bytes,
                                             std::array<int64_t, kDimensions>& shape) {
  constexpr size_t kHeaderBytes = 4 + 4 * kDimensions;
  if (bytes.size() >= 4 && BigEndian(bytes, 0) != magic) {
    absl::string_view hint = "give an uncompressed IDX file of unsigned bytes";
    if (IsGzip(bytes)) hint = "it is gzip data; uncompress it first";
    if (BigEndian(bytes, 0) == kLabelsMagic) hint = "these are labels; are images and labels swapped?";
    if (BigEndian(bytes, 0) == kImagesMagic) hint = "these are images; are images and labels swapped?";
    return absl::InvalidArgumentError(absl::StrFormat("broken IDX %s: wrong magic number, %s: got 0x%08x, want 0x%08x",
                                                      what, hint, BigEndian(bytes, 0), magic));
  }
  if (bytes.size() < kHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "broken IDX %s: truncated in the header: got %d bytes, want at least %d", what, bytes.size(), kHeaderBytes));
  }
  for (size_t i = 0; i < kDimensions; ++i) shape[i] = BigEndian(bytes, 4 + 4 * i);
  if (shape[0] == 0) return absl::InvalidArgumentError(absl::StrFormat("broken IDX %s: no examples", what));
  const absl::string_view data = bytes.substr(kHeaderBytes);
  const std::optional<uint64_t> want = ArrayBytes(shape, /*item_bytes=*/1);
  if (want != data.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("broken IDX %s: %s: got %d bytes after the header, want %s", what,
                        !want || *want > data.size() ? "truncated, or the header is wrong" : "bytes after the end",
                        data.size(), want ? absl::StrCat(*want) : "more than any file has"));
  }
  return data;
}

}  // namespace

absl::StatusOr<IdxImages> ReadIdxImages(absl::string_view bytes) {
  std::array<int64_t, 3> shape;
  ABSL_ASSIGN_OR_RETURN(const absl::string_view pixels, ReadHeader("images", kImagesMagic, bytes, shape));
  if (pixels.empty()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("broken IDX images: images without pixels: %d x %d", shape[1], shape[2]));
  }
  return IdxImages{static_cast<uint32_t>(shape[0]), static_cast<uint32_t>(shape[1]), static_cast<uint32_t>(shape[2]),
                   pixels};
}

absl::StatusOr<IdxLabels> ReadIdxLabels(absl::string_view bytes) {
  std::array<int64_t, 1> shape;
  ABSL_ASSIGN_OR_RETURN(const absl::string_view labels, ReadHeader("labels", kLabelsMagic, bytes, shape));
  uint32_t largest = 0;
  for (const char label : labels) largest = std::max(largest, uint32_t{static_cast<unsigned char>(label)});
  return IdxLabels{labels, largest + 1};
}

}  // namespace tightrope
