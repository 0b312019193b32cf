#include "core/robustness/training/crafting.h"

#include "core/robustness/attack/active_batch.h"

namespace tightrope {

torch::Tensor CraftPgdExamples(const LayerGraph& graph, const Ball& ball, torch::Tensor points,
                               const torch::Tensor& labels, uint32_t steps, double step_size) {
  torch::NoGradGuard no_grad;
  for (uint32_t step = 0; step < steps; ++step) {
    LayerGraph::Trace trace = graph.Forward(points);
    ball.Ascend(points, graph.InputGradient(trace, CrossEntropyGradient(trace.logits, labels)), step_size);
  }
  return points;
}

}  // namespace tightrope
