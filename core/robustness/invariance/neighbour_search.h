// The images of other classes that are nearest to a source image under rotations and shifts of it: the first step of
// the published l-inf attack by invariance-based examples (Tramèr et al. 2020), and what the interpolating attacks aim
// at.
//
// Every one of G transforms of a source is compared with every training image, G·N distances in d dimensions, of which
// only the least of each class is wanted. So a distance is only computed where a lower bound of it, from the k + 1
// numbers of PrincipalDirections (k ≪ d), does not exceed the least distance of that class found so far. Images that
// are alike stand together, and so do transforms: nearly half of the blocks of 32 images and 8 transforms are out of
// reach of each other by the first few numbers alone. The bounds are float32 products of matrices; they are lowered by
// more than their rounding errors can be, and distances themselves are sums of squared differences of bytes, in
// integers. The answer is exact, then: what a double loop over all would find, whatever the machine and its rounding.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "core/robustness/invariance/principal_directions.h"
#include "core/robustness/invariance/spline_transform.h"

namespace tightrope {

// One class's training image that comes nearest to any of the transforms of a source.
struct ClassNeighbour {
  uint8_t label = 0;             // its class
  uint32_t training_index = 0;   // in the training set
  uint32_t grid_index = 0;       // the transform of the source that it is near to
  int64_t squared_distance = 0;  // l2², of pixels 0 … 255

  friend bool operator==(const ClassNeighbour&, const ClassNeighbour&) = default;
};

struct NearestImages {
  std::vector<ClassNeighbour> neighbours;  // one a class
  uint64_t distances_computed = 0;         // those that no bound could spare; what the search costs, not what it found
};

// The training set, arranged for the search. Immutable, so safe on any thread.
class NeighbourSearch {
 public:
  // `training` is kept by reference and must outlive the search. Takes 4·(k + 3) bytes an image beside it, k = 64.
  // Errors: INVALID_ARGUMENT (no images, or arrays that do not match the shape).
  static absl::StatusOr<NeighbourSearch> Create(const Dataset& training);

  // For every class that the training set has examples of, but for `except`, its neighbour, in the order of the
  // classes. Of equally near ones the one of the first point of the grid, and of those the first in the training set,
  // as numpy's argmin and scikit-learn's nearest neighbours of the published notebook choose. Errors: INVALID_ARGUMENT
  // (an image of another size, an empty grid, a point of the grid that is not finite or turns by more than a million
  // degrees).
  absl::StatusOr<NearestImages> Nearest(absl::Span<const uint8_t> image, std::optional<uint8_t> except,
                                        absl::Span<const RotationAndShift> grid) const;

  const Dataset& training() const { return *training_; }
  // The pixels of one training image.
  absl::Span<const uint8_t> TrainingImage(uint32_t index) const;

 private:
  // The images of one class in panels of kPanelRows, as NearPanel reads them; the last panel is filled up with images
  // that are near to nothing.
  struct ClassImages {
    uint8_t label = 0;
    std::vector<uint32_t> indices;  // in the training set, so that neighbours are alike
    std::vector<float> numbers;     // [panel][dimension][image]
    std::vector<float> offsets;     // [panel][image]: half the squared norm, lowered by the margin
  };
  struct Queries;
  struct Candidate;
  struct Found;

  explicit NeighbourSearch(const Dataset& training);
  Queries Prepare(absl::Span<const uint8_t> image, absl::Span<const RotationAndShift> grid) const;
  // The groups [begin, end) of the queries. While nothing has been found, only the most promising image is compared.
  void SearchGroups(const ClassImages& images, const Queries& queries, int64_t begin, int64_t end, Found& found) const;
  void Compare(const ClassImages& images, const Queries& queries, uint32_t query, uint32_t image, Found& found) const;

  const Dataset* training_;
  PrincipalDirections directions_;
  std::vector<ClassImages> classes_;
};

}  // namespace tightrope
