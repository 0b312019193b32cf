#include "core/robustness/model/kernel_choice.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// A block of a mid-sized network. Fixed, because a signature says nothing of rows.
constexpr int64_t kRows = 16;
constexpr int kRounds = 7;
constexpr double kClearly = 0.9;  // of the first candidate's time

struct Convolution {
  size_t index = 0;            // in the graph's layers
  std::vector<int64_t> input;  // N×C×H×W
  std::string signature(const LayerGraph& graph, absl::string_view way) const {
    const ConvolutionLayer& layer = std::get<ConvolutionLayer>(graph.layers()[index]);
    return absl::StrCat("conv2d ", way, " ", absl::StrJoin(layer.weight.sizes(), "x"), " stride ",
                        absl::StrJoin(layer.stride, "x"), " pad ", absl::StrJoin(layer.padding, "x"), " dil ",
                        absl::StrJoin(layer.dilation, "x"), " groups ", layer.groups, " on ",
                        absl::StrJoin(input.begin() + 1, input.end(), "x"));
  }
};

constexpr absl::string_view kForward = "forward";
constexpr absl::string_view kGradient = "gradient";

std::vector<Convolution> Convolutions(const LayerGraph& graph, at::IntArrayRef image) {
  std::vector<Convolution> found;
  const auto first = std::find_if(graph.layers().begin(), graph.layers().end(),
                                  [](const Layer& layer) { return std::holds_alternative<ConvolutionLayer>(layer); });
  if (first == graph.layers().end()) return found;
  std::vector<int64_t> sizes = image.vec();
  sizes.insert(sizes.begin(), 1);
  // What a pass of one image leaves behind has the shapes.
  const LayerGraph::Trace trace =
      graph.Forward(torch::zeros(sizes, std::get<ConvolutionLayer>(*first).weight.options()));
  std::vector<LayerGraph::Kept> kept = trace.blocks.empty() ? std::vector<LayerGraph::Kept>() : trace.blocks.front();
  kept.insert(kept.end(), trace.rest.begin(), trace.rest.end());
  for (size_t i = 0; i < kept.size(); ++i) {
    if (!std::holds_alternative<ConvolutionLayer>(graph.layers()[i])) continue;
    found.push_back({.index = i, .input = kept[i].values.sizes().vec()});
  }
  return found;
}

// Runs `compute(candidate)` for every candidate, in turns; the index of the fastest.
template <typename Compute>
size_t Fastest(size_t candidates, torch::Device device, const std::function<absl::Time()>& now,
               const Compute& compute) {
  std::vector<absl::Duration> best(candidates, absl::InfiniteDuration());
  for (int round = -1; round < kRounds; ++round) {  // the first is for warming up
    for (size_t i = 0; i < candidates; ++i) {
      const absl::Time start = now();
      compute(i);
      if (device.is_cuda()) torch::cuda::synchronize(device.index());
      const absl::Duration took = now() - start;
      if (round >= 0) best[i] = std::min(best[i], took);
    }
  }
  const size_t fastest = static_cast<size_t>(std::min_element(best.begin(), best.end()) - best.begin());
  return best[fastest] < kClearly * best[0] ? fastest : 0;
}

// The kernel of that name, among those that can compute the layer.
template <typename Kernel>
absl::Status Set(const std::vector<Kernel>& kernels, const std::string& signature, const KernelChoice& choice,
                 Kernel& kernel) {
  const auto chosen = choice.find(signature);
  if (chosen == choice.end()) return absl::OkStatus();
  for (const Kernel candidate : kernels) {
    if (NameOf(candidate) != chosen->second) continue;
    kernel = candidate;
    return absl::OkStatus();
  }
  return absl::UnavailableError(
      absl::StrCat("the kernel that was chosen is not known here, and another would round differently; update the "
                   "worker: ",
                   chosen->second, " for ", signature));
}

}  // namespace

std::vector<std::string> KernelSignatures(const LayerGraph& graph, at::IntArrayRef image) {
  std::set<std::string> signatures;
  for (const Convolution& convolution : Convolutions(graph, image)) {
    signatures.insert(convolution.signature(graph, kForward));
    signatures.insert(convolution.signature(graph, kGradient));
  }
  return {signatures.begin(), signatures.end()};
}

KernelChoice TimeKernels(const LayerGraph& graph, at::IntArrayRef image, const std::vector<std::string>& wanted,
                         torch::Device device, const std::function<absl::Time()>& now) {
  torch::NoGradGuard no_grad;
  KernelChoice choice;
  const auto time = [&](const std::string& signature, const auto& kernels, const auto& compute) {
    if (choice.contains(signature) || std::find(wanted.begin(), wanted.end(), signature) == wanted.end()) return;
    choice[signature] = std::string(NameOf(kernels[Fastest(kernels.size(), device, now, compute)]));
  };
  for (const Convolution& convolution : Convolutions(graph, image)) {
    ConvolutionLayer layer = std::get<ConvolutionLayer>(graph.layers()[convolution.index]);
    layer.weight = torch::rand(layer.weight.sizes(), layer.weight.options().requires_grad(false));
    std::vector<int64_t> sizes = convolution.input;
    sizes[0] = kRows;
    const torch::Tensor input = torch::rand(sizes, layer.weight.options());
    const torch::Tensor gradient = Apply(layer, input);
    const std::vector<ConvolutionLayer::Forward> forward = ForwardKernels(layer);
    time(convolution.signature(graph, kForward), forward, [&](size_t i) {
      layer.forward = forward[i];
      Apply(layer, input);
    });
    const std::vector<ConvolutionLayer::Gradient> backward = GradientKernels(layer);
    time(convolution.signature(graph, kGradient), backward, [&](size_t i) {
      layer.gradient = backward[i];
      PullBack(layer, gradient, input);
    });
  }
  return choice;
}

absl::StatusOr<LayerGraph> WithKernels(const LayerGraph& graph, at::IntArrayRef image, const KernelChoice& choice) {
  std::vector<Layer> layers = graph.layers();
  for (const Convolution& convolution : Convolutions(graph, image)) {
    auto& layer = std::get<ConvolutionLayer>(layers[convolution.index]);
    ABSL_RETURN_IF_ERROR(Set(ForwardKernels(layer), convolution.signature(graph, kForward), choice, layer.forward));
    ABSL_RETURN_IF_ERROR(Set(GradientKernels(layer), convolution.signature(graph, kGradient), choice, layer.gradient));
  }
  return LayerGraph(std::move(layers));
}

}  // namespace tightrope
