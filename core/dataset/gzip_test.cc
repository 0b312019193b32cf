#include "core/dataset/gzip.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/gzipped.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

TEST(GzipTest, WhatWasCompressedComesBack_OfAnySize) {
  std::mt19937_64 random(1);
  for (const size_t size :
       {size_t{0}, size_t{1}, (size_t{256} << 10) - 1, size_t{256} << 10, (size_t{256} << 10) + 1, size_t{3'000'000}}) {
    std::string plain(size, '\0');
    for (char& c : plain) c = static_cast<char>(random() % 7);
    const auto back = Gunzip(Gzipped(plain), size);
    ASSERT_OK(back);
    EXPECT_TRUE(*back == plain) << size;
  }
}

TEST(GzipTest, SeveralMembersAreOneText) {
  const auto both = Gunzip(Gzipped("first ") + Gzipped("") + Gzipped("second"), 100);
  ASSERT_OK(both);
  EXPECT_EQ(*both, "first second");
}

TEST(GzipTest, DataThatEndsExactlyAtTheLimitIsFine_OneByteMoreIsNot) {
  const std::string compressed = Gzipped(std::string(1000, 'x'));
  EXPECT_OK(Gunzip(compressed, 1000));
  EXPECT_THAT(Gunzip(compressed, 999), StatusIs(absl::StatusCode::kInvalidArgument,
                                                HasSubstr("larger than the limit when uncompressed, bytes: 999")));
}

TEST(GzipTest, BombIsGivenUpAtTheLimit) {
  // Half a gigabyte of zeros in half a megabyte: one member of 1 MiB, 512 times.
  std::string bomb;
  const std::string member = Gzipped(std::string(1 << 20, '\0'));
  for (int i = 0; i < 512; ++i) bomb += member;
  EXPECT_THAT(Gunzip(bomb, 2 << 20), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("larger than the limit")));
}

TEST(GzipTest, BrokenDataSaysWhatIsWrong) {
  const std::string good = Gzipped("some text that is long enough to be compressed compressed compressed");
  std::string wrong_crc = good;
  wrong_crc[good.size() - 8] ^= 1;
  std::string wrong_length = good;
  wrong_length[good.size() - 1] ^= 1;
  std::string wrong_data = good;
  wrong_data[20] ^= '\x55';
  std::string wrong_method = good;
  wrong_method[2] = 9;
  struct Case {
    std::string bytes;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"", "truncated gzip data"},
      {good.substr(0, 2), "truncated gzip data"},
      {good.substr(0, 9), "truncated gzip data"},
      {good.substr(0, good.size() / 2), "truncated gzip data"},
      {good.substr(0, good.size() - 1), "truncated gzip data"},
      {good + good.substr(0, 12), "truncated gzip data"},
      {wrong_crc, "corrupt gzip data; copy or download the file again: incorrect data check"},
      {wrong_length, "corrupt gzip data; copy or download the file again: incorrect length check"},
      {wrong_data, "corrupt gzip data"},
      {wrong_method, "corrupt gzip data; copy or download the file again: unknown compression method"},
      {"not gzip at all", "corrupt gzip data; copy or download the file again: incorrect header check"},
      {good + "x", "bytes after the end of the gzip data"},
      {good + std::string(512, '\0'), "bytes after the end of the gzip data"},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    EXPECT_THAT(Gunzip(broken.bytes, 1 << 20), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(broken.message)));
  }
}

TEST(GzipTest, ToldByTheFirstTwoBytes) {
  EXPECT_TRUE(IsGzip(Gzipped("")));
  EXPECT_TRUE(IsGzip("\x1f\x8b"));
  EXPECT_FALSE(IsGzip("\x1f"));
  EXPECT_FALSE(IsGzip(""));
  EXPECT_FALSE(IsGzip("PK"));
}

}  // namespace
}  // namespace tightrope
