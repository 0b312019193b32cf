// A convolution and the kernels that can compute it. They are the same sums in another order, so the last bits of their
// results differ; which is fastest depends on the shapes, the device and LibTorch's version, by factors of two to ten.
// kernel_choice.h picks.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/robustness/torch.h"

namespace tightrope {

struct ConvolutionLayer {
  // What computes the output.
  enum class Forward {
    kDirect,      // LibTorch's choice: oneDNN or cuDNN
    kDirectNhwc,  // the same with the channels last, which oneDNN has other kernels for; turned around and back
    kMatrix,      // patches as columns, then one matrix product an image
  };
  // What computes the input's gradient.
  enum class Gradient {
    kBackward,      // the kernel that autograd uses
    kBackwardNhwc,  // the same with the channels last
    kTranspose,     // the convolution transposed
    kFlipped,       // a convolution with the weights turned around; stride 1 only
    kFlippedNhwc,   // the same with the channels last
    kMatrix,        // a matrix product an image, whose rows are then added where they overlap
  };

  torch::Tensor weight;                            // out×in/groups×height×width float32
  torch::Tensor bias;                              // out, or undefined
  std::vector<int64_t> stride, padding, dilation;  // height, width
  int64_t groups = 1;
  Forward forward = Forward::kDirect;
  Gradient gradient = Gradient::kBackward;
};

torch::Tensor Apply(const ConvolutionLayer& layer, const torch::Tensor& input);
// `gradient` is that of the output; returns the input's.
torch::Tensor PullBack(const ConvolutionLayer& layer, const torch::Tensor& gradient, const torch::Tensor& input);

// The names are stored by coordinators and must not change; a kernel that computes other bits gets another name.
absl::string_view NameOf(ConvolutionLayer::Forward kernel);
absl::string_view NameOf(ConvolutionLayer::Gradient kernel);

// The kernels that can compute the layer; first the one that is the best guess where nobody has timed them.
std::vector<ConvolutionLayer::Forward> ForwardKernels(const ConvolutionLayer& layer);
std::vector<ConvolutionLayer::Gradient> GradientKernels(const ConvolutionLayer& layer);

}  // namespace tightrope
