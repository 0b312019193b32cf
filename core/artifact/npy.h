// NumPy .npy files (format 1.0, 2.0), the form in which examples leave Tightrope. C order, little-endian.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tightrope {

struct NpyArray {
  std::string dtype;           // as in the file: "<f4", "|u1", "<i8" …
  std::vector<int64_t> shape;  // every extent ≥ 0
  std::string data;            // product(shape) · item size bytes
};

// Errors: INVALID_ARGUMENT (not .npy, an object or big-endian or Fortran-order array, data shorter or longer than the
// header says; sizes are checked before anything is allocated).
absl::StatusOr<NpyArray> ParseNpy(absl::string_view bytes);

// float32 array; REQUIRES: product(shape) == values.size().
std::string WriteNpy(absl::Span<const float> values, const std::vector<int64_t>& shape);

// int64 array of one dimension.
std::string WriteIndexNpy(absl::Span<const int64_t> indices);

}  // namespace tightrope
