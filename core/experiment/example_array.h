// NumPy files that an experiment names, whatever NumPy wrote into them, in the one form that workers read: examples as
// float32 in [0, 1], N×C×H×W; indices as int64, N. Equal examples are equal bytes then, and one artifact.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

struct ExampleArray {
  std::string npy;     // the file that workers read
  uint64_t count = 0;  // of examples or indices
  double white = 0;    // of examples: what was divided by
};

// Larger files are not read; as float32 the examples are no larger either.
inline constexpr uint64_t kMaxArrayBytes = uint64_t{256} << 20;

// Examples from the bytes of a file: unsigned bytes, float32 or float64, shape N×C×H×W, or N×H×W of one channel. A
// value becomes value / white, both as float32: bytes come out as the very numbers that models see of images, pixel /
// 255. Without `white`: 255 for bytes, 1 for floating point. `data`: whose shape the examples must have; null: any.
// Errors: INVALID_ARGUMENT with where in the array and what to do: as ParseNpy; another type or shape; no examples; a
// value that is not in [0, white], which of floating point is most often one of 0 to 255; more than kMaxArrayBytes.
absl::StatusOr<ExampleArray> ParseExamples(absl::string_view npy, std::optional<double> white,
                                           const v1::DatasetRef* data);

// Indices of `data` (null: of anything) from the bytes of a file: integers of any width in one dimension. An index may
// be there twice. Errors: INVALID_ARGUMENT, as above; an index that `data` does not have.
absl::StatusOr<ExampleArray> ParseIndices(absl::string_view npy, const v1::DatasetRef* data);

}  // namespace tightrope
