#include "core/robustness/invariance/invariance_sources.h"

#include <string>

#include "core/artifact/npy.h"
#include "core/robustness/invariance/invariance_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::Shard Range(uint64_t begin, uint64_t end) {
  v1::Shard range;
  range.set_begin(begin);
  range.set_end(end);
  return range;
}

v1::Sources FirstOf(uint64_t count, uint64_t first) {
  v1::Sources sources;
  sources.set_count(count);
  sources.set_first(first);
  return sources;
}

v1::Sources Listed(uint64_t count) {
  v1::Sources sources;
  sources.set_count(count);
  sources.set_indices_sha256("an array");
  return sources;
}

TEST(InvarianceSourcesTest, WithoutAnArrayTheyAreTheExamplesFromTheFirstOn) {
  EXPECT_THAT(*SourceIndices(FirstOf(5, 3), Range(1, 4), "", 8), ElementsAre(4, 5, 6));
  EXPECT_THAT(*SourceIndices(FirstOf(5, 3), Range(5, 5), "", 8), ElementsAre());
}

TEST(InvarianceSourcesTest, AnArrayNamesThemInAnyOrderAndMoreThanOnce) {
  const std::vector<int64_t> indices = {7, 0, 7, 2};
  EXPECT_THAT(*SourceIndices(Listed(4), Range(0, 4), WriteIndexNpy(indices), 8), ElementsAre(7, 0, 7, 2));
  EXPECT_THAT(*SourceIndices(Listed(4), Range(2, 3), WriteIndexNpy(indices), 8), ElementsAre(7));
}

TEST(InvarianceSourcesTest, SourcesThatAreNotThereAreRefused) {
  const auto refused = [](const v1::Sources& sources, const v1::Shard& range, const std::string& array,
                          const std::string& message) {
    EXPECT_THAT(SourceIndices(sources, range, array, 8),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused(FirstOf(5, 3), Range(4, 6), "", "not inside the set of 5 sources: [4, 6)");
  refused(FirstOf(5, 3), Range(4, 3), "", "[4, 3)");
  refused(FirstOf(5, 4), Range(0, 1), "", "5 sources from example 4 on go beyond the data's 8");
  refused(FirstOf(5, UINT64_MAX), Range(0, 1), "", "go beyond");
  refused(FirstOf(UINT64_MAX, 1), Range(0, 1), "", "go beyond");
  refused(Listed(3), Range(0, 3), WriteIndexNpy(std::vector<int64_t>{0, 8, 1}), "at position 1: 8");
  refused(Listed(3), Range(0, 3), WriteIndexNpy(std::vector<int64_t>{0, 1, -1}), "at position 2: -1");
}

TEST(InvarianceSourcesTest, AnArrayOfAnotherTypeOrShapeIsRefused) {
  const auto refused = [](const std::string& array, const std::string& message) {
    EXPECT_THAT(SourceIndices(Listed(2), Range(0, 2), array, 8),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("array of sources"), HasSubstr(message))));
  };
  refused(WriteIndexNpy(std::vector<int64_t>{0, 1, 2}), "must be <i8 of shape (2), as the job and its data say; got");
  refused(WriteNpy(std::vector<float>{0, 1}, {2}), "got <f4 of shape (2)");
  refused("", "broken .npy file");
  refused("index\n0\n1\n", "broken .npy file");
}

TEST(InvarianceSourcesTest, IndicesAndArraysAreChecked) {
  const std::vector<uint64_t> indices = {2, 3, 0};
  Dataset data = RandomImages(4, 1, 2, 2, 2, 1, 1);
  EXPECT_OK(CheckSources({.begin = 10, .indices = indices, .data = data}));
  const std::vector<uint64_t> beyond = {2, 4, 0};
  EXPECT_THAT(CheckSources({.begin = 10, .indices = beyond, .data = data}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data of 4; at position 11: 4")));
  data.labels.pop_back();
  EXPECT_THAT(CheckSources({.begin = 10, .indices = indices, .data = data}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16 pixels and 3 labels")));
}

TEST(InvarianceSourcesTest, RowsOfAnArrayOfExamplesAreRead) {
  const Dataset data = RandomImages(1, 2, 1, 3, 2, 1, 1);
  std::vector<float> values;
  for (int i = 0; i < 24; ++i) values.push_back(static_cast<float>(i));
  const std::string array = WriteNpy(values, {4, 2, 1, 3});
  EXPECT_THAT(*ExampleRows(array, data, {.rows = 4, .begin = 1, .end = 2}), ElementsAre(6, 7, 8, 9, 10, 11));
  EXPECT_EQ(*ExampleRows(array, data, {.rows = 4, .begin = 0, .end = 4}), values);
  EXPECT_THAT(*ExampleRows(array, data, {.rows = 4, .begin = 4, .end = 4}), ElementsAre());
}

TEST(InvarianceSourcesTest, ExamplesOfAnotherTypeOrShapeAreRefused) {
  const Dataset data = RandomImages(1, 1, 2, 2, 2, 1, 1);
  const std::vector<float> values(12);
  const auto refused = [&](const std::string& array, const std::string& message) {
    EXPECT_THAT(
        ExampleRows(array, data, {.rows = 3, .begin = 0, .end = 1}),
        StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("array of examples"), HasSubstr(message))));
  };
  EXPECT_OK(ExampleRows(WriteNpy(values, {3, 1, 2, 2}), data, {.rows = 3, .begin = 0, .end = 1}));
  refused(WriteNpy(values, {3, 2, 2}), "must be <f4 of shape (3, 1, 2, 2), as the job and its data say; got <f4 of ");
  refused(WriteNpy(values, {12}), "got <f4 of shape (12)");
  refused(WriteNpy(std::vector<float>(8), {2, 1, 2, 2}), "got <f4 of shape (2, 1, 2, 2)");
  refused(WriteIndexNpy(std::vector<int64_t>{1, 2, 3}), "got <i8 of shape (3)");
  refused(WriteNpy(values, {3, 1, 2, 2}).substr(0, 130), "does not have the size that the header gives");
}

}  // namespace
}  // namespace tightrope
