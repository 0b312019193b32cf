#include "core/robustness/alignment/distance_kernels.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tightrope {
namespace {

// Images that stay in the first-level cache while the anchors pass by.
constexpr size_t kTile = 16;
// Images whose loops run as one: an addition need not wait for the one before, and the anchor is read once.
constexpr size_t kTogether = 4;
constexpr size_t kRowMultiple = 64;

// Everything below is inlined into one function an instruction set, and so compiled for that. The first three are what
// is done with one byte of each row.
struct LargestDifference {
  using A = uint8_t;
  using B = uint8_t;
  using Result = uint8_t;
  [[gnu::always_inline]] static inline Result Add(Result largest, uint8_t a, uint8_t b) {
    const uint8_t high = a > b ? a : b, low = a > b ? b : a;  // not std::max: its references are not vectorized
    const uint8_t difference = high - low;
    return largest < difference ? difference : largest;
  }
};

struct SumOfDifferences {
  using A = uint8_t;
  using B = uint8_t;
  using Result = int32_t;
  [[gnu::always_inline]] static inline Result Add(Result sum, uint8_t a, uint8_t b) {
    return sum + std::abs(static_cast<int>(a) - static_cast<int>(b));
  }
};

template <typename AType, typename BType>
struct Product {
  using A = AType;
  using B = BType;
  using Result = int32_t;
  [[gnu::always_inline]] static inline Result Add(Result sum, A a, B b) {
    return sum + static_cast<int>(a) * static_cast<int>(b);
  }
};

template <typename Kernel>
struct ElementLoop {
  using A = typename Kernel::A;
  using B = typename Kernel::B;
  static constexpr size_t kRowsAnAnchor = 1;

  [[gnu::always_inline]] static inline void One(size_t size, const A* __restrict a, const B* __restrict b,
                                                uint32_t* __restrict results) {
    typename Kernel::Result result = 0;
    for (size_t i = 0; i < size; ++i) result = Kernel::Add(result, a[i], b[i]);
    results[0] = static_cast<uint32_t>(result);
  }

  // kTogether rows b, one after the other.
  [[gnu::always_inline]] static inline void Together(size_t size, const A* __restrict a, const B* __restrict b,
                                                     uint32_t* __restrict results) {
    const B *const b1 = b + size, *const b2 = b1 + size, *const b3 = b2 + size;
    typename Kernel::Result result0 = 0, result1 = 0, result2 = 0, result3 = 0;
    for (size_t i = 0; i < size; ++i) {
      result0 = Kernel::Add(result0, a[i], b[i]);
      result1 = Kernel::Add(result1, a[i], b1[i]);
      result2 = Kernel::Add(result2, a[i], b2[i]);
      result3 = Kernel::Add(result3, a[i], b3[i]);
    }
    results[0] = static_cast<uint32_t>(result0);
    results[1] = static_cast<uint32_t>(result1);
    results[2] = static_cast<uint32_t>(result2);
    results[3] = static_cast<uint32_t>(result3);
  }
};

// Counts in bytes, kLanes of them in a register: the vectorizer would count in 32 bits.
template <size_t kLanes>
struct CountOutside {
  using A = uint8_t;
  using B = uint8_t;
  static constexpr size_t kRowsAnAnchor = 2;
  static_assert(kRowMultiple % kLanes == 0);
  using Bytes [[gnu::vector_size(kLanes)]] = uint8_t;
  // A byte counts to 255; then the counts are added up.
  static constexpr size_t kChunk = 255 * kLanes;

  [[gnu::always_inline]] static inline void One(size_t size, const uint8_t* __restrict low, const uint8_t* __restrict b,
                                                uint32_t* __restrict results) {
    const uint8_t* __restrict width = low + size;
    int32_t inside = 0;
    for (size_t begin = 0; begin < size; begin += kChunk) {
      const size_t end = std::min(size, begin + kChunk);
      Bytes counts = {};
      for (size_t i = begin; i < end; i += kLanes) {
        Bytes from, offset, image;
        std::memcpy(&from, low + i, kLanes);
        std::memcpy(&offset, width + i, kLanes);
        std::memcpy(&image, b + i, kLanes);
        // True is −1; below `low` the difference wraps around to a large one.
        counts -= reinterpret_cast<Bytes>((image - from) <= offset);
      }
      uint8_t lanes[kLanes];
      std::memcpy(lanes, &counts, kLanes);
      for (size_t lane = 0; lane < kLanes; ++lane) inside = SumOfDifferences::Add(inside, lanes[lane], 0);
    }
    results[0] = static_cast<uint32_t>(size) - static_cast<uint32_t>(inside);
  }

  [[gnu::always_inline]] static inline void Together(size_t size, const uint8_t* __restrict low,
                                                     const uint8_t* __restrict b, uint32_t* __restrict results) {
    for (size_t image = 0; image < kTogether; ++image) One(size, low, b + image * size, results + image);
  }
};

// `images` of the tile with all anchors; results[0] is of the first of both.
template <typename Loop>
[[gnu::always_inline]] inline void ComputeTile(const ByteRows& rows, const typename Loop::A* anchors,
                                               const typename Loop::B* images, size_t image_count, uint32_t* results) {
  const size_t size = rows.stride / kRowMultiple * kRowMultiple;  // tells the compiler that nothing remains
  for (size_t anchor = 0; anchor < rows.anchor_count; ++anchor) {
    const typename Loop::A* a = anchors + anchor * Loop::kRowsAnAnchor * size;
    uint32_t* of_anchor = results + anchor * rows.image_count;
    size_t image = 0;
    for (; image + kTogether <= image_count; image += kTogether) {
      Loop::Together(size, a, images + image * size, of_anchor + image);
    }
    for (; image < image_count; ++image) Loop::One(size, a, images + image * size, of_anchor + image);
  }
}

template <typename Loop>
[[gnu::always_inline]] inline void Compute(const ByteRows& rows) {
  for (size_t tile = 0; tile < rows.image_count; tile += kTile) {
    ComputeTile<Loop>(rows, rows.anchors, rows.images + tile * rows.stride, std::min(kTile, rows.image_count - tile),
                      rows.results + tile);
  }
}

[[gnu::always_inline]] inline void ComputeByteProducts(const ByteRows& rows) {
  for (size_t tile = 0; tile < rows.image_count; tile += kTile) {
    ComputeTile<ElementLoop<Product<uint8_t, int8_t>>>(
        rows, rows.anchors, reinterpret_cast<const int8_t*>(rows.images + tile * rows.stride),
        std::min(kTile, rows.image_count - tile), rows.results + tile);
  }
}

// Where bytes cannot be multiplied and added in one, words can; each tile is widened once for all anchors.
[[gnu::always_inline]] inline void ComputeWordProducts(const ByteRows& rows) {
  std::vector<int16_t> anchors(rows.anchors, rows.anchors + rows.anchor_count * rows.stride);
  std::vector<int16_t> images(kTile * rows.stride);
  for (size_t tile = 0; tile < rows.image_count; tile += kTile) {
    const size_t image_count = std::min(kTile, rows.image_count - tile);
    const int8_t* narrow = reinterpret_cast<const int8_t*>(rows.images + tile * rows.stride);
    std::copy_n(narrow, image_count * rows.stride, images.data());
    ComputeTile<ElementLoop<Product<int16_t, int16_t>>>(rows, anchors.data(), images.data(), image_count,
                                                        rows.results + tile);
  }
}

template <typename CountLoop, bool kMultipliesBytes>
[[gnu::always_inline]] inline void ComputeAny(const ByteRows& rows) {
  switch (rows.kernel) {
    case ByteKernel::kLargestDifference:
      return Compute<ElementLoop<LargestDifference>>(rows);
    case ByteKernel::kSumOfDifferences:
      return Compute<ElementLoop<SumOfDifferences>>(rows);
    case ByteKernel::kProduct:
      return kMultipliesBytes ? ComputeByteProducts(rows) : ComputeWordProducts(rows);
    case ByteKernel::kCountOutside:
      return Compute<CountLoop>(rows);
  }
}

void ComputePlain(const ByteRows& rows) { ComputeAny<CountOutside<16>, false>(rows); }

#if defined(__x86_64__)
[[gnu::target("avx2")]] void ComputeAvx2(const ByteRows& rows) { ComputeAny<CountOutside<32>, false>(rows); }

#define TIGHTROPE_AVX512 "avx512f,avx512bw,avx512vl,popcnt"

// What CountOutside does, where a comparison of 64 bytes gives 64 bits and one instruction counts them. kTogether
// images from `b` on; results of those that are not there (`image_count` is less) are not written, and the last is read
// instead.
[[gnu::target(TIGHTROPE_AVX512)]] inline void CountOutsideTogether(size_t size, const uint8_t* low, const uint8_t* b,
                                                                   size_t image_count, uint32_t* results) {
  const auto count_outside =
      [](__m512i from, __m512i width, const uint8_t* image) __attribute__((target(TIGHTROPE_AVX512), always_inline)) {
    const __m512i offset = _mm512_sub_epi8(_mm512_loadu_si512(image), from);
    return static_cast<uint64_t>(__builtin_popcountll(_mm512_cmpgt_epu8_mask(offset, width)));
  };
  const uint8_t *const b1 = b + std::min<size_t>(1, image_count - 1) * size,
                       *const b2 = b + std::min<size_t>(2, image_count - 1) * size,
                       *const b3 = b + std::min<size_t>(3, image_count - 1) * size;
  uint64_t counts[kTogether] = {};
  for (size_t i = 0; i < size; i += 64) {
    const __m512i from = _mm512_loadu_si512(low + i);
    const __m512i width = _mm512_loadu_si512(low + size + i);
    counts[0] += count_outside(from, width, b + i);
    counts[1] += count_outside(from, width, b1 + i);
    counts[2] += count_outside(from, width, b2 + i);
    counts[3] += count_outside(from, width, b3 + i);
  }
  for (size_t image = 0; image < std::min(kTogether, image_count); ++image) {
    results[image] = static_cast<uint32_t>(counts[image]);
  }
}

[[gnu::target(TIGHTROPE_AVX512)]] void CountOutsideAvx512(const ByteRows& rows) {
  for (size_t tile = 0; tile < rows.image_count; tile += kTile) {
    const size_t end = std::min(rows.image_count, tile + kTile);
    for (size_t anchor = 0; anchor < rows.anchor_count; ++anchor) {
      for (size_t image = tile; image < end; image += kTogether) {
        CountOutsideTogether(rows.stride, rows.anchors + anchor * 2 * rows.stride, rows.images + image * rows.stride,
                             end - image, rows.results + anchor * rows.image_count + image);
      }
    }
  }
}

[[gnu::target(TIGHTROPE_AVX512)]] void ComputeAvx512(const ByteRows& rows) {
  if (rows.kernel == ByteKernel::kCountOutside) return CountOutsideAvx512(rows);
  ComputeAny<CountOutside<64>, false>(rows);
}

[[gnu::target(TIGHTROPE_AVX512 ",avx512vnni")]] void ComputeAvx512Vnni(const ByteRows& rows) {
  if (rows.kernel == ByteKernel::kCountOutside) return CountOutsideAvx512(rows);
  ComputeAny<CountOutside<64>, true>(rows);
}
#endif

}  // namespace

std::vector<InstructionSet> UsableInstructionSets() {
  std::vector<InstructionSet> usable = {InstructionSet::kPlain};
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) usable.push_back(InstructionSet::kAvx2);
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("popcnt")) {
    usable.push_back(InstructionSet::kAvx512);
    if (__builtin_cpu_supports("avx512vnni")) usable.push_back(InstructionSet::kAvx512Vnni);
  }
#endif
  return usable;
}

void ComputeByteRows(InstructionSet instructions, const ByteRows& rows) {
  switch (instructions) {
#if defined(__x86_64__)
    case InstructionSet::kAvx2:
      return ComputeAvx2(rows);
    case InstructionSet::kAvx512:
      return ComputeAvx512(rows);
    case InstructionSet::kAvx512Vnni:
      return ComputeAvx512Vnni(rows);
#endif
    default:
      return ComputePlain(rows);
  }
}

}  // namespace tightrope
