#include "core/robustness/model/windowed_logits.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/random/random_stream.h"
#include "core/robustness/model/layer_graph.h"
#include "core/robustness/model/network.h"
#include "gtest/gtest.h"

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
  std::vector<int64_t> shape;  // of one image
  int64_t rows = 8;
};

Case Ours(const std::string& name, const v1::Architecture& architecture, uint32_t side, int64_t rows) {
  v1::DatasetRef data;
  data.set_channels(1);
  data.set_height(side);
  data.set_width(side);
  data.set_classes(10);
  return {name, MakeNetwork(architecture, data).value(), {1, side, side}, rows};
}

std::vector<Case> Networks() {
  v1::Architecture small, madry, mlp;
  small.mutable_small_cnn();
  madry.mutable_madry_cnn();
  mlp.mutable_mlp()->add_hidden(20);
  std::vector<Case> cases;
  cases.push_back(Ours("small_cnn", small, 28, 8));
  cases.push_back(Ours("madry_cnn", madry, 28, 3));
  cases.push_back(Ours("mlp", mlp, 9, 8));
  cases.push_back({"odd sizes, strides and paddings, batch norm, pools that overlap",
                   Sequential(Conv2d(Conv2dOptions(2, 6, {3, 4}).stride({2, 1}).padding({1, 2})), BatchNorm2d(6),
                              ReLU(), MaxPool2d(MaxPool2dOptions(3).stride(2).padding(1)),
                              Conv2d(Conv2dOptions(6, 5, {2, 3}).stride({1, 2}).padding({0, 1}).bias(false)), ReLU(),
                              Flatten(), Linear(5 * 8 * 7, 9), ReLU(), Linear(9, 4)),
                   {2, 33, 27}});
  cases.push_back(
      {"batch norm first",
       Sequential(BatchNorm2d(4), Conv2d(Conv2dOptions(4, 8, 3).padding(1)), ReLU(), Flatten(), Linear(8 * 11 * 14, 4)),
       {4, 11, 14}});
  cases.push_back({"strides past the kernel, which leave pixels unread",
                   Sequential(Conv2d(Conv2dOptions(1, 4, 2).stride(3)), ReLU(), Flatten(), Linear(4 * 5 * 4, 4)),
                   {1, 15, 12}});
  for (size_t i = 0; i < cases.size(); ++i) {
    torch::NoGradGuard no_grad;
    InitialiseWeights(*cases[i].network, RandomStream(i, "windowed", "weights"));
    for (torch::Tensor& parameter : cases[i].network->parameters()) {
      if (parameter.dim() > 1) parameter.mul_(2.5);  // so that a changed pixel is seen in the logits
    }
    for (torch::Tensor& buffer : cases[i].network->buffers()) {
      if (buffer.is_floating_point()) buffer.uniform_(0.5, 1.5);
    }
    cases[i].network->eval();
  }
  return cases;
}

class WindowedLogitsTest : public ::testing::Test {
 protected:
  WindowedLogitsTest() { torch::manual_seed(1); }

  static torch::Tensor Images(const Case& made) {
    std::vector<int64_t> shape = made.shape;
    shape.insert(shape.begin(), made.rows);
    return torch::rand(shape);
  }
  static int64_t Below(int64_t end) { return torch::randint(end, {1}).item<int64_t>(); }
};

std::string Text(const Window& window) {
  return absl::StrCat(window.height, "×", window.width, " at ", window.row, ", ", window.column);
}

bool Close(const torch::Tensor& logits, const torch::Tensor& wanted) {
  return torch::allclose(logits, wanted, /*rtol=*/0, /*atol=*/1e-4);
}

TEST_F(WindowedLogitsTest, AChangeInAnyWindowGivesTheLogitsOfTheChangedImages) {
  for (Case& made : Networks()) {
    const LayerGraph graph = LayerGraph::Of(made.network);
    const torch::Tensor images = Images(made);
    const std::unique_ptr<WindowedLogits> windowed = MakeWindowedLogits(graph, images);
    ASSERT_NE(windowed, nullptr) << made.name;
    const int64_t height = made.shape[1], width = made.shape[2];
    const std::vector<std::pair<int64_t, int64_t>> sizes = {
        {1, 1}, {2, 3}, {5, 4}, {1, width}, {height, 1}, {height / 2, width / 2}, {height, width}};
    const torch::Tensor unchanged = graph.Logits(images);
    int tries = 0, moved = 0;
    for (const auto& [rows, columns] : sizes) {
      for (const int64_t row : {int64_t{0}, Below(height - rows + 1), height - rows}) {
        for (const int64_t column : {int64_t{0}, Below(width - columns + 1), width - columns}) {
          const Window window{.row = row, .column = column, .height = rows, .width = columns};
          torch::Tensor changed = images.clone();
          window.Of(changed).uniform_();
          const torch::Tensor wanted = graph.Logits(changed);
          EXPECT_TRUE(Close(windowed->Try(changed, window), wanted)) << made.name << ": " << Text(window);
          ++tries;
          moved += !Close(wanted, unchanged);
        }
      }
    }
    EXPECT_GT(moved, tries / 2) << made.name;
  }
}

// As the Square attack uses it: one tensor of images, changed in place; rejected rows put back before the others are
// accepted; rows that leave before or after that. One image alone, too: its tensors are contiguous in every order, so
// that what is meant to be a copy may be none.
TEST_F(WindowedLogitsTest, AfterHundredsOfChangesItIsStillTheModel) {
  constexpr int kSteps = 600;
  std::vector<Case> cases = Networks();
  for (const Case& made : Networks()) cases.push_back({made.name + " of one image", made.network, made.shape, 1});
  for (Case& made : cases) {
    const LayerGraph graph = LayerGraph::Of(made.network);
    torch::Tensor images = Images(made);
    const std::unique_ptr<WindowedLogits> windowed = MakeWindowedLogits(graph, images);
    ASSERT_NE(windowed, nullptr) << made.name;
    for (int step = 0; step < kSteps; ++step) {
      const int64_t most = step % 20 == 7 ? 1000 : 4;  // now and then a large one
      Window window{.row = 0,
                    .column = 0,
                    .height = 1 + Below(std::min(most, made.shape[1])),
                    .width = 1 + Below(std::min(most, made.shape[2]))};
      window.row = Below(made.shape[1] - window.height + 1);
      window.column = Below(made.shape[2] - window.width + 1);
      torch::Tensor before = window.Of(images).clone();
      window.Of(images).uniform_();
      const torch::Tensor logits = windowed->Try(images, window);
      if ((step % 25 == 0 || step + 1 == kSteps) && !Close(logits, graph.Logits(images))) {
        ADD_FAILURE() << made.name << ", step " << step << ": " << Text(window);
        break;
      }
      const auto keep = [&] {
        const torch::Tensor kept =
            torch::randperm(images.size(0), torch::kInt64).slice(0, 0, std::max<int64_t>(images.size(0) - 1, 2));
        images = images.index_select(0, kept);
        before = before.index_select(0, kept);
        windowed->Keep(kept);
      };
      if (step % 100 == 20) keep();
      const torch::Tensor better = torch::rand({images.size(0)}) < 0.5;
      window.Of(images).copy_(torch::where(better.view({-1, 1, 1, 1}), window.Of(images), before));
      windowed->Accept(better);
      if (step % 100 == 70) keep();
    }
  }
}

TEST_F(WindowedLogitsTest, WhatIsOutOfAWindowsReachIsNotComputedAgain) {
  Case made = std::move(Networks().front());
  const LayerGraph graph = LayerGraph::Of(made.network);
  torch::Tensor images = Images(made);
  const std::unique_ptr<WindowedLogits> windowed = MakeWindowedLogits(graph, images);
  ASSERT_NE(windowed, nullptr);
  images.slice(2, 20).fill_(std::numeric_limits<float>::quiet_NaN());  // would show
  ASSERT_TRUE(graph.Logits(images).isnan().any().item<bool>());
  const Window window{.row = 2, .column = 3, .height = 3, .width = 3};
  EXPECT_TRUE(windowed->Try(images, window).isfinite().all().item<bool>());
}

TEST_F(WindowedLogitsTest, ANetworkThatItDoesNotUnderstandHasNone) {
  std::vector<std::pair<const char*, Sequential>> networks;
  networks.emplace_back("a dilated convolution", Sequential(Conv2d(Conv2dOptions(1, 4, 3).dilation(2).padding(2)),
                                                            Flatten(), Linear(4 * 64, 4)));
  networks.emplace_back("groups", Sequential(Conv2d(Conv2dOptions(1, 4, 3).padding(1)),
                                             Conv2d(Conv2dOptions(4, 4, 3).groups(2)), Flatten(), Linear(4 * 36, 4)));
  networks.emplace_back("a dilated pool",
                        Sequential(MaxPool2d(MaxPool2dOptions(2).stride(1).dilation(2)), Flatten(), Linear(36, 4)));
  networks.emplace_back("a pool that reads past the end",
                        Sequential(MaxPool2d(MaxPool2dOptions(3).stride(2).ceil_mode(true)), Flatten(), Linear(16, 4)));
  networks.emplace_back("no linear layer", Sequential(Conv2d(Conv2dOptions(1, 4, 8)), Flatten()));
  for (auto& [name, network] : networks) {
    const torch::Tensor images = torch::rand({2, 1, 8, 8});
    const LayerGraph graph = LayerGraph::Of(network);
    ASSERT_EQ(graph.Logits(images).size(1), 4) << name;
    EXPECT_EQ(MakeWindowedLogits(graph, images), nullptr) << name;
  }
}

}  // namespace
}  // namespace tightrope
