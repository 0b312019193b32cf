// IDX files for tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tightrope {

inline std::string BigEndianBytes(const std::vector<uint32_t>& values) {
  std::string bytes;
  for (const uint32_t value : values) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 0xff);
  }
  return bytes;
}

inline std::string IdxImageBytes(uint32_t count, uint32_t rows, uint32_t columns, absl::string_view pixels) {
  return BigEndianBytes({0x803, count, rows, columns}) + std::string(pixels);
}

inline std::string IdxLabelBytes(absl::string_view labels) {
  return BigEndianBytes({0x801, static_cast<uint32_t>(labels.size())}) + std::string(labels);
}

}  // namespace tightrope
