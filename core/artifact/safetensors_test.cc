#include "core/artifact/safetensors.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "core/artifact/digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string File(const std::string& header, const std::string& data = "") {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return bytes + header + data;
}

// One tensor: File(Tensor("a", "F32", "[2]", "[0,8]"), 8 bytes) is well-formed.
std::string Tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape, ",\"data_offsets\":", offsets,
                      "}");
}

SafeTensors Example() {
  SafeTensors tensors;
  tensors.metadata = {{"format", "pt"}, {"job", "\"7\""}};
  tensors.tensors["conv.weight"] = {"F32", {1, 2}, std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8)};
  tensors.tensors["a.mask"] = {"U8", {3}, "\x01\x02\x03"};
  tensors.tensors["step"] = {"I64", {}, std::string("\x05\0\0\0\0\0\0\0", 8)};
  tensors.tensors["empty"] = {"F32", {0, 4}, ""};
  return tensors;
}

// Digests name models: these bytes must never change.
TEST(SafeTensorsTest, GoldenBytes) {
  const std::string header =
      absl::StrCat(R"({"__metadata__":{"format":"pt","job":"\"7\""},)", Tensor("step", "I64", "[]", "[0,8]"), ",",
                   Tensor("conv.weight", "F32", "[1,2]", "[8,16]"), ",", Tensor("empty", "F32", "[0,4]", "[16,16]"),
                   ",", Tensor("a.mask", "U8", "[3]", "[16,19]"), "}");
  ASSERT_EQ(header.size() % 8, 7u);
  const std::string data("\x05\0\0\0\0\0\0\0\x00\x00\x80\x3f\x00\x00\x00\xc0\x01\x02\x03", 19);
  const std::string bytes = WriteSafeTensors(Example());
  EXPECT_EQ(bytes, File(header + " ", data));
  EXPECT_EQ(Sha256(bytes), "08e0d432018022718f9d130abb08cbfc4f0d512392227d539576b9cbac36a5e3");
}

TEST(SafeTensorsTest, WhatIsWrittenIsRead) {
  const auto read = ParseSafeTensors(WriteSafeTensors(Example()));
  ASSERT_OK(read);
  EXPECT_TRUE(*read == Example());
  EXPECT_EQ(WriteSafeTensors(*read), WriteSafeTensors(Example()));
}

TEST(SafeTensorsTest, NoTensorsAtAll) {
  const std::string bytes = WriteSafeTensors({});
  EXPECT_EQ(bytes, File("{}      "));
  const auto read = ParseSafeTensors(bytes);
  ASSERT_OK(read);
  EXPECT_THAT(read->tensors, IsEmpty());
}

TEST(SafeTensorsTest, EveryTensorIsAlignedToItsItems) {
  SafeTensors tensors;
  tensors.tensors["a"] = {"U8", {1}, "x"};
  tensors.tensors["b"] = {"BF16", {1}, "xx"};
  tensors.tensors["c"] = {"F64", {1}, "12345678"};
  tensors.tensors["d"] = {"F32", {1}, "1234"};
  tensors.tensors["e"] = {"F64", {1}, "87654321"};
  const std::string bytes = WriteSafeTensors(tensors);
  EXPECT_THAT(bytes, HasSubstr("12345678876543211234xxx"));
  EXPECT_EQ(bytes.find("12345678") % 8, 0u);
}

TEST(SafeTensorsTest, FilesOfOtherWriters_TensorsInAnyOrderAndNamesInUtf8) {
  const auto read = ParseSafeTensors(File(absl::StrCat("{", Tensor("größe", "U8", "[1]", "[2,3]"), ",\n ",
                                                       Tensor("a\\u0041", "BOOL", "[2]", "[0,2]"), "}\n  "),
                                          "xyz"));
  ASSERT_OK(read);
  EXPECT_EQ(read->tensors.at("größe").data, "z");
  EXPECT_EQ(read->tensors.at("aA").data, "xy");
}

TEST(SafeTensorsTest, BrokenFilesSayWhatIsWrong) {
  const std::string good = Tensor("a", "F32", "[2]", "[0,8]");
  const std::string data = "12345678";
  const auto one = [](const std::string& tensor) { return absl::StrCat("{", tensor, "}"); };
  std::string long_shape = "[";
  for (int i = 0; i < 64; ++i) long_shape += "1,";
  long_shape += "1]";
  std::string huge_header = File("{}");
  std::memset(huge_header.data(), 0xff, 8);
  std::string header_over_limit = File("{}");
  header_over_limit[3] = 1;  // 16 MiB and two bytes

  struct Case {
    std::string bytes;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"", "shorter than the 8 bytes"},
      {"1234567", "shorter than the 8 bytes"},
      {huge_header, "header longer than 16 MiB, bytes: 18446744073709551615"},
      {header_over_limit, "header longer than 16 MiB, bytes: 16777218"},
      {File(one(good), data).substr(0, 30), "header longer than the file"},
      {File(""), "does not start with '{'"},
      {File("  {}"), "does not start with '{'"},
      {File("[]"), "does not start with '{'"},
      {File("{"), "not JSON, at byte 2"},
      {File("{} {}"), "not JSON"},
      {File(std::string("{}\0", 3)), "not JSON, at byte 3"},
      {File(std::string("{\"\0\":{}}", 8)), "not JSON, at byte 3"},
      {File("{\"\xff\":{}}"), "not JSON"},
      {File(one("\"a\":{\"shape\":[1e999]}")), "not JSON"},
      {File(std::string(1 << 20, '{')), "not JSON"},
      {File("{\"a\":" + std::string(1 << 20, '[')), "an array where none belongs"},
      {File("{\"a\":{\"shape\":" + std::string(1 << 20, '[')), "an array where none belongs"},
      {File("{\"a\":{\"shape\":{}}}"), "nested deeper than a header is"},
      {File("{\"a\":\"text\"}"), "a string where none belongs: text"},
      {File("{\"a\":1}"), "a number where none belongs"},
      {File("{\"a\":null}"), "null where"},
      {File("{\"a\":{\"dtype\":true}}"), "a boolean where"},
      {File("{\"a\":{\"dtype\":[\"F32\"]}}"), "an array where none belongs"},
      {File("{\"a\":{\"shape\":[\"2\"]}}"), "a string where none belongs: 2"},
      {File("{\"__metadata__\":{\"a\":1}}"), "a number where none belongs"},
      {File("{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}"), "a key that comes twice: a"},
      {File("{\"__metadata__\":{},\"__metadata__\":{}}"), "a key that comes twice: __metadata__"},
      {File(one(good + "," + good), data), "a key that comes twice: a"},
      {File("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}"), "a key that comes twice: dtype"},
      {File("{\"a\":{\"device\":\"cuda\"}}"), "an unknown key: device"},
      {File("{\"a\":{}}"), "lacks one of dtype, shape, data_offsets: a"},
      {File(one(Tensor("a", "F128", "[2]", "[0,8]")), data), "an unknown dtype: F128"},
      {File(one(Tensor("a", "F32", "[-2]", "[0,8]")), data), "a negative number"},
      {File(one(Tensor("a", "F32", "[2.0]", "[0,8]")), data), "not a non-negative integer"},
      {File(one(Tensor("a", "F32", "[18446744073709551615]", "[0,8]")), data), "a number beyond 63 bits"},
      {File(one(Tensor("a", "F32", long_shape, "[0,4]")), "1234"), "more dimensions than 64"},
      {File(one(Tensor("a", "F32", "[2]", "[0]")), data), "data_offsets are not two numbers, of tensor a"},
      {File(one(Tensor("a", "F32", "[2]", "[0,8,8]")), data), "data_offsets are not two numbers, of tensor a"},
      {File(one(Tensor("a", "F32", "[2]", "[8,0]")), data), "end before they begin, of tensor a"},
      {File(one(Tensor("a", "F32", "[3]", "[0,12]")), data), "beyond the end of the file, of tensor a"},
      {File(one(Tensor("a", "F32", "[1000000000000]", "[0,4000000000000]")), data), "beyond the end of the file"},
      {File(one(Tensor("a", "F32", "[3]", "[0,8]")), data), "8 bytes for [3] of F32, tensor a"},
      {File(one(Tensor("a", "F32", "[4294967296,4294967296,2]", "[0,8]")), data), "do not fit dtype and shape"},
      {File(one(Tensor("a", "F32", "[4611686018427387904]", "[0,0]"))), "do not fit dtype and shape"},  // 2^62 · 4
      {File(one(Tensor("a", "U8", "[5]", "[0,5]") + "," + Tensor("b", "U8", "[4]", "[4,8]")), data),
       "overlap, at tensor b"},
      {File(one(Tensor("a", "U8", "[8]", "[0,8]") + "," + Tensor("b", "U8", "[8]", "[0,8]")), data),
       "overlap, at tensor"},
      {File(one(Tensor("a", "U8", "[3]", "[0,3]") + "," + Tensor("b", "U8", "[4]", "[4,8]")), data),
       "leave a gap, before tensor b"},
      {File(one(Tensor("b", "U8", "[7]", "[1,8]")), data), "leave a gap, before tensor b"},
      {File(one(good), data + "9"), "bytes after the last tensor: 1"},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    EXPECT_THAT(ParseSafeTensors(broken.bytes),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("broken safetensors file: "), HasSubstr(broken.message))));
  }
}

TEST(SafeTensorsTest, MessagesOfHostileFilesAreShortAndPrintable) {
  const auto read = ParseSafeTensors(File(absl::StrCat("{\"a\":\"\x1b[2J", std::string(100000, 'x'), "\"}")));
  EXPECT_THAT(read, StatusIs(absl::StatusCode::kInvalidArgument, ::testing::Not(HasSubstr("\x1b"))));
  EXPECT_LT(read.status().message().size(), 1000u);
  const auto named = ParseSafeTensors(File(absl::StrCat("{\"\\u001b[2J", std::string(100000, 'x'), "\":{}}")));
  EXPECT_THAT(named, StatusIs(absl::StatusCode::kInvalidArgument, ::testing::Not(HasSubstr("\x1b"))));
  EXPECT_LT(named.status().message().size(), 1000u);
}

}  // namespace
}  // namespace tightrope
