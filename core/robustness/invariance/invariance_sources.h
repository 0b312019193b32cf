// What jobs on invariance-based examples are given: which examples of the data the sources are, and the examples. Both
// may come as arrays from users and from other machines, so their type, their shape and every number is checked.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// The sources of a shard, in the order of their set.
struct InvarianceSources {
  uint64_t begin = 0;                  // the first one's position in the set
  absl::Span<const uint64_t> indices;  // in `data`
  const Dataset& data;
};

// Errors: INVALID_ARGUMENT (an index that is no example, arrays that are not of the size that the shape of `data`
// says).
absl::Status CheckSources(const InvarianceSources& sources);

// Of the sources at the positions of `range`, their indices in a data set of `examples`. `array`: the .npy file that
// `sources` names, int64; empty where it names none. Errors: INVALID_ARGUMENT (a range beyond the set, a source that is
// no example of the data, an array of another type or shape).
absl::StatusOr<std::vector<uint64_t>> SourceIndices(const v1::Sources& sources, const v1::Shard& range,
                                                    absl::string_view array, uint64_t examples);

// Where rows stand in an array of examples.
struct RowRange {
  uint64_t rows = 0;            // that the array has
  uint64_t begin = 0, end = 0;  // those that are wanted
};

// Examples as they are stored, one after another: rows [begin, end) of a .npy file, float32, rows×C×H×W as `data` has
// them. What the values are is not looked at. REQUIRES: begin ≤ end ≤ rows. Errors: INVALID_ARGUMENT (another type or
// shape).
absl::StatusOr<std::vector<float>> ExampleRows(absl::string_view array, const Dataset& data, const RowRange& range);

}  // namespace tightrope
