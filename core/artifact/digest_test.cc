#include "core/artifact/digest.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

// FIPS 180-4 examples.
TEST(DigestTest, KnownAnswers) {
  EXPECT_EQ(Sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Sha256(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(DigestTest, PiecesOfAnySizeGiveTheDigestOfTheWhole) {
  std::mt19937_64 random(1);
  std::string data(300000, '\0');
  for (char& c : data) c = static_cast<char>(random());
  const std::string whole = Sha256(data);
  for (int trial = 0; trial < 20; ++trial) {
    Sha256Stream stream;
    absl::string_view rest = data;
    while (!rest.empty()) {
      const absl::string_view piece = rest.substr(0, random() % 40000);
      stream.Update(piece);
      rest.remove_prefix(piece.size());
    }
    EXPECT_EQ(stream.Finish(), whole);
  }
}

TEST(DigestTest, FileHasTheDigestOfItsBytes) {
  const TemporaryDirectory directory;
  // Around the size of the pieces that a file is read in.
  for (const size_t size : {size_t{0}, size_t{1}, (size_t{1} << 20) - 1, size_t{1} << 20, (size_t{1} << 20) + 1}) {
    const std::string bytes(size, 'x');
    const auto digest = Sha256OfFile(directory.Write("file", bytes));
    ASSERT_OK(digest);
    EXPECT_EQ(*digest, Sha256(bytes)) << size;
  }
  EXPECT_THAT(Sha256OfFile(directory / "missing"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
  EXPECT_THAT(Sha256OfFile(directory.path()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("directory")));
}

TEST(DigestTest, OnlySixtyFourLowerCaseHexadecimalDigitsAreADigest) {
  const std::string digest = Sha256("abc");
  EXPECT_TRUE(IsSha256(digest));
  EXPECT_FALSE(IsSha256(""));
  EXPECT_FALSE(IsSha256(digest.substr(1)));
  EXPECT_FALSE(IsSha256(digest + "0"));
  for (const char wrong : {'A', 'g', '/', '.', ' ', '\0', '`', ':', '\xff'}) {
    std::string changed = digest;
    changed[40] = wrong;
    EXPECT_FALSE(IsSha256(changed)) << wrong;
  }
}

}  // namespace
}  // namespace tightrope
