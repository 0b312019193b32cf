#include "core/robustness/training/crafting.h"

#include "core/robustness/attack/loss.h"

namespace tightrope {

torch::Tensor CraftPgdExamples(const LayerGraph& graph, const Ball& ball, torch::Tensor points,
                               const torch::Tensor& labels, uint32_t steps, double step_size) {
  torch::NoGradGuard no_grad;
  const Loss loss = [&](const torch::Tensor& logits) { return CrossEntropyLoss(logits, labels); };
  const torch::Tensor step = torch::full_like(ball.epsilon(), step_size).to(torch::kFloat32);
  for (uint32_t i = 0; i < steps; ++i) {
    LayerGraph::Trace trace = graph.Forward(points);
    ball.Ascend(points, graph.InputGradient(trace, SlopeOf(loss, trace.logits).gradient), step);
  }
  return points;
}

}  // namespace tightrope
