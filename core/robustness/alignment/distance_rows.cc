#include "core/robustness/alignment/distance_rows.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/robustness/alignment/distance_kernels.h"

namespace tightrope {
namespace {

constexpr size_t kAlignment = 64;
constexpr uint8_t kSign = 0x80;  // b ^ 0x80 as a signed byte is b − 128

absl::Status CheckDistance(const PixelDistance& distance) {
  switch (distance.norm) {
    case v1::NORM_LINF:
    case v1::NORM_L2:
    case v1::NORM_L1:
      if (distance.threshold == 0) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat("only l0 counts differences above a threshold, give none: ", distance.threshold));
    case v1::NORM_L0:
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("no distance between pixels, give linf, l2, l1 or l0: norm ", static_cast<int>(distance.norm)));
  }
}

absl::Status CheckImages(const Dataset& data, size_t images) {
  const uint64_t pixels = uint64_t{data.channels} * data.height * data.width;
  if (pixels == 0 || pixels > DistanceRows::kMaxPixelsPerImage) {
    return absl::InvalidArgumentError(absl::StrCat("exact distances are for images of 1 to ",
                                                   DistanceRows::kMaxPixelsPerImage, " values: got ", pixels));
  }
  if (data.pixels.size() != data.count * pixels) {
    return absl::InvalidArgumentError(absl::StrCat("pixels do not match the number of images: got ", data.pixels.size(),
                                                   ", want ", data.count, " x ", pixels));
  }
  if (images > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("more images than 32 bits can count: ", images));
  }
  return absl::OkStatus();
}

ByteKernel KernelOf(v1::Norm norm) {
  switch (norm) {
    case v1::NORM_LINF:
      return ByteKernel::kLargestDifference;
    case v1::NORM_L1:
      return ByteKernel::kSumOfDifferences;
    case v1::NORM_L0:
      return ByteKernel::kCountOutside;
    default:
      return ByteKernel::kProduct;
  }
}

// Where the first multiple of kAlignment in memory is, of kAlignment bytes or more: vectors that cross cache lines are
// read half as fast.
size_t AlignedOffset(const std::vector<uint8_t>& bytes) {
  return (kAlignment - reinterpret_cast<uintptr_t>(bytes.data()) % kAlignment) % kAlignment;
}

// The two rows of kCountOutside: |a − b| > threshold where b is outside [low, low + width].
void MakeInterval(const uint8_t* image, size_t size, int threshold, uint8_t* low, uint8_t* width) {
  for (size_t k = 0; k < size; ++k) {
    const int from = std::max(image[k] - threshold, 0);
    low[k] = static_cast<uint8_t>(from);
    width[k] = static_cast<uint8_t>(std::min(image[k] + threshold, 255) - from);
  }
}

}  // namespace

double DistanceOfModelInputs(v1::Norm norm, uint32_t distance) {
  switch (norm) {
    case v1::NORM_L0:
      return distance;
    case v1::NORM_L2:
      return std::sqrt(static_cast<double>(distance)) / 255;
    default:
      return static_cast<double>(distance) / 255;
  }
}

absl::StatusOr<DistanceRows> DistanceRows::Create(const Dataset& data, absl::Span<const uint32_t> order,
                                                  const PixelDistance& distance, InstructionSet instructions) {
  if (absl::Status status = CheckDistance(distance); !status.ok()) return status;
  if (absl::Status status = CheckImages(data, order.size()); !status.ok()) return status;
  const size_t pixels = size_t{data.channels} * data.height * data.width;
  DistanceRows rows;
  rows.distance_ = distance;
  rows.instructions_ = instructions;
  rows.count_ = static_cast<uint32_t>(order.size());
  rows.pixels_ = pixels;
  rows.stride_ = (pixels + kAlignment - 1) / kAlignment * kAlignment;
  rows.bytes_.resize(order.size() * rows.stride_ + kAlignment);
  rows.first_ = AlignedOffset(rows.bytes_);
  const bool squares = distance.norm == v1::NORM_L2;
  if (squares) rows.sums_.resize(order.size()), rows.squares_.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    assert(order[i] < data.count);
    const uint8_t* image = data.pixels.data() + order[i] * pixels;
    uint8_t* row = rows.bytes_.data() + rows.first_ + i * rows.stride_;
    std::copy_n(image, pixels, row);
    if (!squares) continue;
    for (size_t k = 0; k < pixels; ++k) {
      rows.sums_[i] += image[k];
      rows.squares_[i] += uint32_t{image[k]} * image[k];
      row[k] ^= kSign;
    }
  }
  return rows;
}

const uint8_t* DistanceRows::row(uint32_t image) const { return bytes_.data() + first_ + image * stride_; }

void DistanceRows::Compute(absl::Span<const uint32_t> anchors, uint32_t begin, uint32_t end,
                           absl::Span<uint32_t> distances) const {
  assert(begin <= end && end <= count_ && distances.size() == anchors.size() * (end - begin));
  const ByteKernel kernel = KernelOf(distance_.norm);
  const size_t rows_an_anchor = kernel == ByteKernel::kCountOutside ? 2 : 1;
  std::vector<uint8_t> memory(anchors.size() * rows_an_anchor * stride_ + kAlignment);
  uint8_t* const first = memory.data() + AlignedOffset(memory);
  for (size_t r = 0; r < anchors.size(); ++r) {
    assert(anchors[r] < count_);
    const uint8_t* image = row(anchors[r]);
    uint8_t* anchor = first + r * rows_an_anchor * stride_;
    if (kernel == ByteKernel::kCountOutside) {
      MakeInterval(image, stride_, distance_.threshold, anchor, anchor + stride_);
    } else if (kernel == ByteKernel::kProduct) {
      std::transform(image, image + pixels_, anchor, [](uint8_t value) { return value ^ kSign; });
    } else {
      std::copy_n(image, stride_, anchor);
    }
  }
  ComputeByteRows(instructions_, {.kernel = kernel,
                                  .stride = stride_,
                                  .anchors = first,
                                  .anchor_count = anchors.size(),
                                  .images = row(begin),
                                  .image_count = end - begin,
                                  .results = distances.data()});
  if (kernel != ByteKernel::kProduct) return;
  for (size_t r = 0; r < anchors.size(); ++r) {
    uint32_t* values = distances.data() + r * (end - begin);
    const uint32_t of_anchor = squares_[anchors[r]] - 256 * sums_[anchors[r]];
    const uint32_t* squares = squares_.data() + begin;
    for (size_t i = 0; i < end - begin; ++i) values[i] = of_anchor + squares[i] - 2 * values[i];  // modulo 2^32
  }
}

}  // namespace tightrope
