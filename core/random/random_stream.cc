#include "core/random/random_stream.h"

#include <Random123/philox.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/artifact/digest.h"

namespace tightrope {
namespace {

using Block = std::array<uint32_t, 4>;

// The four 32-bit words of elements 4·block … 4·block + 3.
Block DrawBlock(uint64_t key, RandomStream::At at, uint32_t block) {
  const philox4x32_ctr_t counter = {{block, at.step, at.restart, at.example}};
  const philox4x32_key_t words = {{static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)}};
  const philox4x32_ctr_t drawn = philox4x32(counter, words);
  return {drawn.v[0], drawn.v[1], drawn.v[2], drawn.v[3]};
}

// Two independent normals from two words; the first word is kept away from 0 for the logarithm.
void BoxMuller(uint32_t first, uint32_t second, float& cosine, float& sine) {
  const double radius = std::sqrt(-2.0 * std::log((first + 1.0) * 0x1p-32));
  const double angle = 2.0 * M_PI * (second * 0x1p-32);
  cosine = static_cast<float>(radius * std::cos(angle));
  sine = static_cast<float>(radius * std::sin(angle));
}

}  // namespace

RandomStream::RandomStream(uint64_t seed, absl::string_view job_digest, absl::string_view purpose)
    : key_(std::strtoull(Sha256(absl::StrCat(seed, "/", job_digest, "/", purpose)).substr(0, 16).c_str(), nullptr,
                         16)) {}

void RandomStream::Uniform(At at, absl::Span<float> out) const {
  for (size_t begin = 0; begin < out.size(); begin += 4) {
    const Block words = DrawBlock(key_, at, static_cast<uint32_t>(begin / 4));
    const size_t n = std::min<size_t>(4, out.size() - begin);
    for (size_t i = 0; i < n; ++i) out[begin + i] = static_cast<float>(words[i] >> 8) * 0x1p-24f;
  }
}

void RandomStream::Normal(At at, absl::Span<float> out) const {
  for (size_t begin = 0; begin < out.size(); begin += 4) {
    const Block words = DrawBlock(key_, at, static_cast<uint32_t>(begin / 4));
    std::array<float, 4> values;
    BoxMuller(words[0], words[1], values[0], values[1]);
    BoxMuller(words[2], words[3], values[2], values[3]);
    std::copy_n(values.begin(), std::min<size_t>(4, out.size() - begin), out.begin() + begin);
  }
}

std::vector<uint32_t> RandomStream::Permutation(At at, uint32_t n) const {
  std::vector<uint32_t> order(n);
  for (uint32_t i = 0; i < n; ++i) order[i] = i;
  uint32_t next_block = 0;
  Block words{};
  size_t used = words.size();
  const auto draw = [&] {
    if (used == words.size()) {
      words = DrawBlock(key_, at, next_block++);
      used = 0;
    }
    return words[used++];
  };
  for (uint32_t i = n; i > 1; --i) {
    // Uniform below i without bias (Lemire 2019): words whose low half falls under 2^32 mod i are drawn again.
    const uint32_t reject_below = (0u - i) % i;
    uint64_t product = uint64_t{draw()} * i;
    while (static_cast<uint32_t>(product) < reject_below) product = uint64_t{draw()} * i;
    std::swap(order[i - 1], order[product >> 32]);
  }
  return order;
}

}  // namespace tightrope
