#include "core/robustness/model/kernel_choice.h"

#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/robustness/model/network.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Key;
using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::Flatten;
using torch::nn::Linear;
using torch::nn::ReLU;
using torch::nn::Sequential;

constexpr absl::string_view kForward = "conv2d forward 4x1x3x2 stride 2x1 pad 1x0 dil 1x1 groups 1 on 1x9x8";
constexpr absl::string_view kGradient = "conv2d gradient 4x1x3x2 stride 2x1 pad 1x0 dil 1x1 groups 1 on 1x9x8";

LayerGraph SmallGraph() {
  Sequential network(Conv2d(Conv2dOptions(1, 4, {3, 2}).stride({2, 1}).padding({1, 0})), ReLU(), Flatten(),
                     Linear(4 * 5 * 7, 3));
  return LayerGraph::Of(network);
}

// A clock by which each candidate takes as long as `seconds` says; the candidates come in turns.
class ScriptedClock {
 public:
  explicit ScriptedClock(std::vector<double> seconds) : seconds_(std::move(seconds)) {}
  std::function<absl::Time()> AsFunction() {
    return [this] {
      if (calls_ % 2 == 1) now_ += absl::Seconds(seconds_[calls_ / 2 % seconds_.size()]);
      ++calls_;
      return now_;
    };
  }

 private:
  const std::vector<double> seconds_;
  size_t calls_ = 0;
  absl::Time now_ = absl::UnixEpoch();
};

TEST(KernelChoiceTest, SignaturesNameAllThatTheSpeedDependsOn) {
  EXPECT_THAT(KernelSignatures(SmallGraph(), {1, 9, 8}), ElementsAre(kForward, kGradient));
}

TEST(KernelChoiceTest, EqualLayersHaveOneSignature) {
  Sequential network(Conv2d(Conv2dOptions(2, 2, 3).padding(1)), Conv2d(Conv2dOptions(2, 2, 3).padding(1)), Flatten());
  EXPECT_EQ(KernelSignatures(LayerGraph::Of(network), {2, 5, 5}).size(), 2u);
}

TEST(KernelChoiceTest, WithoutConvolutionsThereIsNothingToChoose) {
  Sequential network(Flatten(), Linear(4, 3));
  EXPECT_THAT(KernelSignatures(LayerGraph::Of(network), {1, 2, 2}), IsEmpty());
}

TEST(KernelChoiceTest, OnlyWhatIsWantedIsTimed) {
  ScriptedClock clock({1});
  const std::vector<std::string> wanted = {std::string(kGradient), "another"};
  EXPECT_THAT(TimeKernels(SmallGraph(), {1, 9, 8}, wanted, torch::kCPU, clock.AsFunction()),
              ElementsAre(Key(kGradient)));
}

TEST(KernelChoiceTest, TheFastestIsChosen_ButTheGuessStaysUnlessAnotherIsClearlyFaster) {
  const std::vector<std::string> wanted = {std::string(kForward)};
  const auto chosen = [&](std::vector<double> direct_nhwc_matrix) {
    ScriptedClock clock(std::move(direct_nhwc_matrix));
    return TimeKernels(SmallGraph(), {1, 9, 8}, wanted, torch::kCPU, clock.AsFunction()).begin()->second;
  };
  EXPECT_EQ(chosen({3, 2, 1}), "matrix");
  EXPECT_EQ(chosen({3, 1, 2}), "direct_nhwc");
  EXPECT_EQ(chosen({1, 2, 3}), "direct");
  EXPECT_EQ(chosen({1, 0.95, 0.95}), "direct");
}

TEST(KernelChoiceTest, TheChoiceIsApplied) {
  const auto graph =
      WithKernels(SmallGraph(), {1, 9, 8}, {{std::string(kForward), "matrix"}, {std::string(kGradient), "backward"}});
  ASSERT_OK(graph);
  const auto& layer = std::get<ConvolutionLayer>(graph->layers().front());
  EXPECT_EQ(layer.forward, ConvolutionLayer::Forward::kMatrix);
  EXPECT_EQ(layer.gradient, ConvolutionLayer::Gradient::kBackward);
}

TEST(KernelChoiceTest, AKernelThatThisVersionDoesNotHaveIsRefused) {
  for (const char* kernel : {"winograd", "", "flipped"}) {  // the last is for strides of one
    EXPECT_THAT(WithKernels(SmallGraph(), {1, 9, 8}, {{std::string(kGradient), kernel}}),
                StatusIs(absl::StatusCode::kUnavailable, HasSubstr("update the worker")))
        << kernel;
  }
}

TEST(KernelChoiceTest, AllKernelsGiveTheSameLogitsAndGradientsUpToRounding) {
  struct Case {
    std::string name;
    Conv2dOptions convolution;
    std::vector<int64_t> image;
  };
  const std::vector<Case> cases = {
      {"first layer", Conv2dOptions(1, 6, 5).padding(2), {1, 11, 9}},
      {"stride that leaves rows over", Conv2dOptions(3, 6, 4).stride(3).padding(1), {3, 13, 12}},
      {"not square", Conv2dOptions(6, 5, {2, 3}).stride({1, 2}).padding({0, 1}).bias(false), {6, 7, 8}},
      {"dilation", Conv2dOptions(5, 4, 3).dilation({2, 1}).padding({2, 1}), {5, 7, 9}},
      {"groups", Conv2dOptions(4, 8, 3).groups(2).dilation(2).padding(2), {4, 6, 7}},
      {"depthwise", Conv2dOptions(8, 8, 3).groups(8).padding(1), {8, 6, 5}},
      {"one by one", Conv2dOptions(7, 3, 1), {7, 5, 3}},
      {"padded beyond the kernel", Conv2dOptions(5, 4, 2).padding(3), {5, 4, 3}},
      {"sixteen channels", Conv2dOptions(16, 32, 4).stride(2).padding(1), {16, 14, 14}},
  };
  torch::manual_seed(1);
  for (const Case& made : cases) {
    Sequential network(Conv2d(made.convolution), ReLU(), Flatten());
    const LayerGraph guessed = LayerGraph::Of(network);
    const ConvolutionLayer layer = std::get<ConvolutionLayer>(guessed.layers()[0]);
    std::vector<int64_t> sizes = made.image;
    sizes.insert(sizes.begin(), 3);
    const torch::Tensor inputs = torch::rand(sizes);
    const torch::Tensor leaf = inputs.clone().requires_grad_(true);
    const torch::Tensor logits = network->forward(leaf);
    const torch::Tensor weights = torch::randn(logits.sizes());
    const torch::Tensor gradient = torch::autograd::grad({logits}, {leaf}, {weights})[0];
    for (const ConvolutionLayer::Forward forward : ForwardKernels(layer)) {
      for (const ConvolutionLayer::Gradient backward : GradientKernels(layer)) {
        ConvolutionLayer other = layer;
        other.forward = forward;
        other.gradient = backward;
        const LayerGraph graph({other, ReluLayer{}, FlattenLayer{}});
        LayerGraph::Trace trace = graph.Forward(inputs);
        const std::string what = absl::StrCat(made.name, ": ", NameOf(forward), ", ", NameOf(backward));
        EXPECT_TRUE(torch::allclose(trace.logits, logits, 1e-4, 1e-5)) << what;
        EXPECT_TRUE(torch::allclose(graph.InputGradient(trace, weights), gradient, 1e-4, 1e-5)) << what;
      }
    }
  }
}

}  // namespace
}  // namespace tightrope
