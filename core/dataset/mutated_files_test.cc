// Parsers under random damage: valid files with bytes flipped, cut, repeated and overwritten, from a fixed seed.
// Whatever comes out is an error or a consistent value; the sanitizer builds watch for everything else.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "core/artifact/npy.h"
#include "core/artifact/safetensors.h"
#include "core/dataset/dataset.h"
#include "core/dataset/gzip.h"
#include "gtest/gtest.h"
#include "tests/gzipped.h"
#include "tests/idx_bytes.h"

namespace tightrope {
namespace {

constexpr int kTrials = 10'000;

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  // `bytes` after one to four mutations.
  std::string operator()(std::string bytes) {
    for (uint64_t left = 1 + random_() % 4; left > 0 && !bytes.empty(); --left) Mutate(bytes);
    return bytes;
  }

 private:
  void Mutate(std::string& bytes) {
    // Headers decide what a parser does: half of the damage goes to the first bytes.
    const size_t reach = random_() % 2 == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 32);
    const size_t at = random_() % reach;
    switch (random_() % 7) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random_() % 8));
        break;
      case 1:
        bytes[at] = static_cast<char>(random_());
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.erase(at, 1 + random_() % 8);
        break;
      case 4:
        bytes.insert(at, bytes.substr(at, 1 + random_() % 16));
        break;
      case 5: {  // a number as wide as those of headers, and extreme
        constexpr uint64_t kExtremes[] = {0, 1, 0x7fffffff, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff};
        const uint64_t value = kExtremes[random_() % std::size(kExtremes)];
        std::memcpy(bytes.data() + at, &value, std::min<size_t>(bytes.size() - at, random_() % 2 == 0 ? 4 : 8));
        break;
      }
      default: {  // text that means something in a header
        constexpr const char* kWords[] = {
            "99999999999999999999", "-1", "[", "{", "}", "\"", "'", "(", ",", "null", "\\u0000", "1e9"};
        bytes.insert(at, kWords[random_() % std::size(kWords)]);
        break;
      }
    }
  }

  std::mt19937_64 random_;
};

TEST(MutatedFilesTest, Idx) {
  const std::string images = IdxImageBytes(3, 4, 5, std::string(60, 'p'));
  const std::string labels = IdxLabelBytes("abc");
  Mutator mutate(1);
  int parsed = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto dataset =
        ParseIdx(trial % 2 == 0 ? mutate(images) : images, trial % 2 == 1 ? mutate(labels) : labels, 0);
    if (!dataset.ok()) continue;
    ++parsed;
    ASSERT_EQ(dataset->pixels.size(), dataset->count * dataset->height * dataset->width);
    ASSERT_EQ(dataset->labels.size(), dataset->count);
    for (const uint8_t label : dataset->labels) ASSERT_LT(label, dataset->classes);
  }
  EXPECT_GT(parsed, 0) << "damage to pixels is not damage to the format";
  EXPECT_LT(parsed, kTrials);
}

TEST(MutatedFilesTest, Npy) {
  const std::string file = WriteNpy(std::vector<float>(24, 1.5f), {2, 3, 4});
  Mutator mutate(2);
  int parsed = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto array = ParseNpy(mutate(file));
    if (!array.ok()) continue;
    ++parsed;
    uint64_t items = 1;
    for (const int64_t extent : array->shape) items *= static_cast<uint64_t>(extent);
    ASSERT_EQ(array->data.size() % (items == 0 ? 1 : items), 0u);
    ASSERT_LE(array->data.size(), file.size() + 64);
  }
  EXPECT_GT(parsed, 0);
  EXPECT_LT(parsed, kTrials);
}

TEST(MutatedFilesTest, SafeTensors) {
  SafeTensors tensors;
  tensors.metadata = {{"format", "pt"}};
  tensors.tensors["weight"] = {"F32", {2, 3}, std::string(24, 'w')};
  tensors.tensors["bias"] = {"F32", {2}, std::string(8, 'b')};
  tensors.tensors["step"] = {"I64", {}, std::string(8, 's')};
  const std::string file = WriteSafeTensors(tensors);
  Mutator mutate(3);
  int parsed = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto read = ParseSafeTensors(mutate(file));
    if (!read.ok()) continue;
    ++parsed;
    // What was accepted can be written, and read again as the same.
    const auto again = ParseSafeTensors(WriteSafeTensors(*read));
    ASSERT_TRUE(again.ok()) << again.status();
    ASSERT_TRUE(*again == *read);
  }
  EXPECT_GT(parsed, 0);
  EXPECT_LT(parsed, kTrials);
}

TEST(MutatedFilesTest, Gzip) {
  std::mt19937_64 random(4);
  std::string plain(2000, '\0');
  for (char& c : plain) c = static_cast<char>('a' + random() % 4);
  const std::string file = Gzipped(plain);
  Mutator mutate(5);
  for (int trial = 0; trial < kTrials; ++trial) {
    const auto back = Gunzip(mutate(file), 4000);
    if (back.ok()) {
      ASSERT_LE(back->size(), 4000u);
    }
  }
}

}  // namespace
}  // namespace tightrope
