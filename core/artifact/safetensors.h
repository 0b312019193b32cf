// The safetensors format: an 8-byte little-endian header length, a JSON header, raw little-endian data. Used for
// weights and checkpoints because it is safe to load from strangers, the same tensors give the same bytes (so a digest
// names a model), and Python reads it (safetensors.torch.load_file).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tightrope {

struct SafeTensor {
  std::string dtype;  // "F32", "F64", "I64", "U8" …: every type of the format up to 64 bits but the 8-bit floats
  std::vector<int64_t> shape;
  std::string data;  // product(shape) · item size bytes

  bool operator==(const SafeTensor&) const = default;
};

struct SafeTensors {
  std::map<std::string, SafeTensor> tensors;    // name → tensor
  std::map<std::string, std::string> metadata;  // the header's __metadata__

  bool operator==(const SafeTensors&) const = default;
};

// Deterministic: equal input gives equal bytes. Tensors of larger items come first, those of one size by name, and the
// header is padded with spaces to a multiple of 8 bytes, so that every tensor is aligned. REQUIRES: known dtypes, data
// that fits the shape, names in UTF-8 other than "__metadata__".
std::string WriteSafeTensors(const SafeTensors& tensors);

// Errors: INVALID_ARGUMENT with what is wrong: header longer than the file or than 16 MiB, not JSON, a key that is
// unknown or comes twice, an unknown dtype, offsets that overlap, leave gaps, exceed the file, or do not fit the shape.
// Allocates no more than a small multiple of bytes.size().
absl::StatusOr<SafeTensors> ParseSafeTensors(absl::string_view bytes);

}  // namespace tightrope
