// A small made-up data set for tests and benchmarks, and the distance that its readers compute.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "core/random/random_stream.h"
#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// `count` images of side×side pixels, mid-grey with noise. An image of class k is brighter in every pixel whose index
// is k modulo `classes`; `contrast` in [0, 1] says how much, so how far apart the classes are.
inline Dataset MakeToyDataset(uint32_t count, uint32_t side, uint32_t classes, double contrast, uint64_t seed = 1) {
  Dataset data;
  data.count = count;
  data.channels = 1;
  data.height = side;
  data.width = side;
  data.classes = classes;
  const RandomStream stream(seed, "toy data set", "pixels");
  std::vector<float> noise(side * side);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t label = i % classes;
    data.labels.push_back(static_cast<uint8_t>(label));
    stream.Uniform({.example = i}, absl::MakeSpan(noise));
    for (uint32_t pixel = 0; pixel < side * side; ++pixel) {
      const double signal = pixel % classes == label ? contrast : 0;
      data.pixels.push_back(static_cast<uint8_t>(255 * (0.3 + 0.4 * signal + 0.3 * noise[pixel])));
    }
  }
  return data;
}

// The reference to it, as a plan would have it.
inline v1::DatasetRef ToyReference(const Dataset& data) {
  v1::DatasetRef reference;
  reference.set_name("toy");
  reference.set_count(data.count);
  reference.set_channels(data.channels);
  reference.set_height(data.height);
  reference.set_width(data.width);
  reference.set_classes(data.classes);
  return reference;
}

// As a reader of the stored values would compute it.
inline double Distance(v1::Norm norm, absl::Span<const float> from, absl::Span<const float> to) {
  double largest = 0, squares = 0, sum = 0, changed = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    const double difference = std::abs(double{to[i]} - double{from[i]});
    largest = std::max(largest, difference);
    squares += difference * difference;
    sum += difference;
    changed += from[i] != to[i] ? 1 : 0;
  }
  if (norm == v1::NORM_L0) return changed;
  return norm == v1::NORM_L2 ? std::sqrt(squares) : norm == v1::NORM_L1 ? sum : largest;
}

}  // namespace tightrope
