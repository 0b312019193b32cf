#include "core/artifact/npy.h"

#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/artifact/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/shared_data.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A file of format `major`.0 with this header text.
std::string File(const std::string& header, const std::string& data = "", int major = 1) {
  std::string bytes("\x93NUMPY", 6);
  bytes += static_cast<char>(major);
  bytes += '\0';
  for (int i = 0; i < (major == 1 ? 2 : 4); ++i) bytes += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return bytes + header + data;
}

std::vector<float> Floats(const NpyArray& array) {
  std::vector<float> values(array.data.size() / sizeof(float));
  std::memcpy(values.data(), array.data.data(), array.data.size());
  return values;
}

TEST(NpyTest, IndicesAreReadBackAsSixtyFourBitIntegers) {
  const std::vector<int64_t> indices = {159, 0, -1, int64_t{1} << 40};
  const auto array = ParseNpy(WriteIndexNpy(indices));
  ASSERT_OK(array);
  EXPECT_EQ(array->dtype, "<i8");
  EXPECT_EQ(array->shape, std::vector<int64_t>{4});
  ASSERT_EQ(array->data.size(), sizeof(int64_t) * indices.size());
  EXPECT_EQ(std::memcmp(array->data.data(), indices.data(), array->data.size()), 0);
}

TEST(NpyTest, WritesTheBytesThatNumPyWrites) {
  const std::vector<float> values = {1, -2};
  const std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  const std::string data("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8);
  EXPECT_EQ(WriteNpy(values, {2}), File(header + std::string(117 - header.size(), ' ') + "\n", data));
}

TEST(NpyTest, WhatIsWrittenIsRead_InAnyShape) {
  const std::vector<float> values = {1, -2.5f, std::numeric_limits<float>::infinity(), 0, 1e-42f, 6};
  for (const std::vector<int64_t>& shape : std::vector<std::vector<int64_t>>{{6}, {2, 3}, {1, 6, 1, 1}, {3, 1, 2}}) {
    const std::string bytes = WriteNpy(values, shape);
    const auto array = ParseNpy(bytes);
    ASSERT_OK(array);
    EXPECT_EQ(array->dtype, "<f4");
    EXPECT_EQ(array->shape, shape);
    EXPECT_EQ(Floats(*array), values);
    EXPECT_EQ((bytes.size() - array->data.size()) % 64, 0u) << "data must be aligned";
  }
}

TEST(NpyTest, ScalarsAndEmptyArrays) {
  const auto scalar = ParseNpy(WriteNpy({7}, {}));
  ASSERT_OK(scalar);
  EXPECT_THAT(scalar->shape, ElementsAre());
  EXPECT_THAT(Floats(*scalar), ElementsAre(7));
  const auto empty = ParseNpy(WriteNpy({}, {0, 1, 28, 28}));
  ASSERT_OK(empty);
  EXPECT_THAT(empty->shape, ElementsAre(0, 1, 28, 28));
  EXPECT_EQ(empty->data, "");
}

TEST(NpyTest, HeaderMayDifferInOrderSpaceQuotesAndVersion) {
  for (const std::string& bytes :
       {File("{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2)}", "abcd"),
        File("{\"shape\":(1,2,),\"descr\":\"<i2\",\"fortran_order\":False}", "abcd"),
        File("  { 'fortran_order' : False , 'shape' : ( 1L , 2L ) , 'descr' : '<i2' , } \n", "abcd"),
        File("{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2), }\n", "abcd", 2)}) {
    const auto array = ParseNpy(bytes);
    ASSERT_OK(array);
    EXPECT_EQ(array->dtype, "<i2");
    EXPECT_THAT(array->shape, ElementsAre(1, 2));
    EXPECT_EQ(array->data, "abcd");
  }
}

TEST(NpyTest, FilesThatNumPyWrote_AreReadAndWrittenBackByteForByte) {
  TIGHTROPE_NEEDS_SHARED("data/invariance-human-labels/linf/adv_examples.npy");
  const auto bytes = ReadFile(SharedDirectory() + "/data/invariance-human-labels/linf/adv_examples.npy", 1 << 20);
  ASSERT_OK(bytes);
  const auto array = ParseNpy(*bytes);
  ASSERT_OK(array);
  EXPECT_EQ(array->dtype, "<f4");
  EXPECT_THAT(array->shape, ElementsAre(100, 28, 28));
  EXPECT_EQ(WriteNpy(Floats(*array), array->shape), *bytes);
}

TEST(NpyTest, IntegersThatNumPyWrote) {
  TIGHTROPE_NEEDS_SHARED("data/invariance-human-labels/indexs.npy");
  const auto bytes = ReadFile(SharedDirectory() + "/data/invariance-human-labels/indexs.npy", 1 << 20);
  ASSERT_OK(bytes);
  const auto array = ParseNpy(*bytes);
  ASSERT_OK(array);
  EXPECT_EQ(array->dtype, "<i8");
  EXPECT_THAT(array->shape, ElementsAre(100));
}

TEST(NpyTest, BrokenFilesSayWhatIsWrong) {
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  const auto with = [](const std::string& descr, const std::string& order, const std::string& shape) {
    return absl::StrCat("{'descr': ", descr, ", 'fortran_order': ", order, ", 'shape': ", shape, ", }");
  };
  std::string long_shape = "(";
  for (int i = 0; i < 65; ++i) long_shape += "1,";
  long_shape += ")";
  std::string version3 = File(good, "12345678");
  version3[6] = 3;
  std::string header_too_long = File(good, "12345678");
  header_too_long[9] = '\x7f';
  std::string four_gigabyte_header = File(good, "12345678", 2);
  std::memset(four_gigabyte_header.data() + 8, 0xff, 4);

  struct Case {
    std::string bytes;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"", "does not start with \\x93NUMPY"},
      {"PK\x03\x04 an .npz file", "does not start with \\x93NUMPY"},
      {std::string("\x93NUMPY", 6), "truncated in the header"},
      {File(good).substr(0, 9), "truncated in the header"},
      {File(good, "", 2).substr(0, 11), "truncated in the header"},
      {File(good).substr(0, 40), "truncated in the header"},
      {header_too_long, "truncated in the header"},
      {four_gigabyte_header, "truncated in the header"},
      {version3, "versions 1.0 and 2.0 can be read, got 3.0"},
      {File(good, "1234567"), "7 bytes for (2) of <f4"},
      {File(good, "123456789"), "9 bytes for (2) of <f4"},
      {File(with("'<f4'", "False", "(1000000000, 1000000000)")), "0 bytes for (1000000000, 1000000000) of <f4"},
      {File(with("'<f4'", "False", "(4294967296, 4294967296, 4294967296)")), "does not have the size"},
      {File(with("'<f8'", "False", "(2305843009213693952,)")), "does not have the size"},  // 2^61 · 8 = 2^64
      {File(with("'<f4'", "False", "(9223372036854775808,)")), "not a non-negative 64-bit number"},
      {File(with("'<f4'", "False", "(-1,)")), "not a non-negative 64-bit number"},
      {File(with("'<f4'", "False", "(1.5,)")), "the shape is not a tuple"},
      {File(with("'<f4'", "False", "2")), "the shape is not a tuple"},
      {File(with("'<f4'", "False", long_shape)), "more dimensions than 64"},
      {File(with("'<f4'", "True", "(2,)"), "12345678"), "Fortran order cannot be read; save numpy.ascontiguousarray"},
      {File(with("'<f4'", "1", "(2,)"), "12345678"), "fortran_order is neither True nor False"},
      {File(with("'|O'", "False", "(2,)")), "Python objects are never loaded; save numbers, got type |O"},
      {File(with("'>f4'", "False", "(2,)")), "big-endian numbers cannot be read"},
      {File(with("'<U8'", "False", "(2,)")), "unknown type; save booleans, integers or floats"},
      {File(with("'<U8\x1b[2J'", "False", "(2,)")), "got type <U8\\x1b[2J"},
      {File(with("[('a', '<f4')]", "False", "(2,)")), "structured types cannot be read"},
      {File("{'descr': '<f4', 'shape': (2,), }"), "lacks one of descr, fortran_order, shape"},
      {File("{'descr': '<f4', 'descr': '<f4'}"), "an unknown key, or one twice: descr"},
      {File("{'evil': '<f4'}"), "an unknown key, or one twice: evil"},
      {File(good + "x"), "text after the header's dictionary"},
      {File("[1, 2]"), "the header is not a dictionary"},
      {File("{'descr': '<f4'"), "the header is not a dictionary"},
      {File("{'descr"), "the header is not a dictionary"},
      {File(""), "the header is not a dictionary"},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    EXPECT_THAT(ParseNpy(broken.bytes), StatusIs(absl::StatusCode::kInvalidArgument,
                                                 AllOf(HasSubstr("broken .npy file: "), HasSubstr(broken.message))));
  }
}

TEST(NpyTest, LongTypeIsCutInTheMessage) {
  for (const std::string& type :
       {std::string(60'000, 'x'), "O" + std::string(60'000, 'x'), ">" + std::string(60'000, 'x')}) {
    const absl::Status status =
        ParseNpy(File("{'descr': '" + type + "', 'fortran_order': False, 'shape': (2,), }")).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_LT(status.message().size(), 300u);
  }
}

}  // namespace
}  // namespace tightrope
