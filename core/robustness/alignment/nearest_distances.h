// The distances from anchors to their nearest example of another class: quantiles, histograms, and how many anchors
// have such an example within a radius ε. Around those the true label changes inside the ball, as the data alone show:
// a model that is robust there at ε is overly robust. Of misalignment.h; REQUIRES: results of whole or merged ranges.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "core/robustness/alignment/misalignment.h"

namespace tightrope {

// Of the anchors of class `from` to class `to`, ascending, one an anchor; anchors without such an example are left out.
// Without `from`: of all anchors. Without `to`: to the nearest of all classes but the anchor's own. With from = to: to
// the nearest other example of the class. REQUIRES: from, to < classes.
std::vector<uint32_t> NearestDistances(const Misalignment& misalignment, std::optional<uint32_t> from,
                                       std::optional<uint32_t> to);

// The least distance that at least `share` of the distances do not exceed (inverse of the empirical distribution; no
// interpolation, so it is a distance that occurs). REQUIRES: `ascending` is not empty, 0 ≤ share ≤ 1.
uint32_t Quantile(absl::Span<const uint32_t> ascending, double share);

// How many are ≤ radius as DistanceOfModelInputs: 0.3 for a ball of linf, the number of pixels for l0. NaN: none.
uint64_t CountWithin(absl::Span<const uint32_t> ascending, v1::Norm norm, double radius);

// counts[i]: those in [edges[i], edges[i + 1]), the last bin with its upper edge, as DistanceOfModelInputs. Distances
// outside of the edges are in no bin. REQUIRES: `edges` ascending, two or more.
std::vector<uint64_t> Histogram(absl::Span<const uint32_t> ascending, v1::Norm norm, absl::Span<const double> edges);

}  // namespace tightrope
