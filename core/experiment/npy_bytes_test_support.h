// NumPy files as users save them: of any type.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tightrope {

// `values` as an array of `Item`, which is what NumPy calls `dtype`.
template <typename Item>
std::string NpyBytes(const std::string& dtype, const std::vector<int64_t>& shape, const std::vector<Item>& values) {
  const std::string header =
      absl::StrCat("{'descr': '", dtype, "', 'fortran_order': False, 'shape': (", absl::StrJoin(shape, ","), ",), }\n");
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Item));
  return bytes;
}

// `count` examples of 28×28 without a dimension for channels, all of whose values are `value`.
template <typename Item>
std::string NpyExamples(const std::string& dtype, int64_t count, Item value) {
  return NpyBytes(dtype, {count, 28, 28}, std::vector<Item>(static_cast<size_t>(count) * 28 * 28, value));
}

}  // namespace tightrope
