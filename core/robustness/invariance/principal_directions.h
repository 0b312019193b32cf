// Images as a few numbers, such that the distance between those numbers never exceeds the distance between the images:
// what is far apart in them need not be compared pixel by pixel.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "core/dataset/dataset.h"

namespace tightrope {

// The leading principal directions of a set of images. The numbers of an image x are its coordinates p along them,
// taken from the mean, and the length of what the directions do not see of it, r = √(‖x − mean‖² − ‖p‖²). As the
// directions are orthonormal, (p − p')² + (r − r')² ≤ ‖x − x'‖²; so it is for the first few coordinates, the coarse
// ones, and the rest that those do not see. Equality would need the rests to point the same way; how close the bound
// comes only costs time, so the directions come from a sample and a few steps of block power iteration. Immutable, so
// safe on any thread.
class PrincipalDirections {
 public:
  // `images` has at least one image and arrays of the size that its shape says; `count` is a multiple of 4, and
  // `coarse` less. Where the images span fewer directions, the others are 0.
  PrincipalDirections(const Dataset& images, int64_t count, int64_t coarse);

  // The numbers of an image: the coarse coordinates, their rest, the other coordinates, the rest of all.
  int64_t dimensions() const { return count_ + 2; }
  int64_t coarse() const { return coarse_; }

  // `images`: `rows` images of the set's shape, one behind the other. To `numbers` rows·dimensions() values,
  // coordinates within 2^-23·‖x − mean‖ of what they stand for; to `squared_norms` ‖x − mean‖², exact.
  void Coordinates(const uint8_t* images, int64_t rows, absl::Span<float> numbers,
                   absl::Span<double> squared_norms) const;

 private:
  // pixel − mean to `row`, which has stride_ values.
  void Center(const uint8_t* image, double* row) const;
  void Orthonormalize();

  int64_t elements_, stride_;  // stride: elements, padded with zeros to a multiple of 8
  int64_t count_, coarse_;
  std::vector<double> mean_;        // rounded to integers, so that differences are exact
  std::vector<double> directions_;  // count·stride
};

}  // namespace tightrope
