// Adversarial examples for training.
#pragma once

#include <cstdint>

#include "core/robustness/attack/ball.h"
#include "core/robustness/model/layer_graph.h"
#include "core/robustness/torch.h"

namespace tightrope {

// `steps` steps of projected gradient ascent on the cross-entropy from `points` (Madry et al. 2018, the inner problem);
// the last iterate. The graph is that of the network in training, so it has its weights of now and is in evaluation
// mode whatever the network's modules are in: batch norm uses its running statistics and moves none. `points`: N×C×H×W
// float32 in the ball, on its device, changed in place; `labels`: N int64 there; `step_size` in units of the input, as
// Ball::Ascend takes it.
torch::Tensor CraftPgdExamples(const LayerGraph& graph, const Ball& ball, torch::Tensor points,
                               const torch::Tensor& labels, uint32_t steps, double step_size);

}  // namespace tightrope
