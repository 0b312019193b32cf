// Exact distances between images of unsigned bytes, as integers: distances from a few anchors to all images of a set,
// so that equal distances are equal numbers. No LibTorch here.
//
//   norm   the integer                            of pixels a, b in 0…255
//   linf   max |a − b|
//   l2     Σ (a − b)²                             the square: it has the same order and the same ties
//   l1     Σ |a − b|
//   l0     the number of pixels with |a − b| > t  t is the threshold; 0 counts every pixel that differs
//
// For the squares, with b' = b − 128 in a signed byte: Σ (a − b)² = Σ a² + Σ b² − 2 Σ a·b' − 256 Σ a, of which only
// Σ a·b' depends on both; processors multiply unsigned by signed bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

struct PixelDistance {
  v1::Norm norm = v1::NORM_L2;
  uint8_t threshold = 0;  // in grey levels; of l0 only, 0 for the others

  bool operator==(const PixelDistance&) const = default;
};

// The integer as a distance between model inputs, pixel / 255: linf and l1 divided by 255, l2's root divided by 255, l0
// as it is. Grows with `distance`. For linf it is k / 255 rounded once, so that a radius written 8/255 contains 8.
double DistanceOfModelInputs(v1::Norm norm, uint32_t distance);

// What the loops are compiled for. The numbers are the same on all.
enum class InstructionSet { kPlain, kAvx2, kAvx512, kAvx512Vnni };

// Those that this machine runs, the fastest last. Never empty.
std::vector<InstructionSet> UsableInstructionSets();

// A copy of the images, laid out for the loops. Immutable, so safe to share between threads.
class DistanceRows {
 public:
  // Sums of l2 would no longer fit: 255 · 128 · 65,793 < 2^31.
  static constexpr uint64_t kMaxPixelsPerImage = 65'793;

  // Image i here is image order[i] of `data`; `order` may leave images out. Allocates order.size() · d bytes, d rounded
  // up to a multiple of 64. REQUIRES: every order[i] < data.count.
  // Errors: INVALID_ARGUMENT (a norm other than the four, a threshold without l0, images of more than
  // kMaxPixelsPerImage channels · height · width, more than 2^32 − 1 images, pixels that are not count · d).
  static absl::StatusOr<DistanceRows> Create(const Dataset& data, absl::Span<const uint32_t> order,
                                             const PixelDistance& distance,
                                             InstructionSet instructions = UsableInstructionSets().back());

  uint32_t count() const { return count_; }

  // distances[r · (end − begin) + (i − begin)] = distance between images anchors[r] and i, for begin ≤ i < end. All
  // images of the range are read once, whatever the number of anchors, so give some tens of them.
  // REQUIRES: anchors[r] < count(), begin ≤ end ≤ count(), distances.size() = anchors.size() · (end − begin).
  void Compute(absl::Span<const uint32_t> anchors, uint32_t begin, uint32_t end, absl::Span<uint32_t> distances) const;

 private:
  DistanceRows() = default;

  const uint8_t* row(uint32_t image) const;

  PixelDistance distance_;
  InstructionSet instructions_ = InstructionSet::kPlain;
  uint32_t count_ = 0;
  size_t pixels_ = 0;           // of an image
  size_t stride_ = 0;           // bytes a row, a multiple of 64; what is behind the pixels adds nothing to a distance
  size_t first_ = 0;            // where row 0 begins in bytes_, at a multiple of 64 in memory
  std::vector<uint8_t> bytes_;  // for l2 the pixels minus 128, as signed bytes
  std::vector<uint32_t> sums_, squares_;  // Σ a and Σ a² of each image, for l2
};

}  // namespace tightrope
