// Images as models see them, and how far one is from another.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// pixel / 255 in float32.
std::vector<float> InputValues(absl::Span<const uint8_t> pixels);

// Of the values as they are stored: differences of float32 in double, added in their order; l0 is the number of
// elements that differ. REQUIRES: equally many of both.
v1::ExampleRecord::Nearest InputDistances(absl::Span<const float> from, absl::Span<const float> to);

}  // namespace tightrope
