#include "core/robustness/model/layer_graph.h"

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/robustness/model/network.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/shared_data.h"

namespace tightrope {
namespace {

using torch::nn::BatchNorm2d;
using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::Flatten;
using torch::nn::Linear;
using torch::nn::MaxPool2d;
using torch::nn::MaxPool2dOptions;
using torch::nn::ReLU;
using torch::nn::Sequential;

struct Case {
  std::string name;
  Sequential network;
  std::vector<int64_t> shape;  // of one input
};

// Strides that leave rows over, paddings, groups, dilation, overlapping pools, no biases.
std::vector<Case> Networks() {
  std::vector<Case> cases;
  cases.push_back({"mlp", Sequential(Flatten(), Linear(35, 9), ReLU(), Linear(9, 4)), {1, 5, 7}});
  cases.push_back({"relu first", Sequential(ReLU(), Flatten(), ReLU(), Linear(12, 4)), {3, 2, 2}});
  cases.push_back({"strides that leave rows over",
                   Sequential(Conv2d(Conv2dOptions(1, 6, 4).stride(3).padding(1)), ReLU(),
                              Conv2d(Conv2dOptions(6, 5, {2, 3}).stride({1, 2}).padding({0, 1}).bias(false)), ReLU(),
                              Flatten(), Linear(5 * 3 * 2, 4)),
                   {1, 13, 12}});
  cases.push_back(
      {"groups and dilation",
       Sequential(Conv2d(Conv2dOptions(4, 8, 3).groups(2).dilation(2).padding(2)), ReLU(),
                  Conv2d(Conv2dOptions(8, 8, 3).groups(8).padding(1)), ReLU(), Flatten(), Linear(8 * 36, 4)),
       {4, 6, 6}});
  cases.push_back({"pools that overlap",
                   Sequential(Conv2d(Conv2dOptions(8, 5, 3)), ReLU(),
                              MaxPool2d(MaxPool2dOptions(3).stride(2).padding(1)), Flatten(), Linear(5 * 4 * 4, 4)),
                   {8, 9, 9}});
  cases.push_back({"batch norm",
                   Sequential(Conv2d(Conv2dOptions(1, 4, 3)), BatchNorm2d(4), ReLU(), Flatten(), Linear(4 * 16, 4)),
                   {1, 6, 6}});
  for (Case& made : cases) {
    torch::NoGradGuard no_grad;
    for (torch::Tensor& buffer : made.network->buffers()) {
      if (buffer.is_floating_point()) buffer.uniform_(0.5, 1.5);
    }
    made.network->eval();
  }
  return cases;
}

torch::Tensor Inputs(const Case& made, int64_t rows) {
  std::vector<int64_t> shape = made.shape;
  shape.insert(shape.begin(), rows);
  return torch::rand(shape);
}

// By the tape.
torch::Tensor Gradient(Sequential& network, const torch::Tensor& inputs, const torch::Tensor& weights) {
  const torch::Tensor leaf = inputs.clone().requires_grad_(true);
  return torch::autograd::grad({network->forward(leaf)}, {leaf}, {weights})[0];
}

TEST(LayerGraphTest, LogitsAreThoseOfTheNetworkBitForBit) {
  for (Case& made : Networks()) {
    const torch::Tensor inputs = Inputs(made, 7);
    const LayerGraph graph = LayerGraph::Of(made.network);
    const torch::Tensor before = inputs.clone();
    EXPECT_TRUE(torch::equal(graph.Logits(inputs), made.network->forward(inputs))) << made.name;
    EXPECT_TRUE(torch::equal(graph.Forward(inputs).logits, made.network->forward(inputs))) << made.name;
    EXPECT_TRUE(torch::equal(inputs, before)) << made.name;
    EXPECT_FALSE(graph.Logits(inputs).requires_grad()) << made.name;
  }
}

TEST(LayerGraphTest, InputGradientsAreThoseOfTheTape) {
  for (Case& made : Networks()) {
    const torch::Tensor inputs = Inputs(made, 7);
    const torch::Tensor weights = torch::randn({7, 4});
    const LayerGraph graph = LayerGraph::Of(made.network);
    LayerGraph::Trace trace = graph.Forward(inputs);
    const torch::Tensor gradient = graph.InputGradient(trace, weights);
    EXPECT_EQ(gradient.sizes(), inputs.sizes()) << made.name;
    EXPECT_TRUE(torch::allclose(gradient, Gradient(made.network, inputs, weights), 1e-4, 1e-6)) << made.name;
  }
}

TEST(LayerGraphTest, ABatchOfSeveralBlocksAndARestIsThatOfTheTape) {
  Sequential network(BatchNorm2d(1), Conv2d(Conv2dOptions(1, 32, 3).padding(1)), ReLU(), MaxPool2d(2),
                     Conv2d(Conv2dOptions(32, 4, 3)), ReLU(), Flatten(), Linear(4 * 14 * 14, 5));
  network->eval();
  const LayerGraph graph = LayerGraph::Of(network);
  const int64_t block = graph.BlockRows(torch::rand({100, 1, 32, 32}));
  EXPECT_GT(block, 1);
  for (const int64_t rows : {block, block + 1, 3 * block - 1, 3 * block, int64_t{0}}) {
    const torch::Tensor inputs = torch::rand({rows, 1, 32, 32});
    const torch::Tensor before = inputs.clone();
    const torch::Tensor weights = torch::randn({rows, 5});
    LayerGraph::Trace trace = graph.Forward(inputs);
    EXPECT_TRUE(torch::equal(trace.logits, graph.Logits(inputs))) << rows;
    EXPECT_TRUE(torch::allclose(trace.logits, network->forward(inputs), 1e-4, 1e-5)) << rows;
    const torch::Tensor gradient = graph.InputGradient(trace, weights);
    EXPECT_TRUE(torch::equal(inputs, before)) << rows;
    EXPECT_TRUE(rows == 0 || torch::allclose(gradient, Gradient(network, inputs, weights), 1e-4, 1e-5)) << rows;
  }
}

TEST(LayerGraphTest, AStepOfTheOptimizerIsSeen) {
  Sequential network(Flatten(), Linear(4, 3));
  const LayerGraph graph = LayerGraph::Of(network);
  const torch::Tensor inputs = torch::rand({2, 1, 2, 2});
  {
    torch::NoGradGuard no_grad;
    for (torch::Tensor& parameter : network->parameters()) parameter.add_(1);
  }
  EXPECT_TRUE(torch::equal(graph.Logits(inputs), network->forward(inputs)));
}

TEST(LayerGraphTest, AModuleThatNoLayerStandsForIsRefused) {
  Sequential network{Flatten(), torch::nn::Tanh()};
  EXPECT_THROW(LayerGraph::Of(network), c10::Error);
}

class TorchScriptGraphTest : public ::testing::Test {
 protected:
  static torch::jit::Module Module(const std::string& forward) {
    torch::jit::Module module("Model");
    module.register_parameter("weight", torch::rand({3, 4}), /*is_buffer=*/false);
    module.register_parameter("kernel", torch::rand({2, 1, 2, 2}), /*is_buffer=*/false);
    module.define("def forward(self, x):\n  " + forward + "\n");
    return module;
  }
  static bool HasGraph(const std::string& forward) {
    return LayerGraph::Of(Module(forward), torch::rand({2, 1, 2, 2})).has_value();
  }
};

TEST_F(TorchScriptGraphTest, AChainOfLayersBecomesAGraph) {
  EXPECT_TRUE(HasGraph("return torch.linear(torch.flatten(torch.relu(x), 1), self.weight)"));
  EXPECT_TRUE(HasGraph("return torch.flatten(torch.conv2d(x, self.kernel, None, [1, 1], [1, 1]), 1)"));
}

TEST_F(TorchScriptGraphTest, WhatIsNoChainOfThemIsLeftAsItIs) {
  for (const char* forward : {
           "return torch.linear(torch.flatten(torch.tanh(x), 1), self.weight)",               // no layer of ours
           "y = torch.linear(torch.flatten(x, 1), self.weight)\n  return y + torch.relu(y)",  // not a chain
           "return torch.linear(torch.flatten(x, 1), self.weight * x.sum())",                 // a weight that is none
           "return torch.linear(torch.flatten(x, 0).view(2, 4), self.weight)",                // another flattening
           "if x.sum() > 0:\n    x = torch.relu(x)\n  return torch.flatten(x, 1)",            // branches
       }) {
    EXPECT_FALSE(HasGraph(forward)) << forward;
  }
}

TEST_F(TorchScriptGraphTest, TheGoldenModelsAreGraphs) {
  for (const char* name : {"at03.pt", "std.pt", "fashion_at01.pt", "fashion_std.pt"}) {
    TIGHTROPE_NEEDS_SHARED(std::string("golden/") + name);
    torch::jit::Module module = torch::jit::load(SharedDirectory() + "/golden/" + name);
    module.eval();
    const torch::Tensor inputs = torch::rand({5, 1, 28, 28});
    const std::optional<LayerGraph> graph = LayerGraph::Of(module, inputs);
    ASSERT_TRUE(graph.has_value()) << name;
    EXPECT_EQ(graph->layers().size(), 8u);
    const torch::Tensor leaf = inputs.clone().requires_grad_(true);
    const torch::Tensor weights = torch::randn({5, 10});
    const torch::Tensor wanted = torch::autograd::grad({module.forward({leaf}).toTensor()}, {leaf}, {weights})[0];
    LayerGraph::Trace trace = graph->Forward(inputs);
    EXPECT_TRUE(torch::allclose(graph->InputGradient(trace, weights), wanted, 1e-4, 1e-5)) << name;
  }
}

}  // namespace
}  // namespace tightrope
