#include "core/robustness/model/layer_graph.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <string>
#include <utility>

namespace tightrope {
namespace {

// A block's largest intermediate values, 1 MiB of them, stay in a core's own cache.
constexpr int64_t kBlockValues = int64_t{1} << 18;

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

torch::Tensor Apply(const BatchNormLayer& layer, const torch::Tensor& input) {
  return torch::batch_norm(input, layer.weight, layer.bias, layer.mean, layer.variance, /*training=*/false,
                           /*momentum=*/0, layer.epsilon, /*cudnn_enabled=*/false);
}

torch::Tensor PullBack(const BatchNormLayer& layer, const torch::Tensor& gradient) {
  torch::Tensor scale = (layer.variance + layer.epsilon).rsqrt_();
  if (layer.weight.defined()) scale.mul_(layer.weight);
  return gradient * (gradient.dim() == 4 ? scale.view({-1, 1, 1}) : scale);
}

ConvolutionLayer WithGuessedKernels(ConvolutionLayer layer) {
  layer.forward = ForwardKernels(layer).front();
  layer.gradient = GradientKernels(layer).front();
  return layer;
}

// The layer that a module of ours stands for.
Layer LayerOf(torch::nn::Module& module) {
  if (auto* convolution = module.as<torch::nn::Conv2d>()) {
    const auto& options = convolution->options;
    using std::get_if;  // for LibTorch 2; the variants of 1.13 bring their own
    const auto* padding = get_if<torch::ExpandingArray<2>>(&options.padding());
    TORCH_CHECK(padding != nullptr && get_if<torch::enumtype::kZeros>(&options.padding_mode()) != nullptr,
                "only convolutions padded with zeros, by numbers");
    const auto pair = [](const torch::ExpandingArray<2>& array) {
      return std::vector<int64_t>{(*array)[0], (*array)[1]};
    };
    return WithGuessedKernels({convolution->weight, convolution->bias, pair(options.stride()), pair(*padding),
                               pair(options.dilation()), options.groups()});
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
      return WithGuessedKernels(std::move(layer));
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

LayerGraph::LayerGraph(std::vector<Layer> layers) : layers_(std::move(layers)) {
  bool convolves = false;
  for (size_t i = 0; i < layers_.size() && blocked_ == 0; ++i) {
    convolves = convolves || std::holds_alternative<ConvolutionLayer>(layers_[i]);
    if (convolves && std::holds_alternative<FlattenLayer>(layers_[i])) blocked_ = i;
    // The largest of what is cut off at zero is what is cut off of the largest: the same bits from fewer values.
    if (i + 1 < layers_.size() && std::holds_alternative<ReluLayer>(layers_[i]) &&
        std::holds_alternative<MaxPoolLayer>(layers_[i + 1])) {
      std::swap(layers_[i], layers_[i + 1]);
    }
  }
}

int64_t LayerGraph::BlockRows(const torch::Tensor& inputs) const {
  if (!inputs.is_cpu() || inputs.dim() != 4) return std::max<int64_t>(inputs.size(0), 1);
  int64_t channels = inputs.size(1), height = inputs.size(2), width = inputs.size(3);
  int64_t largest = channels * height * width;  // values of one input between two layers
  const auto slide = [](int64_t size, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    return (size + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
  };
  for (size_t i = 0; i < blocked_; ++i) {
    const auto step = [&](const auto& layer, int64_t kernel_height, int64_t kernel_width) {
      height = slide(height, kernel_height, layer.stride[0], layer.padding[0], layer.dilation[0]);
      width = slide(width, kernel_width, layer.stride[1], layer.padding[1], layer.dilation[1]);
    };
    if (const auto* convolution = std::get_if<ConvolutionLayer>(&layers_[i])) {
      channels = convolution->weight.size(0);
      step(*convolution, convolution->weight.size(2), convolution->weight.size(3));
    } else if (const auto* pool = std::get_if<MaxPoolLayer>(&layers_[i])) {
      step(*pool, pool->kernel[0], pool->kernel[1]);
    }
    largest = std::max(largest, channels * height * width);
  }
  return std::max<int64_t>(kBlockValues / std::max<int64_t>(largest, 1), 1);
}

torch::Tensor LayerGraph::Pass(size_t begin, size_t end, torch::Tensor values, std::vector<Kept>* trace) const {
  bool ours = begin > 0;  // whether `values` may be written over
  for (size_t i = begin; i < end; ++i) {
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
                     Pooled pooled = Apply(pool, values);
                     kept.places = pooled.places;
                     return pooled.values;
                   },
                   [&](const FlattenLayer&) {
                     kept.values = values;
                     return values.flatten(1);
                   }},
        layers_[i]);
    ours = ours || !std::holds_alternative<FlattenLayer>(layers_[i]);
    if (trace != nullptr) trace->push_back(std::move(kept));
  }
  return values;
}

torch::Tensor LayerGraph::PassBack(size_t begin, torch::Tensor gradient, std::vector<Kept> trace) const {
  for (; !trace.empty(); trace.pop_back()) {
    const Kept& kept = trace.back();
    gradient = std::visit(
        Overloaded{[&](const ConvolutionLayer& convolution) { return PullBack(convolution, gradient, kept.values); },
                   [&](const LinearLayer& linear) { return torch::mm(gradient, linear.weight); },
                   [&](const BatchNormLayer& norm) { return PullBack(norm, gradient); },
                   [&](const ReluLayer&) { return torch::threshold_backward(gradient, kept.values, 0); },
                   [&](const MaxPoolLayer& pool) { return PullBack(pool, gradient, kept.values, kept.places); },
                   [&](const FlattenLayer&) { return gradient.view(kept.values.sizes()); }},
        layers_[begin + trace.size() - 1]);
  }
  return gradient;
}

torch::Tensor LayerGraph::Run(const torch::Tensor& inputs, Trace* trace) const {
  torch::NoGradGuard no_grad;
  torch::Tensor values = inputs.detach();
  const int64_t count = inputs.size(0), rows = BlockRows(inputs);
  if (trace != nullptr) trace->block_rows = rows;
  if (blocked_ > 0) {
    torch::Tensor joined;
    for (int64_t row = 0; row < std::max<int64_t>(count, 1); row += rows) {
      const torch::Tensor block = inputs.detach().slice(0, row, row + rows);
      const torch::Tensor passed = Pass(0, blocked_, block, trace == nullptr ? nullptr : &trace->blocks.emplace_back());
      if (count <= rows) {
        values = passed;
        break;
      }
      if (row == 0) {
        std::vector<int64_t> sizes = passed.sizes().vec();
        sizes[0] = count;
        joined = torch::empty(sizes, passed.options());
        values = joined;
      }
      joined.slice(0, row, row + rows).copy_(passed);
    }
  }
  return Pass(blocked_, layers_.size(), values, trace == nullptr ? nullptr : &trace->rest);
}

torch::Tensor LayerGraph::Logits(const torch::Tensor& inputs) const { return Run(inputs, nullptr); }

LayerGraph::Trace LayerGraph::Forward(const torch::Tensor& inputs) const {
  Trace trace;
  trace.logits = Run(inputs, &trace);
  return trace;
}

torch::Tensor LayerGraph::InputGradient(Trace& trace, const torch::Tensor& weights) const {
  torch::NoGradGuard no_grad;
  const torch::Tensor gradient = PassBack(blocked_, weights, std::move(trace.rest));
  std::vector<torch::Tensor> parts;
  for (size_t i = 0; i < trace.blocks.size(); ++i) {
    const auto row = static_cast<int64_t>(i) * trace.block_rows;
    parts.push_back(PassBack(0, gradient.slice(0, row, row + trace.block_rows), std::move(trace.blocks[i])));
  }
  if (parts.empty()) return gradient;
  return parts.size() == 1 ? parts.front() : torch::cat(parts);
}

}  // namespace tightrope
