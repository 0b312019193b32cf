#include "core/robustness/invariance/invariance_candidates.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

Dataset FirstOf(const Dataset& data, uint64_t count) {
  const size_t elements = size_t{data.channels} * data.height * data.width;
  Dataset first;
  first.count = count;
  first.channels = data.channels;
  first.height = data.height;
  first.width = data.width;
  first.pixels.assign(data.pixels.begin(), data.pixels.begin() + static_cast<ptrdiff_t>(count * elements));
  first.labels.assign(data.labels.begin(), data.labels.begin() + static_cast<ptrdiff_t>(count));
  first.classes = data.classes;
  return first;
}

}  // namespace

CandidateChoice CandidatesOf(const v1::InvarianceSet& set) {
  switch (set.method_case()) {
    case v1::InvarianceSet::kLinf:
      return {.count = set.linf().candidates()};
    case v1::InvarianceSet::kL0:
      return {.count = set.l0().candidates(), .as_bits = true};
    case v1::InvarianceSet::kInterpolate:
      return {.count = set.interpolate().candidates()};
    case v1::InvarianceSet::kFile:
    case v1::InvarianceSet::METHOD_NOT_SET:
      break;
  }
  return {};
}

absl::StatusOr<InvarianceCandidates> PrepareCandidates(std::shared_ptr<const Dataset> training,
                                                       const CandidateChoice& choice) {
  if (choice.count > training->count) {
    return absl::InvalidArgumentError(absl::StrCat("there are not that many candidates; give at most the ",
                                                   training->count, " examples of the training set, not ",
                                                   choice.count));
  }
  const uint64_t elements = uint64_t{training->channels} * training->height * training->width;
  // Other arrays than the shape says are refused below, and not cut before.
  const bool whole =
      training->pixels.size() == training->count * elements && training->labels.size() == training->count;
  if (whole && choice.count != 0 && choice.count != training->count) {
    training = std::make_shared<const Dataset>(FirstOf(*training, choice.count));
  }
  ABSL_ASSIGN_OR_RETURN(NeighbourSearch search, NeighbourSearch::Create(*training));
  std::optional<BitImages> bits;
  if (choice.as_bits) {
    ABSL_ASSIGN_OR_RETURN(bits, BitImages::Create(*training));
  }
  return InvarianceCandidates{.images = std::move(training), .search = std::move(search), .bits = std::move(bits)};
}

}  // namespace tightrope
