// The training images that invariance-based examples are made from, arranged for the searches.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "core/dataset/dataset.h"
#include "core/robustness/invariance/affine_search.h"
#include "core/robustness/invariance/neighbour_search.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// Which images a method draws from, and as what it needs them.
struct CandidateChoice {
  uint64_t count = 0;    // the first so many of the training set; 0: all
  bool as_bits = false;  // in black and white as well, for l0

  bool operator==(const CandidateChoice&) const = default;
};
CandidateChoice CandidatesOf(const v1::InvarianceSet& set);

// Immutable, so safe to share between threads.
struct InvarianceCandidates {
  std::shared_ptr<const Dataset> images;
  NeighbourSearch search;         // of `images`
  std::optional<BitImages> bits;  // of `images`
};

// Takes about a second for 60,000 images of 28×28. Copies the images where they are not all of the training set.
// Errors: INVALID_ARGUMENT (more candidates than training images, as NeighbourSearch::Create and BitImages::Create).
absl::StatusOr<InvarianceCandidates> PrepareCandidates(std::shared_ptr<const Dataset> training,
                                                       const CandidateChoice& choice);

}  // namespace tightrope
