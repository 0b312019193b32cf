#include "core/robustness/training/crafting.h"

#include <cstdint>
#include <memory>

#include "core/robustness/attack/active_batch.h"

namespace tightrope {

CraftingMode::CraftingMode(torch::nn::Module& network) {
  for (const std::shared_ptr<torch::nn::Module>& module : network.modules()) {
    modules_.emplace_back(module, module->is_training());
  }
  for (torch::Tensor& parameter : network.parameters()) {
    parameters_.emplace_back(parameter, parameter.requires_grad());
    parameter.set_requires_grad(false);
  }
  network.eval();
}

CraftingMode::~CraftingMode() {
  // train() reaches all children, so a child's own flag is set after its parent's.
  for (auto& [module, was_training] : modules_) module->train(was_training);
  for (auto& [parameter, needed_gradient] : parameters_) parameter.set_requires_grad(needed_gradient);
}

torch::Tensor CraftPgdExamples(torch::nn::Sequential& network, const Ball& ball, torch::Tensor points,
                               const torch::Tensor& labels, uint32_t steps, double step_size) {
  const CraftingMode crafting(*network);
  for (uint32_t step = 0; step < steps; ++step) {
    const torch::Tensor leaf = points.detach().requires_grad_(true);
    const torch::Tensor loss = CrossEntropy(network->forward(leaf), labels);
    ball.Ascend(points, torch::autograd::grad({loss}, {leaf})[0], step_size);
  }
  return points;
}

}  // namespace tightrope
