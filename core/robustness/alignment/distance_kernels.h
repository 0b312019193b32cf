// The loops of DistanceRows over bytes, compiled for several instruction sets. Not for use elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/robustness/alignment/distance_rows.h"

namespace tightrope {

// What is taken of an anchor row and an image row.
enum class ByteKernel {
  kLargestDifference,  // max |a − b|
  kSumOfDifferences,   // Σ |a − b|
  kProduct,            // Σ a·b', b' a signed byte; modulo 2^32
  kCountOutside,       // the number of b outside [low, low + width]; an anchor is a row `low`, then a row `width`
};

// Rows of `stride` bytes, a multiple of 64.
struct ByteRows {
  ByteKernel kernel;
  size_t stride;
  const uint8_t* anchors;  // `anchor_count` rows; twice as many for kCountOutside
  size_t anchor_count;
  const uint8_t* images;  // `image_count` rows
  size_t image_count;
  uint32_t* results;  // anchor_count × image_count
};

// REQUIRES: this machine has `instructions`.
void ComputeByteRows(InstructionSet instructions, const ByteRows& rows);

}  // namespace tightrope
