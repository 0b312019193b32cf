// Linearised decision boundaries, which FAB and DeepFool step to.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/robustness/attack/active_batch.h"
#include "core/robustness/torch.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// Where f_k − f_label is zero to first order, seen from the point z where it was linearised: normal·(x − z) =
// −difference.
struct BoundaryPlane {
  torch::Tensor normal;      // N×d, the gradient of f_k − f_label at z
  torch::Tensor difference;  // N, f_k − f_label at z; below zero where z is on the label's side
  torch::Tensor distance;    // N, of z to the plane, in the norm of the batch's ball
};

// Towards the class `targets` (N int64), one gradient. Undefined where the batch is empty afterwards, here and below.
absl::StatusOr<BoundaryPlane> PlaneTowards(ActiveBatch& batch, const torch::Tensor& points,
                                           const torch::Tensor& targets);

// Of the planes of the `classes` likeliest other classes at the example the one nearest to the point, a gradient each;
// no more than there are.
absl::StatusOr<BoundaryPlane> NearestPlane(ActiveBatch& batch, const torch::Tensor& points, uint32_t classes);

}  // namespace tightrope
