// What the tests of the invariance attacks share: MNIST and the arrays that the authors released, and small random
// sets. A test that reads a shared file asks for it first (TIGHTROPE_NEEDS_SHARED).
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "core/artifact/file.h"
#include "core/artifact/npy.h"
#include "core/dataset/dataset.h"
#include "core/experiment/target_table.h"
#include "core/robustness/invariance/linf_attack.h"
#include "gtest/gtest.h"
#include "tests/shared_data.h"
#include "tests/status_matchers.h"

namespace tightrope {

inline Dataset Mnist(v1::Split split) {
  const auto files = ResolveDataset("mnist", split, {SharedDirectory() + "/data"});
  EXPECT_OK(files);
  auto data = ParseIdx(files->images, files->labels, files->ref.classes());
  EXPECT_OK(data);
  return *std::move(data);
}

// One array of data/invariance-human-labels, as T.
template <typename T>
std::vector<T> Published(const std::string& name) {
  const auto bytes = ReadFile(SharedDirectory() + "/data/invariance-human-labels/" + name + ".npy", 1 << 26);
  EXPECT_OK(bytes);
  const auto array = ParseNpy(*bytes);
  EXPECT_OK(array);
  std::vector<T> values(array->data.size() / sizeof(T));
  std::memcpy(values.data(), array->data.data(), array->data.size());
  return values;
}

// The authors' table, from where experiments have it.
inline TargetTable PublishedTargets() {
  TargetTable table(10);
  const auto rows = ParseTargets("published", 10);
  EXPECT_OK(rows);
  for (const v1::TargetRow& row : *rows) table[row.label()].assign(row.targets().begin(), row.targets().end());
  return table;
}

// Image i of images that stand one behind the other.
template <typename T>
absl::Span<const T> ImageAt(const std::vector<T>& images, size_t i, size_t elements = 784) {
  return absl::MakeConstSpan(images).subspan(i * elements, elements);
}

// The published 100 sources: those examples of MNIST's test split.
inline Dataset PublishedSources() {
  const Dataset test = Mnist(v1::SPLIT_TEST);
  Dataset sources;
  sources.channels = 1;
  sources.height = sources.width = 28;
  sources.classes = 10;
  for (const int64_t index : Published<int64_t>("indexs")) {
    const auto image = ImageAt(test.pixels, static_cast<size_t>(index));
    sources.pixels.insert(sources.pixels.end(), image.begin(), image.end());
    sources.labels.push_back(test.labels[static_cast<size_t>(index)]);
    ++sources.count;
  }
  return sources;
}

// Images of random pixels, multiples of `step`, and random labels.
inline Dataset RandomImages(uint64_t count, uint32_t channels, uint32_t height, uint32_t width, uint32_t classes,
                            int step, uint32_t seed) {
  std::mt19937 generator(seed);
  Dataset data;
  data.count = count;
  data.channels = channels;
  data.height = height;
  data.width = width;
  data.classes = classes;
  for (uint64_t i = 0; i < count; ++i) {
    for (uint32_t e = 0; e < channels * height * width; ++e) {
      data.pixels.push_back(
          static_cast<uint8_t>(generator() % 256 / static_cast<uint32_t>(step) * static_cast<uint32_t>(step)));
    }
    data.labels.push_back(static_cast<uint8_t>(generator() % classes));
  }
  return data;
}

}  // namespace tightrope
