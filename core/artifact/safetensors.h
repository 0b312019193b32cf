// The safetensors format: an 8-byte little-endian header length, a JSON header, raw little-endian data. Used for weights
// and checkpoints because it is safe to load from strangers, the same tensors give the same bytes (so a digest names a
// model), and Python reads it (safetensors.torch.load_file).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tightrope {

struct SafeTensor {
  std::string dtype;           // "F32", "F64", "I64", "U8"
  std::vector<int64_t> shape;
  std::string data;            // product(shape) · item size bytes
};

struct SafeTensors {
  std::map<std::string, SafeTensor> tensors;     // sorted by name: the order in the file
  std::map<std::string, std::string> metadata;   // the header's __metadata__
};

// Deterministic: equal input gives equal bytes. The header is padded with spaces to a multiple of 8 bytes.
std::string WriteSafeTensors(const SafeTensors& tensors);

// Errors: INVALID_ARGUMENT with what is wrong: header longer than the file or than 16 MiB, not JSON, an unknown dtype,
// offsets that overlap, leave gaps, exceed the file, or do not fit the shape.
absl::StatusOr<SafeTensors> ParseSafeTensors(absl::string_view bytes);

}  // namespace tightrope
