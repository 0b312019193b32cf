// What attacks share that see only whether the model is wrong, not its logits: a point to begin at, and bisection.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/robustness/attack/active_batch.h"
#include "core/robustness/torch.h"

namespace tightrope {

// Looks that WrongNoise takes at most. Its draws are steps of ActiveBatch::Uniform below kStepsOfNoise; those of the
// search that follows begin there.
constexpr uint32_t kNoiseLooks = 60;
constexpr uint32_t kStepsOfNoise = 2 + kNoiseLooks;

// A point for each row that the model gets wrong, far from the example: the first such among kNoiseLooks draws, uniform
// in [0, 1]. The first of them are a draw an element (Brendel et al. 2018, Chen et al. 2020), which many models take
// for one class whatever the draw, so that examples of that class would have no start; each next one is coarser, with
// squares of 1, 2, 4, 8 and 16 elements a side in turn. Searches that find none end. Errors: those of Judge.
absl::StatusOr<torch::Tensor> WrongNoise(ActiveBatch& batch);

// Moves points that the model gets wrong towards their examples, to within 2^-halvings of the boundary as a share of
// the way, and on its wrong side: in l2 along the straight line, in linf by shrinking the box around the example that
// they are clipped to (Chen et al. 2020, algorithm 1). REQUIRES: `points` is one of the followed tensors. Errors: those
// of Judge.
absl::Status BisectToExample(ActiveBatch& batch, torch::Tensor& points, uint32_t halvings);

// ‖offsets‖₂ of each row, and at least 1e-12, to be divided by: N×1×1×1.
torch::Tensor LengthOf(const torch::Tensor& offsets);

// ‖points − examples‖ in the threat model's norm, N×1×1×1 float32.
torch::Tensor DistancesToExamples(const ActiveBatch& batch, const torch::Tensor& points);

}  // namespace tightrope
