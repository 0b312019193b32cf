// The search of the published l0 attack by invariance-based examples (Tramèr et al. 2020): random affine transforms of
// the whole training set, and for each source the transformed image of another class that differs from it in the fewest
// pixels, when both are cut to black and white.
//
// Black and white images are bits, and a transform makes each output pixel a Boolean function of four of them (the
// bilinear sum is above a threshold, or not), the same for all images. So one transform of 60,000 images of 28×28
// pixels is 784 such functions on words that hold a pixel of 64 images each, a transposition of bits, and for each
// source one exclusive or and one count of bits an image.
//
// The form published by the authors takes the candidate by another measure than the one that it reports: the least
// ‖t‖² − 2 t·q over darkened, grey values t of the transformed image (plus 1,000 where a transform loses mass and 1,000
// for the source's own class, which a large enough set of bad candidates can outweigh), and then counts bits. The
// default takes the candidate of fewest differing bits at once, and never one that is excluded.
//
// The transforms are drawn by their number alone, and a source's result does not depend on the other sources: any split
// of the sources into shards gives the same results.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "core/random/random_stream.h"
#include "core/robustness/invariance/affine_map.h"

namespace tightrope {

// A training set, cut to black and white: bits [chunk of 512 images][pixel][image], set where pixel / 255 > ½.
// Immutable, so safe on any thread.
class BitImages {
 public:
  // `data` is kept by reference and must outlive this. Errors: INVALID_ARGUMENT (no images, more than one channel, more
  // than 65,535 pixels an image, or arrays that do not match the shape).
  static absl::StatusOr<BitImages> Create(const Dataset& data);

  const Dataset& data() const { return *data_; }
  int64_t pixels() const { return pixels_; }
  int64_t chunks() const { return static_cast<int64_t>(bits_.size()) / (pixels_ * 8); }
  const uint64_t* chunk(int64_t index) const { return bits_.data() + index * pixels_ * 8; }
  bool pixel(int64_t image, int64_t pixel) const;

 private:
  explicit BitImages(const Dataset& data);

  const Dataset* data_;
  int64_t pixels_;
  std::vector<uint64_t> bits_;
};

struct AffineSearchOptions {
  AffineRanges ranges = {};
  double kept_mass = 0.85;      // of a training image, after the transform and its inverse; else it is not a candidate
  bool published_form = false;  // the measure, the matrix and the penalties of the source
};

// What a source may be turned into.
struct AffineCandidate {
  uint32_t training_index = 0;
  uint32_t transform = 0;  // its number
  uint32_t distance = 0;   // pixels that differ, in black and white
  AffineDraw draw;

  AffineMap Map(const Dataset& data, bool published_form) const {
    return MapOf(draw, data.height, data.width, published_form);
  }
};

// The search for the examples [begin, end) of `sources`. Not thread-safe.
class AffineSearch {
 public:
  // What is given by reference must outlive the search. Errors: INVALID_ARGUMENT (images of another shape, a range that
  // `sources` does not hold, ranges of transforms that are not finite, turn an image inside out or do not darken).
  static absl::StatusOr<AffineSearch> Create(const BitImages& training, const Dataset& sources, uint64_t begin,
                                             uint64_t end, const AffineSearchOptions& options,
                                             const RandomStream& stream);

  // Tries transforms until the first `transforms` have been tried. To be called again with more.
  void Run(uint32_t transforms);

  // The best of each source, in their order; none where nothing was allowed. Of several, that of the first transform
  // and of those the first image.
  const std::vector<std::optional<AffineCandidate>>& best() const { return best_; }

 private:
  struct Transform;  // what all images need of one
  AffineSearch(const BitImages& training, const Dataset& sources, uint64_t begin, uint64_t end,
               const AffineSearchOptions& options, const RandomStream& stream);
  void Try(uint32_t index);
  void KeepFewestBits(const Transform& transform, int64_t chunk, absl::Span<const uint64_t> images);
  void KeepPublished(const Transform& transform, std::vector<float>& least, std::vector<uint32_t>& first,
                     int64_t chunk);
  double KeptShare(const Transform& transform, int64_t image) const;
  uint32_t DistanceOfPublished(const Transform& transform, size_t source, uint32_t image) const;
  bool SourcePixel(size_t source, int64_t pixel) const;

  const BitImages* training_;
  AffineSearchOptions options_;
  RandomStream stream_;
  int64_t words_;                      // of one source
  std::vector<uint64_t> source_bits_;  // [source][word]
  std::vector<uint8_t> source_labels_;
  std::vector<std::optional<AffineCandidate>> best_;
  uint32_t tried_ = 0;
};

}  // namespace tightrope
