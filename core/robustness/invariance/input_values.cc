#include "core/robustness/invariance/input_values.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>

namespace tightrope {

std::vector<float> InputValues(absl::Span<const uint8_t> pixels) {
  std::vector<float> values;
  values.reserve(pixels.size());
  for (const uint8_t pixel : pixels) values.push_back(static_cast<float>(pixel) / 255.0f);
  return values;
}

v1::ExampleRecord::Nearest InputDistances(absl::Span<const float> from, absl::Span<const float> to) {
  assert(from.size() == to.size());
  double largest = 0, squares = 0, sum = 0, changed = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    const double difference = std::abs(double{to[i]} - double{from[i]});
    largest = std::max(largest, difference);
    squares += difference * difference;
    sum += difference;
    changed += from[i] != to[i] ? 1 : 0;
  }
  v1::ExampleRecord::Nearest distances;
  distances.set_linf(largest);
  distances.set_l2(std::sqrt(squares));
  distances.set_l1(sum);
  distances.set_l0(changed);
  return distances;
}

}  // namespace tightrope
