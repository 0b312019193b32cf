// The loops over pixels that the searches for invariance-based examples spend their time in. Plain C++, compiled for
// several instruction sets; the same bits in all of them: integers, or a fixed order of sums without fused operations.
// Output arrays do not overlap others.
#pragma once

#include <array>
#include <cstdint>

#include "absl/types/span.h"

namespace tightrope {

// How one place on an axis is interpolated: Σ weight[i]·coefficient[index[i]]; nothing of the image where not inside.
struct SplineTaps {
  bool inside = false;
  std::array<int32_t, 4> index = {};
  std::array<double, 4> weight = {};
};

// As SciPy stores a double in a uint8 array: to the nearest integer, halves up, clipped to 0 … 255.
inline uint8_t RoundedPixel(double value) {
  value = value > 0 ? value + 0.5 : 0;
  return static_cast<uint8_t>(value > 255 ? 255 : value);
}

// out[y][x] = RoundedPixel(Σ coefficients[rows[y]][columns[x]], weighted), the row's weight multiplied in first, the
// taps of a row one after another. `coefficients` has at least as many rows and exactly as many columns as the taps.
void ShiftSpline(absl::Span<const double> coefficients, absl::Span<const SplineTaps> rows,
                 absl::Span<const SplineTaps> columns, absl::Span<uint8_t> out);

// Σ (a − b)², exact.
int64_t SquaredDistance(int64_t elements, const uint8_t* a, const uint8_t* b);

inline constexpr int64_t kChunkWords = 8;  // 512 images, a bit each
inline constexpr int64_t kChunkImages = 64 * kChunkWords;

// A Boolean function of four bits, each of one pixel, that is never turned from 1 to 0 by a bit: entry e of its table
// is its value where bit i of e says what pixel[i] is.
struct PixelFunction {
  std::array<int32_t, 4> pixel = {};
  uint16_t table = 0;
};

// Output pixel j of 512 images at once: functions[j] of their pixels. `chunk` is [pixel][kChunkWords], image i of the
// chunk being bit i % 64 of word i / 64; `out` likewise.
void ApplyToChunk(absl::Span<const PixelFunction> functions, const uint64_t* chunk, uint64_t* out);

// The same bits by image: `out` is [image / 8][pixel / 64][image % 8], pixel p being bit p % 64 of its word.
void TransposeChunk(int64_t pixels, const uint64_t* chunk, uint64_t* out);

// How many pixels differ between `query` (⌈pixels / 64⌉ words) and each of the 512 images as TransposeChunk leaves
// them.
void HammingDistances(int64_t words, const uint64_t* query, const uint64_t* images, uint16_t* distances);
uint16_t SmallestOf(absl::Span<const uint16_t> values);

}  // namespace tightrope
