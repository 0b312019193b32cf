// Files that NumPy wrote, in all the ways that users save examples, and what workers get of them.
#include "core/experiment/example_array.h"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/artifact/npy.h"
#include "core/experiment/npy_bytes_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::DatasetRef Data(uint32_t channels, uint32_t height, uint32_t width, uint64_t count) {
  v1::DatasetRef data;
  data.set_channels(channels);
  data.set_height(height);
  data.set_width(width);
  data.set_count(count);
  return data;
}

template <typename Item>
std::vector<Item> Items(const std::string& npy) {
  const absl::StatusOr<NpyArray> array = ParseNpy(npy);
  EXPECT_OK(array);
  if (!array.ok()) return {};
  std::vector<Item> items(array->data.size() / sizeof(Item));
  std::memcpy(items.data(), array->data.data(), array->data.size());
  return items;
}

TEST(ExampleArrayTest, BytesBecomeWhatModelsSeeOfAnImage) {
  std::vector<uint8_t> pixels;
  for (int i = 0; i < 256; ++i) pixels.push_back(static_cast<uint8_t>(i));
  const v1::DatasetRef data = Data(1, 4, 8, 10);
  const auto array = ParseExamples(NpyBytes("|u1", {8, 4, 8}, pixels), std::nullopt, &data);
  ASSERT_OK(array);
  EXPECT_EQ(array->count, 8u);
  EXPECT_EQ(array->white, 255);
  const std::vector<float> values = Items<float>(array->npy);
  ASSERT_EQ(values.size(), 256u);
  for (size_t i = 0; i < 256; ++i) EXPECT_EQ(values[i], static_cast<float>(i) / 255.0f) << i;
  EXPECT_THAT(ParseNpy(array->npy)->shape, ElementsAre(8, 1, 4, 8));
}

TEST(ExampleArrayTest, TheSameExamplesAreTheSameBytesHoweverTheyWereSaved) {
  const std::vector<float> grey = {0, 51, 102, 255};
  const auto bytes = ParseExamples(NpyBytes<uint8_t>("|u1", {1, 2, 2}, {0, 51, 102, 255}), std::nullopt, nullptr);
  const auto floats = ParseExamples(NpyBytes("<f4", {1, 1, 2, 2}, grey), 255, nullptr);
  const auto doubles = ParseExamples(NpyBytes<double>("<f8", {1, 2, 2}, {-0.0, 51, 102, 255}), 255, nullptr);
  const auto scaled =
      ParseExamples(NpyBytes<float>("<f4", {1, 2, 2}, {0, 51 / 255.0f, 102 / 255.0f, 1}), std::nullopt, nullptr);
  for (const auto* array : {&bytes, &floats, &doubles, &scaled}) {
    ASSERT_OK(*array);
    EXPECT_EQ((*array)->npy, bytes->npy);
  }
  EXPECT_EQ(scaled->white, 1);
}

TEST(ExampleArrayTest, BlackAndWhiteBytesMayHaveAWhiteOf1) {
  const auto array = ParseExamples(NpyBytes<uint8_t>("|u1", {1, 1, 2}, {0, 1}), 1, nullptr);
  ASSERT_OK(array);
  EXPECT_THAT(Items<float>(array->npy), ElementsAre(0, 1));
}

// A published evaluation fed such a file to its models unscaled.
TEST(ExampleArrayTest, FloatingPointInPixelValues_IsRefusedWithTheRemedy) {
  EXPECT_THAT(ParseExamples(NpyBytes<float>("<f4", {1, 2, 2}, {0, 0.5f, 1.5f, 255}), std::nullopt, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("the value 1.5 at [0, 1, 0] is above 1"), HasSubstr("write `white: 255`"))));
}

TEST(ExampleArrayTest, ValueThatIsNoShadeOfGrey_IsRefusedWithItsPlace) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const double value : {-1e-300, infinity, -infinity, std::numeric_limits<double>::quiet_NaN(), 255.0000001}) {
    EXPECT_THAT(ParseExamples(NpyBytes<double>("<f8", {2, 1, 1}, {1, value}), 255, nullptr),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(" at [1, 0, 0] is ")))
        << value;
  }
}

TEST(ExampleArrayTest, WhiteSoSmallThatQuotientsAreNotFinite_IsRefused) {
  EXPECT_THAT(ParseExamples(NpyBytes<float>("<f4", {1, 1, 1}, {0}), 1e-300, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`white` is too small")));
}

TEST(ExampleArrayTest, ColourImagesNeedTheirChannels) {
  const v1::DatasetRef data = Data(3, 2, 2, 10);
  EXPECT_OK(ParseExamples(NpyBytes("|u1", {1, 3, 2, 2}, std::vector<uint8_t>(12)), std::nullopt, &data));
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{3, 2, 2}, {1, 2, 2, 3}, {12}, {12, 1}}) {
    EXPECT_THAT(ParseExamples(NpyBytes("|u1", shape, std::vector<uint8_t>(12)), std::nullopt, &data),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("examples are N x 3 x 2 x 2; this is (")));
  }
}

TEST(ExampleArrayTest, FilesWithoutExamplesOrIndicesAreRefused) {
  const v1::DatasetRef data = Data(1, 2, 2, 10);
  EXPECT_THAT(ParseExamples(NpyBytes<float>("<f4", {0, 2, 2}, {}), std::nullopt, &data),
              StatusIs(absl::StatusCode::kInvalidArgument, "there are no examples in it"));
  EXPECT_THAT(ParseIndices(NpyBytes<int64_t>("<i8", {0}, {}), &data),
              StatusIs(absl::StatusCode::kInvalidArgument, "there are no indices in it"));
}

TEST(ExampleArrayTest, IndicesOfAnyWidthAreTheSameBytes_WhichNumPyWouldWrite) {
  const v1::DatasetRef data = Data(1, 2, 2, 200);
  const auto wide = ParseIndices(NpyBytes<int64_t>("<i8", {3}, {159, 0, 159}), &data);
  ASSERT_OK(wide);
  EXPECT_EQ(wide->count, 3u);
  EXPECT_THAT(Items<int64_t>(wide->npy), ElementsAre(159, 0, 159));
  EXPECT_EQ((wide->npy.size() - 3 * sizeof(int64_t)) % 64, 0u) << "data must be aligned";
  for (const std::string& bytes :
       {NpyBytes<uint8_t>("|u1", {3}, {159, 0, 159}), NpyBytes<int16_t>("<i2", {3}, {159, 0, 159}),
        NpyBytes<uint64_t>("<u8", {3}, {159, 0, 159})}) {
    const auto narrow = ParseIndices(bytes, &data);
    ASSERT_OK(narrow);
    EXPECT_EQ(narrow->npy, wide->npy);
  }
}

TEST(ExampleArrayTest, IndexThatTheDataDoNotHave_IsRefusedWithItsPlace) {
  const v1::DatasetRef data = Data(1, 2, 2, 200);
  const uint64_t huge = ~uint64_t{0};
  EXPECT_THAT(ParseIndices(NpyBytes<int64_t>("<i8", {2}, {199, 200}), &data),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "the index 200 at [1] is not one of the test split, which has 200 examples, numbered from 0"));
  EXPECT_THAT(ParseIndices(NpyBytes<int8_t>("|i1", {1}, {-1}), &data),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the index -1 at [0]")));
  for (const v1::DatasetRef* known : {static_cast<const v1::DatasetRef*>(nullptr), &data}) {
    EXPECT_THAT(ParseIndices(NpyBytes<uint64_t>("<u8", {1}, {huge}), known),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(" at [0] is not one of the test split")));
  }
}

TEST(ExampleArrayTest, MaskInsteadOfIndicesIsRefused) {
  EXPECT_THAT(ParseIndices(NpyBytes<uint8_t>("|b1", {3}, {1, 0, 1}), nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("indices are whole numbers")));
}

TEST(ExampleArrayTest, FileThatClaimsMoreThanItHas_IsRefusedUnread) {
  EXPECT_THAT(ParseExamples(NpyBytes<uint8_t>("|u1", {int64_t{1} << 40, 28, 28}, {}), std::nullopt, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the data does not have the size")));
}

}  // namespace
}  // namespace tightrope
