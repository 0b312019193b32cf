// The published invariance-based examples with their human labels, and MNIST, which they were made from, for tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "core/artifact/file.h"
#include "core/artifact/npy.h"
#include "core/dataset/dataset.h"
#include "core/oracle/label_table.h"
#include "core/oracle/oracle.h"
#include "gtest/gtest.h"
#include "tests/shared_data.h"
#include "tests/status_matchers.h"

namespace tightrope {

// A file of one of the sets, and what is published of it.
struct PublishedSet {
  std::string name;  // below data/invariance-human-labels, without _labels and .npy
  std::string indices;
  uint64_t count = 0;
  uint64_t changed = 0;  // human label ≠ label of the source
};

inline std::vector<PublishedSet> PublishedSets() {
  return {{"l0/automated", "indexs", 100, 55},
          {"linf/automated_eps03", "indexs", 100, 21},
          {"linf/automated_eps04", "indexs", 100, 37},
          {"linf/manual_eps04", "linf/manual_indexs", 50, 44}};
}

inline std::string PublishedBytes(const std::string& name) {
  const auto bytes = ReadFile(SharedDirectory() + "/data/invariance-human-labels/" + name + ".npy", 1 << 24);
  EXPECT_OK(bytes);
  return bytes.ok() ? *bytes : "";
}

template <typename Item>
std::vector<Item> ItemsOf(const NpyArray& array) {
  std::vector<Item> items(array.data.size() / sizeof(Item));
  std::memcpy(items.data(), array.data.data(), items.size() * sizeof(Item));
  return items;
}

struct PublishedExamples {
  std::vector<uint64_t> examples;  // 0, 1, …
  std::vector<uint64_t> sources;   // index in the test split
  std::vector<float> images;       // in [0, 1]
  std::vector<int32_t> humans;

  OracleQuestions Questions() const { return {examples, sources, images}; }
};

inline PublishedExamples ReadPublished(const PublishedSet& set) {
  PublishedExamples read;
  const auto indices = ParseNpy(PublishedBytes(set.indices));
  const auto images = ParseNpy(PublishedBytes(set.name));
  const auto labels = LabelTable::Parse(PublishedBytes(set.name + "_labels"), {set.count, 10});
  EXPECT_OK(indices);
  EXPECT_OK(images);
  EXPECT_OK(labels);
  if (!indices.ok() || !images.ok() || !labels.ok()) return read;
  for (const int64_t source : ItemsOf<int64_t>(*indices)) read.sources.push_back(static_cast<uint64_t>(source));
  // The set of ε = 0.3 has fractions of grey levels, the others whole ones; all are in 0 … 255.
  if (images->dtype == "<f4") {
    for (const float value : ItemsOf<float>(*images)) read.images.push_back(value / 255);
  } else {
    for (const uint8_t value : ItemsOf<uint8_t>(*images)) read.images.push_back(static_cast<float>(value) / 255);
  }
  for (uint64_t i = 0; i < set.count; ++i) {
    read.examples.push_back(i);
    read.humans.push_back(labels->VoteOf(i).label);
  }
  EXPECT_EQ(read.sources.size(), set.count);
  EXPECT_EQ(read.images.size(), set.count * 784);
  return read;
}

inline Dataset ReadMnist(v1::Split split) {
  const auto files = ResolveDataset("mnist", split, {SharedDirectory() + "/data"});
  EXPECT_OK(files);
  if (!files.ok()) return {};
  auto data = LoadDataset(files->ref, files->images, files->labels);
  EXPECT_OK(data);
  return data.ok() ? *std::move(data) : Dataset();
}

}  // namespace tightrope
