#include "core/robustness/model/layer_graph.h"

#include <torch/csrc/jit/passes/freeze_module.h>

#include <exception>
#include <memory>
#include <string>
#include <utility>

namespace tightrope {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

// The first convolution's input has few channels: its gradient is a short product over many output channels, at which
// the transposed convolution is faster; with more channels it is the other way round.
ConvolutionGradient GradientFor(const torch::Tensor& weight) {
  return weight.size(1) <= 4 ? ConvolutionGradient::kTranspose : ConvolutionGradient::kBackward;
}

torch::Tensor Apply(const ConvolutionLayer& layer, const torch::Tensor& input) {
  return torch::conv2d(input, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups);
}

torch::Tensor TransposedConvolution(const ConvolutionLayer& layer, const torch::Tensor& gradient,
                                    const torch::Tensor& input) {
  std::vector<int64_t> missing(2);  // rows and columns at the end that no stride reached
  for (int64_t i = 0; i < 2; ++i) {
    const int64_t span = layer.dilation[i] * (layer.weight.size(2 + i) - 1) + 1;
    missing[i] = input.size(2 + i) - ((gradient.size(2 + i) - 1) * layer.stride[i] - 2 * layer.padding[i] + span);
  }
  return torch::conv_transpose2d(gradient, layer.weight, {}, layer.stride, layer.padding, missing, layer.groups,
                                 layer.dilation);
}

torch::Tensor PullBack(const ConvolutionLayer& layer, const torch::Tensor& gradient, const torch::Tensor& input) {
  switch (layer.gradient) {
    case ConvolutionGradient::kTranspose:
      return TransposedConvolution(layer, gradient, input);
    case ConvolutionGradient::kMatrix: {
      TORCH_CHECK(layer.groups == 1, "the matrix form takes one group");
      const torch::Tensor columns =
          torch::matmul(layer.weight.flatten(1).t(), gradient.flatten(2));  // N×(in·height·width)×positions
      return torch::col2im(columns, input.sizes().slice(2), layer.weight.sizes().slice(2), layer.dilation,
                           layer.padding, layer.stride);
    }
    case ConvolutionGradient::kBackward:
      break;
  }
  return std::get<0>(torch::convolution_backward(gradient, input, layer.weight, c10::nullopt, layer.stride,
                                                 layer.padding, layer.dilation, /*transposed=*/false, {0, 0},
                                                 layer.groups, {true, false, false}));
}

torch::Tensor Apply(const BatchNormLayer& layer, const torch::Tensor& input) {
  return torch::batch_norm(input, layer.weight, layer.bias, layer.mean, layer.variance, /*training=*/false,
                           /*momentum=*/0, layer.epsilon, /*cudnn_enabled=*/false);
}

torch::Tensor PullBack(const BatchNormLayer& layer, const torch::Tensor& gradient) {
  torch::Tensor scale = (layer.variance + layer.epsilon).rsqrt_();
  if (layer.weight.defined()) scale.mul_(layer.weight);
  return gradient * (gradient.dim() == 4 ? scale.view({-1, 1, 1}) : scale);
}

// The layer that a module of ours stands for.
Layer LayerOf(torch::nn::Module& module) {
  if (auto* convolution = module.as<torch::nn::Conv2d>()) {
    const auto& options = convolution->options;
    const auto* padding = c10::get_if<torch::ExpandingArray<2>>(&options.padding());
    TORCH_CHECK(padding != nullptr && c10::get_if<torch::enumtype::kZeros>(&options.padding_mode()) != nullptr,
                "only convolutions padded with zeros, by numbers");
    const auto pair = [](const torch::ExpandingArray<2>& array) {
      return std::vector<int64_t>{(*array)[0], (*array)[1]};
    };
    return ConvolutionLayer{
        convolution->weight,      convolution->bias, pair(options.stride()),          pair(*padding),
        pair(options.dilation()), options.groups(),  GradientFor(convolution->weight)};
  }
  if (auto* linear = module.as<torch::nn::Linear>()) return LinearLayer{linear->weight, linear->bias};
  if (auto* norm = module.as<torch::nn::BatchNorm2d>()) {
    TORCH_CHECK(norm->running_mean.defined(), "only batch norm with running statistics");
    return BatchNormLayer{norm->weight, norm->bias, norm->running_mean, norm->running_var, norm->options.eps()};
  }
  if (module.as<torch::nn::ReLU>() != nullptr) return ReluLayer{};
  if (module.as<torch::nn::Flatten>() != nullptr) return FlattenLayer{};
  if (auto* pool = module.as<torch::nn::MaxPool2d>()) {
    const auto& options = pool->options;
    const auto pair = [](const torch::ExpandingArray<2>& array) {
      return std::vector<int64_t>{(*array)[0], (*array)[1]};
    };
    return MaxPoolLayer{pair(options.kernel_size()), pair(options.stride()), pair(options.padding()),
                        pair(options.dilation()), options.ceil_mode()};
  }
  TORCH_CHECK(false, "no layer stands for a ", module.name());
}

// Reads the constants of one node of a frozen TorchScript graph.
class Arguments {
 public:
  explicit Arguments(const torch::jit::Node& node) : node_(node) {}

  c10::optional<torch::jit::IValue> At(size_t i) const {
    return i < node_.inputs().size() ? torch::jit::toIValue(node_.inputs()[i]) : c10::nullopt;
  }
  // `into` is set where argument i is a constant of its type.
  bool Read(size_t i, torch::Tensor& into) const {
    const auto value = At(i);
    if (!value || !(value->isTensor() || value->isNone())) return false;
    into = value->isTensor() ? value->toTensor() : torch::Tensor();
    return true;
  }
  bool Read(size_t i, std::vector<int64_t>& into) const {
    const auto value = At(i);
    if (!value || !value->isIntList()) return false;
    into = value->toIntVector();
    if (into.size() == 1) into.push_back(into[0]);
    return into.size() == 2;
  }
  bool Read(size_t i, bool& into) const {
    const auto value = At(i);
    if (!value || !value->isBool()) return false;
    into = value->toBool();
    return true;
  }
  bool Read(size_t i, double& into) const {
    const auto value = At(i);
    if (!value || !value->isDouble()) return false;
    into = value->toDouble();
    return true;
  }
  bool Read(size_t i, int64_t& into) const {
    const auto value = At(i);
    if (!value || !value->isInt()) return false;
    into = value->toInt();
    return true;
  }

 private:
  const torch::jit::Node& node_;
};

bool IsWeight(const torch::Tensor& tensor, int64_t dimensions) {
  return tensor.defined() && tensor.scalar_type() == torch::kFloat32 && tensor.dim() == dimensions;
}

// The layer that one node stands for.
std::optional<Layer> LayerOf(const torch::jit::Node& node) {
  const std::string kind = node.kind().toQualString();
  const Arguments arguments(node);
  if (kind == "aten::relu" || kind == "aten::relu_") return ReluLayer{};
  if (kind == "aten::flatten") {
    int64_t first = 0, last = 0;
    if (arguments.Read(1, first) && arguments.Read(2, last) && first == 1 && last == -1) return FlattenLayer{};
    return std::nullopt;
  }
  if (kind == "aten::linear") {
    LinearLayer layer;
    if (arguments.Read(1, layer.weight) && arguments.Read(2, layer.bias) && IsWeight(layer.weight, 2)) return layer;
    return std::nullopt;
  }
  if (kind == "aten::conv2d" || kind == "aten::_convolution") {
    // conv2d: input, weight, bias, stride, padding, dilation, groups
    // _convolution: input, weight, bias, stride, padding, dilation, transposed, output padding, groups, …
    const bool general = kind == "aten::_convolution";
    ConvolutionLayer layer;
    bool transposed = false;
    if (arguments.Read(1, layer.weight) && arguments.Read(2, layer.bias) && arguments.Read(3, layer.stride) &&
        arguments.Read(4, layer.padding) && arguments.Read(5, layer.dilation) &&
        (!general || arguments.Read(6, transposed)) && arguments.Read(general ? 8 : 6, layer.groups) && !transposed &&
        IsWeight(layer.weight, 4)) {
      layer.gradient = GradientFor(layer.weight);
      return layer;
    }
    return std::nullopt;
  }
  if (kind == "aten::batch_norm") {  // input, weight, bias, mean, variance, training, momentum, epsilon, …
    BatchNormLayer layer;
    bool training = true;
    if (arguments.Read(1, layer.weight) && arguments.Read(2, layer.bias) && arguments.Read(3, layer.mean) &&
        arguments.Read(4, layer.variance) && arguments.Read(5, training) && arguments.Read(7, layer.epsilon) &&
        !training && IsWeight(layer.mean, 1) && IsWeight(layer.variance, 1)) {
      return layer;
    }
    return std::nullopt;
  }
  if (kind == "aten::max_pool2d") {
    MaxPoolLayer layer;
    if (arguments.Read(1, layer.kernel) && arguments.Read(3, layer.padding) && arguments.Read(4, layer.dilation) &&
        arguments.Read(5, layer.ceil_mode)) {
      if (!arguments.Read(2, layer.stride)) layer.stride = layer.kernel;  // an empty list means the kernel's
      return layer;
    }
  }
  return std::nullopt;
}

// The layers of a graph in which every node takes the result of the one before it, and constants.
std::optional<std::vector<Layer>> ChainOf(const torch::jit::Graph& graph) {
  if (graph.inputs().size() != 2 || graph.outputs().size() != 1) return std::nullopt;  // self and the images
  std::vector<Layer> layers;
  const torch::jit::Value* last = graph.inputs()[1];
  for (const torch::jit::Node* node : graph.nodes()) {
    if (node->kind() == torch::jit::prim::Constant) continue;
    if (node->inputs().empty() || node->inputs()[0] != last || node->outputs().size() != 1) return std::nullopt;
    std::optional<Layer> layer = LayerOf(*node);
    if (!layer) return std::nullopt;
    layers.push_back(*std::move(layer));
    last = node->outputs()[0];
  }
  if (graph.outputs()[0] != last) return std::nullopt;
  return layers;
}

}  // namespace

LayerGraph LayerGraph::Of(torch::nn::Sequential& network) {
  std::vector<Layer> layers;
  for (const std::shared_ptr<torch::nn::Module>& module : network->children()) layers.push_back(LayerOf(*module));
  return LayerGraph(std::move(layers));
}

std::optional<LayerGraph> LayerGraph::Of(const torch::jit::Module& module, const torch::Tensor& probe) {
  torch::NoGradGuard no_grad;
  try {
    torch::jit::Module copy = module.clone();
    copy.eval();
    const torch::jit::Module frozen = torch::jit::freeze_module(copy);
    std::optional<std::vector<Layer>> layers = ChainOf(*frozen.get_method("forward").graph());
    if (!layers) return std::nullopt;
    LayerGraph graph(*std::move(layers));
    const torch::Tensor wanted = copy.forward({probe}).toTensor();
    if (!torch::allclose(graph.Logits(probe), wanted, 1e-4, 1e-4, /*equal_nan=*/true)) return std::nullopt;
    return graph;
  } catch (const std::exception&) {  // what cannot be frozen runs as it is
    return std::nullopt;
  }
}

torch::Tensor LayerGraph::Logits(const torch::Tensor& inputs) const {
  torch::NoGradGuard no_grad;
  torch::Tensor values = inputs.detach();
  bool ours = false;  // whether `values` may be written over
  for (const Layer& layer : layers_) {
    values = std::visit(
        Overloaded{[&](const ConvolutionLayer& convolution) { return Apply(convolution, values); },
                   [&](const LinearLayer& linear) { return torch::linear(values, linear.weight, linear.bias); },
                   [&](const BatchNormLayer& norm) { return Apply(norm, values); },
                   [&](const ReluLayer&) { return ours ? values.relu_() : values.relu(); },
                   [&](const MaxPoolLayer& pool) {
                     return torch::max_pool2d(values, pool.kernel, pool.stride, pool.padding, pool.dilation,
                                              pool.ceil_mode);
                   },
                   [&](const FlattenLayer&) { return values.flatten(1); }},
        layer);
    ours = ours || !std::holds_alternative<FlattenLayer>(layer);
  }
  return values;
}

LayerGraph::Trace LayerGraph::Forward(const torch::Tensor& inputs) const {
  torch::NoGradGuard no_grad;
  Trace trace;
  torch::Tensor values = inputs.detach();
  bool ours = false;
  for (const Layer& layer : layers_) {
    Kept kept;
    values = std::visit(
        Overloaded{[&](const ConvolutionLayer& convolution) {
                     kept.values = values;
                     return Apply(convolution, values);
                   },
                   [&](const LinearLayer& linear) { return torch::linear(values, linear.weight, linear.bias); },
                   [&](const BatchNormLayer& norm) { return Apply(norm, values); },
                   [&](const ReluLayer&) {
                     kept.values = ours ? values.relu_() : values.relu();
                     return kept.values;
                   },
                   [&](const MaxPoolLayer& pool) {
                     kept.values = values;
                     auto [pooled, indices] = torch::max_pool2d_with_indices(
                         values, pool.kernel, pool.stride, pool.padding, pool.dilation, pool.ceil_mode);
                     kept.indices = indices;
                     return pooled;
                   },
                   [&](const FlattenLayer&) {
                     kept.values = values;
                     return values.flatten(1);
                   }},
        layer);
    ours = ours || !std::holds_alternative<FlattenLayer>(layer);
    trace.kept.push_back(std::move(kept));
  }
  trace.logits = values;
  return trace;
}

torch::Tensor LayerGraph::InputGradient(Trace& trace, const torch::Tensor& weights) const {
  torch::NoGradGuard no_grad;
  torch::Tensor gradient = weights;
  for (size_t i = layers_.size(); i-- > 0;) {
    const Kept kept = std::move(trace.kept[i]);
    gradient = std::visit(
        Overloaded{[&](const ConvolutionLayer& convolution) { return PullBack(convolution, gradient, kept.values); },
                   [&](const LinearLayer& linear) { return torch::mm(gradient, linear.weight); },
                   [&](const BatchNormLayer& norm) { return PullBack(norm, gradient); },
                   [&](const ReluLayer&) { return torch::threshold_backward(gradient, kept.values, 0); },
                   [&](const MaxPoolLayer& pool) {
                     return torch::max_pool2d_with_indices_backward(gradient, kept.values, pool.kernel, pool.stride,
                                                                    pool.padding, pool.dilation, pool.ceil_mode,
                                                                    kept.indices);
                   },
                   [&](const FlattenLayer&) { return gradient.view(kept.values.sizes()); }},
        layers_[i]);
  }
  return gradient;
}

}  // namespace tightrope
