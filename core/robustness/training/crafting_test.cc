#include "core/robustness/training/crafting.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

// conv, batch norm, ReLU, batch norm (frozen on purpose), flatten, linear (frozen on purpose)
torch::nn::Sequential NetworkWithBatchNorm() {
  torch::nn::Sequential network(torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 4, 3)), torch::nn::BatchNorm2d(4),
                                torch::nn::ReLU(), torch::nn::BatchNorm2d(4), torch::nn::Flatten(),
                                torch::nn::Linear(4 * 4 * 4, 3));
  network->train();
  network[3]->eval();
  for (torch::Tensor& parameter : network[5]->parameters()) parameter.set_requires_grad(false);
  return network;
}

std::vector<bool> TrainingFlags(const torch::nn::Sequential& network) {
  std::vector<bool> flags;
  for (const auto& module : network->modules()) flags.push_back(module->is_training());
  return flags;
}

TEST(CraftingTest, CraftingMovesNoStatisticAndNoFlagAndLeavesNoGradient) {
  torch::nn::Sequential network = NetworkWithBatchNorm();
  std::vector<torch::Tensor> before;
  for (const torch::Tensor& buffer : network->buffers()) before.push_back(buffer.clone());
  const torch::Tensor inputs = torch::rand({6, 1, 6, 6});
  const torch::Tensor labels = torch::tensor({0, 1, 2, 0, 1, 2}, torch::kInt64);
  const Ball ball(v1::NORM_LINF, inputs, torch::full({6}, 0.1, torch::kFloat64));
  const std::vector<bool> training = TrainingFlags(network);
  const torch::Tensor points = CraftPgdExamples(LayerGraph::Of(network), ball, inputs.clone(), labels, 3, 0.05);
  EXPECT_NEAR((points - inputs).abs().max().item<float>(), 0.1, 1e-6);
  EXPECT_FALSE(points.requires_grad());
  EXPECT_EQ(TrainingFlags(network), training);
  const std::vector<torch::Tensor> after = network->buffers();
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(torch::equal(before[i], after[i]));
  for (const torch::Tensor& parameter : network->parameters()) EXPECT_FALSE(parameter.grad().defined());
}

TEST(CraftingTest, CraftedExamplesHaveALargerLossInEitherNorm) {
  torch::nn::Sequential network = NetworkWithBatchNorm();
  network->eval();
  const torch::Tensor inputs = torch::rand({6, 1, 6, 6});
  const torch::Tensor labels = torch::tensor({0, 1, 2, 0, 1, 2}, torch::kInt64);
  const auto loss = [&](const torch::Tensor& at) {
    return torch::nn::functional::cross_entropy(network->forward(at), labels).item<float>();
  };
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2}) {
    const Ball ball(norm, inputs, torch::full({6}, 0.3, torch::kFloat64));
    EXPECT_GT(loss(CraftPgdExamples(LayerGraph::Of(network), ball, inputs.clone(), labels, 5, 0.1)), loss(inputs));
  }
}

}  // namespace
}  // namespace tightrope
