// Which kernels a graph's layers run on. Results depend on the choice in their last bits, so it must not be made anew
// by every process: whoever makes it times the candidates once (TimeKernels), keeps what came out, and hands it to all
// (WithKernels). Without a choice every layer has the kernel that is the best guess.
//
//   const std::vector<std::string> signatures = KernelSignatures(graph, image);
//   const KernelChoice choice = TimeKernels(graph, image, signatures, device, clock);  // once
//   ABSL_ASSIGN_OR_RETURN(graph, WithKernels(graph, image, choice));                   // everywhere
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/robustness/model/layer_graph.h"
#include "core/robustness/torch.h"

namespace tightrope {

// Signature → kernel's name. A signature is all that the speed of a kernel depends on, but for the device and LibTorch:
// "conv2d forward 32x1x5x5 stride 1x1 pad 2x2 dil 1x1 groups 1 on 1x28x28".
using KernelChoice = std::map<std::string, std::string>;

// What there is to choose in the graph for inputs of shape `image` (channels, height, width). Each once, sorted. Throws
// c10::Error for an image that does not fit.
std::vector<std::string> KernelSignatures(const LayerGraph& graph, at::IntArrayRef image);

// The fastest candidate for each of the graph's signatures that `wanted` names: the best of several rounds, in which
// the candidates take turns, on inputs of our own. The first candidate stays unless another is clearly faster, so that
// two machines alike choose alike. On the calling thread; a second at most for the networks of ours. `now` must not go
// back.
KernelChoice TimeKernels(const LayerGraph& graph, at::IntArrayRef image, const std::vector<std::string>& wanted,
                         torch::Device device, const std::function<absl::Time()>& now);

// The graph on the kernels of `choice`; layers that it does not name keep theirs. Errors: UNAVAILABLE (a kernel that
// this version does not have, but another worker may).
absl::StatusOr<LayerGraph> WithKernels(const LayerGraph& graph, at::IntArrayRef image, const KernelChoice& choice);

// Asked when a graph has been made: gives it its kernels. An empty one leaves it the guesses.
using KernelChooser = std::function<absl::StatusOr<LayerGraph>(const LayerGraph& graph, at::IntArrayRef image)>;

}  // namespace tightrope
