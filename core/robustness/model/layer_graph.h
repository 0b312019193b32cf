// A feed-forward network as data: a chain of layers, each with its weights. Logits and input gradients are computed
// layer by layer without the autograd tape: attacks need nothing but these two, and the tape's bookkeeping and
// gradients of weights that nobody asks for cost more than half of their time. (Certificates will propagate bounds
// through the same chain, so a new kind of layer is a struct here and a case in each of its readers.)
//
// Weights are shared with the network that the graph was made of, not copied: an optimizer's step on them is seen here.
// What differs between training and evaluation (dropout, batch norm) is taken as in evaluation.
//
// On the CPU the convolutional part, up to the first flattening, runs on a few inputs at a time, from the first layer
// to the last: what one layer leaves is still in the cache when the next reads it. A batch as a whole does not fit, and
// the kernels spend up to three quarters of their time waiting for memory.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "core/robustness/model/convolution.h"
#include "core/robustness/model/max_pool.h"
#include "core/robustness/torch.h"

namespace tightrope {

struct LinearLayer {
  torch::Tensor weight;  // out×in float32
  torch::Tensor bias;    // out, or undefined
};
struct BatchNormLayer {                        // by its running statistics
  torch::Tensor weight, bias, mean, variance;  // a number a channel; weight and bias may be undefined
  double epsilon = 0;
};
struct ReluLayer {};
struct FlattenLayer {};  // all but the first dimension

using Layer = std::variant<ConvolutionLayer, LinearLayer, BatchNormLayer, ReluLayer, MaxPoolLayer, FlattenLayer>;

// Immutable but for the weights; safe to share between threads that only read.
class LayerGraph {
 public:
  // Layers may be exchanged where that changes no bit of what comes out.
  explicit LayerGraph(std::vector<Layer> layers);
  // Of a network of ours. Throws c10::Error for a module that no layer stands for.
  static LayerGraph Of(torch::nn::Sequential& network);
  // Of a TorchScript module in evaluation mode, where it is a chain of such layers; nothing where it is not, or where
  // the chain does not give its logits on `probe` (N×C×H×W, on its device) to 1e-4.
  static std::optional<LayerGraph> Of(const torch::jit::Module& module, const torch::Tensor& probe);

  const std::vector<Layer>& layers() const { return layers_; }

  // `inputs`: N×C×H×W float32 on the weights' device. Returns N×classes logits. Throws c10::Error for another shape.
  torch::Tensor Logits(const torch::Tensor& inputs) const;

  // What a forward pass leaves behind for the way back.
  struct Kept {            // of one layer
    torch::Tensor values;  // convolution, max-pooling, flattening: its input; ReLU: its output
    torch::Tensor places;  // max-pooling: of the largest
  };
  struct Trace {
    torch::Tensor logits;
    int64_t block_rows = 0;
    std::vector<std::vector<Kept>> blocks;  // of the convolutional part: so many inputs each, then layers
    std::vector<Kept> rest;                 // of the other layers
  };
  Trace Forward(const torch::Tensor& inputs) const;

  // The gradient of sum(logits * weights) at the inputs, N×C×H×W. `weights`: N×classes. Uses `trace` up.
  torch::Tensor InputGradient(Trace& trace, const torch::Tensor& weights) const;

  // How many of these inputs run through the convolutional part at a time.
  int64_t BlockRows(const torch::Tensor& inputs) const;

 private:
  torch::Tensor Run(const torch::Tensor& inputs, Trace* trace) const;
  // Layers [begin, end) forward; what they leave behind is added to `trace`.
  torch::Tensor Pass(size_t begin, size_t end, torch::Tensor values, std::vector<Kept>* trace) const;
  // The layers that left `trace`, from `begin` on, backward.
  torch::Tensor PassBack(size_t begin, torch::Tensor gradient, std::vector<Kept> trace) const;

  std::vector<Layer> layers_;
  size_t blocked_ = 0;  // layers of the convolutional part
};

}  // namespace tightrope
