#include "core/robustness/attack/boundary_plane.h"

#include <algorithm>

#include "core/robustness/attack/loss.h"
#include "core/status_macros.h"

namespace tightrope {
absl::StatusOr<BoundaryPlane> PlaneTowards(ActiveBatch& batch, const torch::Tensor& points,
                                           const torch::Tensor& targets) {
  ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Slope slope, batch.Gradient(points, [&](const torch::Tensor& logits) {
    return TargetedMarginLoss(logits, batch.labels(), targets);
  }));
  BoundaryPlane plane;
  if (batch.empty()) return plane;
  plane.normal = slope.gradient.flatten(1);
  plane.difference = slope.losses;
  // The 1e-12 of FAB's authors: a class without gradient is farther than any other.
  plane.distance = plane.difference.abs() / (RowLengths(DualOf(batch.ball().norm()), plane.normal) + 1e-12);
  return plane;
}

absl::StatusOr<BoundaryPlane> NearestPlane(ActiveBatch& batch, const torch::Tensor& points, uint32_t classes) {
  BoundaryPlane nearest;
  const auto following = batch.Follow({&nearest.normal, &nearest.difference, &nearest.distance});
  const uint32_t others = static_cast<uint32_t>(batch.rows().front().standing->clean_logits.size()) - 1;
  for (uint32_t k = 0; k < std::min(classes, others); ++k) {
    torch::Tensor targets = batch.Targets([&](uint32_t) { return k; });
    const auto targets_follow = batch.Follow({&targets});
    ABSL_ASSIGN_OR_RETURN(const BoundaryPlane plane, PlaneTowards(batch, points, targets));
    if (batch.empty()) break;
    if (!nearest.distance.defined()) {
      nearest = plane;
      continue;
    }
    const torch::Tensor nearer = plane.distance < nearest.distance;
    nearest.normal = torch::where(nearer.view({-1, 1}), plane.normal, nearest.normal);
    nearest.difference = torch::where(nearer, plane.difference, nearest.difference);
    nearest.distance = torch::where(nearer, plane.distance, nearest.distance);
  }
  return nearest;
}

}  // namespace tightrope
