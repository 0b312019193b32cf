// How many bytes an array takes whose shape a file claims.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "absl/types/span.h"

namespace tightrope {

// More dimensions than any array here has; what claims more is not taken for an array.
inline constexpr size_t kMaxDimensions = 64;

// product(shape) · item_bytes; empty where an extent is negative or the product does not fit 64 bits. A product with a
// zero extent is zero, whatever the others are. REQUIRES: item_bytes > 0.
inline std::optional<uint64_t> ArrayBytes(absl::Span<const int64_t> shape, uint64_t item_bytes) {
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    empty |= extent == 0;
  }
  if (empty) return 0;
  uint64_t bytes = item_bytes;
  for (const int64_t extent : shape) {
    const auto factor = static_cast<uint64_t>(extent);
    if (bytes > std::numeric_limits<uint64_t>::max() / factor) return std::nullopt;
    bytes *= factor;
  }
  return bytes;
}

}  // namespace tightrope
