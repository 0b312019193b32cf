#include "core/robustness/model/convolution.h"

#include <tuple>
#include <utility>

namespace tightrope {
namespace {

using Forward = ConvolutionLayer::Forward;
using Gradient = ConvolutionLayer::Gradient;

int64_t Span(const ConvolutionLayer& layer, int64_t i) { return layer.dilation[i] * (layer.weight.size(2 + i) - 1); }

torch::Tensor Transposed(const ConvolutionLayer& layer, const torch::Tensor& gradient, const torch::Tensor& input) {
  std::vector<int64_t> missing(2);  // rows and columns at the end that no stride reached
  for (int64_t i = 0; i < 2; ++i) {
    missing[i] =
        input.size(2 + i) - ((gradient.size(2 + i) - 1) * layer.stride[i] - 2 * layer.padding[i] + Span(layer, i) + 1);
  }
  return torch::conv_transpose2d(gradient, layer.weight, {}, layer.stride, layer.padding, missing, layer.groups,
                                 layer.dilation);
}

torch::Tensor ChannelsLast(const torch::Tensor& tensor) { return tensor.contiguous(at::MemoryFormat::ChannelsLast); }

torch::Tensor Backward(const ConvolutionLayer& layer, const torch::Tensor& gradient, const torch::Tensor& input,
                       const torch::Tensor& weight) {
  return std::get<0>(torch::convolution_backward(gradient, input, weight, c10::nullopt, layer.stride, layer.padding,
                                                 layer.dilation, /*transposed=*/false, {0, 0}, layer.groups,
                                                 {true, false, false}));
}

torch::Tensor Flipped(const ConvolutionLayer& layer, const torch::Tensor& gradient, at::MemoryFormat format) {
  const std::vector<int64_t> padding = {Span(layer, 0) - layer.padding[0], Span(layer, 1) - layer.padding[1]};
  return torch::conv2d(gradient.contiguous(format), layer.weight.flip({2, 3}).transpose(0, 1).contiguous(format), {},
                       layer.stride, padding, layer.dilation);
}

torch::Tensor MatrixGradient(const ConvolutionLayer& layer, const torch::Tensor& gradient, const torch::Tensor& input) {
  const torch::Tensor weight = layer.weight.flatten(1).t();  // (in·height·width)×out
  const torch::Tensor columns =
      torch::bmm(weight.expand({gradient.size(0), weight.size(0), weight.size(1)}), gradient.flatten(2));
  return torch::col2im(columns, input.sizes().slice(2), layer.weight.sizes().slice(2), layer.dilation, layer.padding,
                       layer.stride);
}

}  // namespace

torch::Tensor Apply(const ConvolutionLayer& layer, const torch::Tensor& input) {
  const auto direct = [&](const torch::Tensor& from, const torch::Tensor& weight) {
    return torch::conv2d(from, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups);
  };
  switch (layer.forward) {
    case Forward::kDirect:
      break;
    case Forward::kDirectNhwc:
      return direct(ChannelsLast(input), ChannelsLast(layer.weight)).contiguous();
    case Forward::kMatrix:
      return torch::thnn_conv2d(input, layer.weight, layer.weight.sizes().slice(2), layer.bias, layer.stride,
                                layer.padding);
  }
  return direct(input, layer.weight);
}

torch::Tensor PullBack(const ConvolutionLayer& layer, const torch::Tensor& gradient, const torch::Tensor& input) {
  switch (layer.gradient) {
    case Gradient::kBackward:
      break;
    case Gradient::kBackwardNhwc:
      return Backward(layer, ChannelsLast(gradient), ChannelsLast(input), ChannelsLast(layer.weight)).contiguous();
    case Gradient::kTranspose:
      return Transposed(layer, gradient, input);
    case Gradient::kFlipped:
      return Flipped(layer, gradient, at::MemoryFormat::Contiguous);
    case Gradient::kFlippedNhwc:
      return Flipped(layer, gradient, at::MemoryFormat::ChannelsLast).contiguous();
    case Gradient::kMatrix:
      return MatrixGradient(layer, gradient, input);
  }
  return Backward(layer, gradient, input, layer.weight);
}

absl::string_view NameOf(Forward kernel) {
  switch (kernel) {
    case Forward::kDirect:
      return "direct";
    case Forward::kDirectNhwc:
      return "direct_nhwc";
    case Forward::kMatrix:
      return "matrix";
  }
  return "";
}

absl::string_view NameOf(Gradient kernel) {
  switch (kernel) {
    case Gradient::kBackward:
      return "backward";
    case Gradient::kBackwardNhwc:
      return "backward_nhwc";
    case Gradient::kTranspose:
      return "transpose";
    case Gradient::kFlipped:
      return "flipped";
    case Gradient::kFlippedNhwc:
      return "flipped_nhwc";
    case Gradient::kMatrix:
      return "matrix";
  }
  return "";
}

std::vector<Forward> ForwardKernels(const ConvolutionLayer& layer) {
  std::vector<Forward> kernels = {Forward::kDirect, Forward::kDirectNhwc};
  if (layer.groups == 1 && layer.dilation == std::vector<int64_t>{1, 1}) kernels.push_back(Forward::kMatrix);
  return kernels;
}

std::vector<Gradient> GradientKernels(const ConvolutionLayer& layer) {
  std::vector<Gradient> kernels = {Gradient::kBackward, Gradient::kTranspose, Gradient::kBackwardNhwc};
  // The first convolution's input has few channels: its gradient is a short product over many output channels, at which
  // the transposed convolution is the faster one.
  if (layer.weight.size(1) <= 4) std::swap(kernels[0], kernels[1]);
  if (layer.groups > 1) return kernels;
  kernels.push_back(Gradient::kMatrix);
  if (layer.stride == std::vector<int64_t>{1, 1} && layer.padding[0] <= Span(layer, 0) &&
      layer.padding[1] <= Span(layer, 1)) {
    kernels.push_back(Gradient::kFlipped);
    kernels.push_back(Gradient::kFlippedNhwc);
  }
  return kernels;
}

}  // namespace tightrope
