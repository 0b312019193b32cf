// A feed-forward network as data: a chain of layers, each with its weights. Logits and input gradients are computed
// layer by layer without the autograd tape: attacks need nothing but these two, and the tape's bookkeeping and
// gradients of weights that nobody asks for cost more than half of their time. (Certificates will propagate bounds
// through the same chain, so a new kind of layer is a struct here and a case in each of its readers.)
//
// Weights are shared with the network that the graph was made of, not copied: an optimizer's step on them is seen here.
// What differs between training and evaluation (dropout, batch norm) is taken as in evaluation.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "core/robustness/torch.h"

namespace tightrope {

// What computes a convolution's input gradient. All three are the same sums in another order, so the last bits differ.
enum class ConvolutionGradient {
  kBackward,   // the kernel that autograd uses
  kTranspose,  // the convolution transposed
  kMatrix,     // one matrix product, whose rows are then added where they overlap
};

struct ConvolutionLayer {
  torch::Tensor weight;                            // out×in/groups×height×width float32
  torch::Tensor bias;                              // out, or undefined
  std::vector<int64_t> stride, padding, dilation;  // height, width
  int64_t groups = 1;
  ConvolutionGradient gradient = ConvolutionGradient::kBackward;
};
struct LinearLayer {
  torch::Tensor weight;  // out×in float32
  torch::Tensor bias;    // out, or undefined
};
struct BatchNormLayer {                        // by its running statistics
  torch::Tensor weight, bias, mean, variance;  // a number a channel; weight and bias may be undefined
  double epsilon = 0;
};
struct ReluLayer {};
struct MaxPoolLayer {
  std::vector<int64_t> kernel, stride, padding, dilation;
  bool ceil_mode = false;
};
struct FlattenLayer {};  // all but the first dimension

using Layer = std::variant<ConvolutionLayer, LinearLayer, BatchNormLayer, ReluLayer, MaxPoolLayer, FlattenLayer>;

// Immutable but for the weights; safe to share between threads that only read.
class LayerGraph {
 public:
  explicit LayerGraph(std::vector<Layer> layers) : layers_(std::move(layers)) {}
  // Of a network of ours. Throws c10::Error for a module that no layer stands for.
  static LayerGraph Of(torch::nn::Sequential& network);
  // Of a TorchScript module in evaluation mode, where it is a chain of such layers; nothing where it is not, or where
  // the chain does not give its logits on `probe` (N×C×H×W, on its device) to 1e-4.
  static std::optional<LayerGraph> Of(const torch::jit::Module& module, const torch::Tensor& probe);

  const std::vector<Layer>& layers() const { return layers_; }

  // `inputs`: N×C×H×W float32 on the weights' device. Returns N×classes logits. Throws c10::Error for another shape.
  torch::Tensor Logits(const torch::Tensor& inputs) const;

  // What a forward pass leaves behind for the way back.
  struct Kept {             // of one layer
    torch::Tensor values;   // convolution, max-pooling, flattening: its input; ReLU: its output
    torch::Tensor indices;  // max-pooling: of the largest
  };
  struct Trace {
    torch::Tensor logits;
    std::vector<Kept> kept;
  };
  Trace Forward(const torch::Tensor& inputs) const;

  // The gradient of sum(logits * weights) at the inputs, N×C×H×W. `weights`: N×classes. Uses `trace` up.
  torch::Tensor InputGradient(Trace& trace, const torch::Tensor& weights) const;

 private:
  std::vector<Layer> layers_;
};

}  // namespace tightrope
