#include "core/robustness/invariance/pixel_kernels.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <vector>

#include "core/for_every_cpu.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TIGHTROPE_HAS_X86_BIT_COUNTS 1
#endif

namespace tightrope {
namespace {

// One register of the widest machine, several of the others.
using Words = uint64_t __attribute__((vector_size(64), aligned(8), may_alias));

// Bit j of row i becomes bit i of row j: halves of the square trade places, then quarters (Warren, Hacker's Delight,
// 7-3).
void Transpose(std::array<uint64_t, 64>& square) {
  uint64_t mask = 0x00000000ffffffff;
  for (size_t half = 32; half != 0; half /= 2, mask ^= mask << half) {
    for (size_t row = 0; row < 64; row = ((row | half) + 1) & ~half) {
      const uint64_t moved = (square[row] >> half ^ square[row | half]) & mask;
      square[row] ^= moved << half;
      square[row | half] ^= moved;
    }
  }
}

inline __attribute__((always_inline)) void CountDifferences(int64_t words, const uint64_t* query,
                                                            const uint64_t* images, uint16_t* distances) {
  for (int64_t block = 0; block < kChunkImages / 8; ++block) {
    uint64_t differing[8] = {};
    for (int64_t word = 0; word < words; ++word) {
      for (int64_t lane = 0; lane < 8; ++lane) {
        differing[lane] +=
            static_cast<uint64_t>(std::popcount(images[(block * words + word) * 8 + lane] ^ query[word]));
      }
    }
    for (int64_t lane = 0; lane < 8; ++lane) distances[block * 8 + lane] = static_cast<uint16_t>(differing[lane]);
  }
}

#ifdef TIGHTROPE_HAS_X86_BIT_COUNTS
__attribute__((target("avx512f,avx512vpopcntdq"))) void HammingDistancesByVectors(int64_t words, const uint64_t* query,
                                                                                  const uint64_t* images,
                                                                                  uint16_t* distances) {
  CountDifferences(words, query, images, distances);
}
__attribute__((target("popcnt"))) void HammingDistancesByWords(int64_t words, const uint64_t* query,
                                                               const uint64_t* images, uint16_t* distances) {
  CountDifferences(words, query, images, distances);
}
#endif

}  // namespace

TIGHTROPE_FOR_EVERY_CPU
void ShiftSpline(absl::Span<const double> coefficients, absl::Span<const SplineTaps> rows,
                 absl::Span<const SplineTaps> columns, absl::Span<uint8_t> out) {
  const size_t height = rows.size(), width = columns.size();
  // The coefficients and weights that each output column needs, so that the columns of a row are one loop.
  std::vector<double> gathered(4 * height * width), weights(4 * width), sums(width);
  for (size_t tap = 0; tap < 4; ++tap) {
    for (size_t x = 0; x < width; ++x) weights[tap * width + x] = columns[x].weight[tap];
    for (size_t y = 0; y < height; ++y) {
      for (size_t x = 0; x < width; ++x) {
        gathered[(tap * height + y) * width + x] = coefficients[y * width + static_cast<size_t>(columns[x].index[tap])];
      }
    }
  }
  double* const sum = sums.data();
  for (size_t y = 0; y < height; ++y) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (size_t a = 0; a < 4 && rows[y].inside; ++a) {
      const double row_weight = rows[y].weight[a];
      for (size_t b = 0; b < 4; ++b) {
        const double* const row = &gathered[(b * height + static_cast<size_t>(rows[y].index[a])) * width];
        const double* const weight = &weights[b * width];
        for (size_t x = 0; x < width; ++x) sum[x] += row[x] * row_weight * weight[x];
      }
    }
    // The weights of a column that is outside are 0, so its sums are.
    for (size_t x = 0; x < width; ++x) out[y * width + x] = RoundedPixel(sum[x]);
  }
}

TIGHTROPE_FOR_EVERY_CPU
int64_t SquaredDistance(int64_t elements, const uint8_t* a, const uint8_t* b) {
  constexpr int64_t kBlock = 16384;  // of squares up to 255², which an int32 holds
  int64_t total = 0;
  for (int64_t begin = 0; begin < elements; begin += kBlock) {
    const int64_t end = std::min(elements, begin + kBlock);
    int32_t sum = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int16_t difference = static_cast<int16_t>(a[i] - b[i]);
      sum += difference * difference;
    }
    total += sum;
  }
  return total;
}

TIGHTROPE_FOR_EVERY_CPU
void ApplyToChunk(absl::Span<const PixelFunction> functions, const uint64_t* chunk, uint64_t* out) {
  for (const PixelFunction& function : functions) {
    // Bit by bit halves the table: as bits only raise the value, f = f(0) | (bit & f(1)).
    Words values[8];
    const Words last = *reinterpret_cast<const Words*>(chunk + function.pixel[3] * kChunkWords);
    for (int entry = 0; entry < 8; ++entry) {
      const uint64_t low = 0 - static_cast<uint64_t>(function.table >> entry & 1);
      const uint64_t high = 0 - static_cast<uint64_t>(function.table >> (entry + 8) & 1);
      values[entry] = low | (last & high);
    }
    for (int bit = 2; bit >= 0; --bit) {
      const Words pixel =
          *reinterpret_cast<const Words*>(chunk + function.pixel[static_cast<size_t>(bit)] * kChunkWords);
      for (int entry = 0; entry < 1 << bit; ++entry) values[entry] |= pixel & values[entry + (1 << bit)];
    }
    *reinterpret_cast<Words*>(out) = values[0];
    out += kChunkWords;
  }
}

void TransposeChunk(int64_t pixels, const uint64_t* chunk, uint64_t* out) {
  const int64_t words = (pixels + 63) / 64;
  for (int64_t image_word = 0; image_word < kChunkWords; ++image_word) {
    for (int64_t word = 0; word < words; ++word) {
      std::array<uint64_t, 64> square = {};
      for (int64_t p = 64 * word; p < std::min(pixels, 64 * word + 64); ++p) {
        square[static_cast<size_t>(p % 64)] = chunk[p * kChunkWords + image_word];
      }
      Transpose(square);
      for (int64_t i = 0; i < 64; ++i) {
        out[((image_word * 8 + i / 8) * words + word) * 8 + i % 8] = square[static_cast<size_t>(i)];
      }
    }
  }
}

void HammingDistances(int64_t words, const uint64_t* query, const uint64_t* images, uint16_t* distances) {
#ifdef TIGHTROPE_HAS_X86_BIT_COUNTS  // target_clones does not know this one
  static const bool kCountsVectors = __builtin_cpu_supports("avx512vpopcntdq") != 0;
  static const bool kCounts = __builtin_cpu_supports("popcnt") != 0;
  if (kCountsVectors) return HammingDistancesByVectors(words, query, images, distances);
  if (kCounts) return HammingDistancesByWords(words, query, images, distances);
#endif
  CountDifferences(words, query, images, distances);
}

TIGHTROPE_FOR_EVERY_CPU
uint16_t SmallestOf(absl::Span<const uint16_t> values) {
  uint16_t smallest = 65535;
  const uint16_t* const data = values.data();
  for (size_t i = 0; i < values.size(); ++i) smallest = std::min(smallest, data[i]);
  return smallest;
}

}  // namespace tightrope
