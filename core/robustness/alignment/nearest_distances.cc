#include "core/robustness/alignment/nearest_distances.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace tightrope {
namespace {

// The first distance that is not less than `radius`.
auto LowerEnd(absl::Span<const uint32_t> ascending, v1::Norm norm, double radius) {
  return std::partition_point(ascending.begin(), ascending.end(),
                              [&](uint32_t distance) { return DistanceOfModelInputs(norm, distance) < radius; });
}

// The first distance that is larger than `radius`.
auto UpperEnd(absl::Span<const uint32_t> ascending, v1::Norm norm, double radius) {
  return std::partition_point(ascending.begin(), ascending.end(),
                              [&](uint32_t distance) { return DistanceOfModelInputs(norm, distance) <= radius; });
}

}  // namespace

std::vector<uint32_t> NearestDistances(const Misalignment& misalignment, std::optional<uint32_t> from,
                                       std::optional<uint32_t> to) {
  const uint32_t classes = misalignment.classes;
  assert((!from || *from < classes) && (!to || *to < classes));
  std::vector<uint32_t> distances;
  for (size_t i = 0; i < misalignment.anchors.size(); ++i) {
    const AnchorRecord& anchor = misalignment.anchors[i];
    if (from && anchor.label != *from) continue;
    const uint32_t distance = to ? misalignment.nearest_by_class[i * classes + *to] : anchor.nearest_other.distance;
    if (distance != kNoDistance) distances.push_back(distance);
  }
  std::sort(distances.begin(), distances.end());
  return distances;
}

uint32_t Quantile(absl::Span<const uint32_t> ascending, double share) {
  assert(!ascending.empty() && share >= 0 && share <= 1);
  const double rank = std::ceil(share * static_cast<double>(ascending.size()));
  return ascending[std::min(ascending.size(), static_cast<size_t>(std::max(rank, 1.0))) - 1];
}

uint64_t CountWithin(absl::Span<const uint32_t> ascending, v1::Norm norm, double radius) {
  return static_cast<uint64_t>(UpperEnd(ascending, norm, radius) - ascending.begin());
}

std::vector<uint64_t> Histogram(absl::Span<const uint32_t> ascending, v1::Norm norm, absl::Span<const double> edges) {
  assert(edges.size() >= 2);
  std::vector<uint64_t> counts;
  for (size_t i = 0; i + 1 < edges.size(); ++i) {
    const auto begin = LowerEnd(ascending, norm, edges[i]);
    const auto end =
        i + 2 == edges.size() ? UpperEnd(ascending, norm, edges[i + 1]) : LowerEnd(ascending, norm, edges[i + 1]);
    counts.push_back(static_cast<uint64_t>(end - begin));
  }
  return counts;
}

}  // namespace tightrope
