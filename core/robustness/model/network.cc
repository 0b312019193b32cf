#include "core/robustness/model/network.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/robustness/model/layer_graph.h"
#include "core/robustness/model/weights.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::Flatten;
using torch::nn::Linear;
using torch::nn::MaxPool2d;
using torch::nn::ReLU;
using torch::nn::Sequential;

absl::Status TooSmall(const v1::DatasetRef& data, const char* architecture, int at_least) {
  return absl::InvalidArgumentError(absl::StrCat(architecture, " needs images of at least ", at_least, "×", at_least,
                                                 " pixels, and ", data.name(), " has ", data.height(), "×",
                                                 data.width()));
}

Sequential MakeMlp(const v1::Mlp& mlp, const v1::DatasetRef& data) {
  Sequential layers{Flatten()};
  int64_t width = int64_t{data.channels()} * data.height() * data.width();
  for (const uint32_t hidden : mlp.hidden()) {
    layers->push_back(Linear(width, hidden));
    layers->push_back(ReLU());
    width = hidden;
  }
  layers->push_back(Linear(width, data.classes()));
  return layers;
}

absl::StatusOr<Sequential> MakeSmallCnn(const v1::DatasetRef& data) {
  if (data.height() < 4 || data.width() < 4) return TooSmall(data, "small_cnn", 4);
  const int64_t height = data.height() / 2 / 2;  // a 4×4 kernel with stride 2 and padding 1 halves
  const int64_t width = data.width() / 2 / 2;
  return Sequential(Conv2d(Conv2dOptions(data.channels(), 16, 4).stride(2).padding(1)), ReLU(),
                    Conv2d(Conv2dOptions(16, 32, 4).stride(2).padding(1)), ReLU(), Flatten(),
                    Linear(32 * height * width, 100), ReLU(), Linear(100, data.classes()));
}

absl::StatusOr<Sequential> MakeMadryCnn(const v1::DatasetRef& data) {
  if (data.height() < 4 || data.width() < 4) return TooSmall(data, "madry_cnn", 4);
  const int64_t height = data.height() / 2 / 2;
  const int64_t width = data.width() / 2 / 2;
  return Sequential(Conv2d(Conv2dOptions(data.channels(), 32, 5).padding(2)), ReLU(), MaxPool2d(2),
                    Conv2d(Conv2dOptions(32, 64, 5).padding(2)), ReLU(), MaxPool2d(2), Flatten(),
                    Linear(64 * height * width, 1024), ReLU(), Linear(1024, data.classes()));
}

void FillUniform(torch::Tensor parameter, double bound, const RandomStream& stream, uint32_t ordinal) {
  torch::Tensor values = torch::empty(parameter.sizes(), torch::kFloat32);
  const absl::Span<float> span(values.data_ptr<float>(), values.numel());
  stream.Uniform({.example = ordinal}, span);
  for (float& value : span) value = static_cast<float>(bound * (2.0 * value - 1.0));
  torch::NoGradGuard no_grad;
  parameter.copy_(values);
}

}  // namespace

absl::StatusOr<Sequential> MakeNetwork(const v1::Architecture& architecture, const v1::DatasetRef& data) {
  if (data.channels() == 0 || data.height() == 0 || data.width() == 0 || data.classes() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a network needs the data set's shape and number of classes; all must be above 0: ", data.channels(), "×",
        data.height(), "×", data.width(), ", ", data.classes(), " classes"));
  }
  return WithoutExceptions("cannot make the network", [&]() -> absl::StatusOr<Sequential> {
    switch (architecture.architecture_case()) {
      case v1::Architecture::kMlp:
        return MakeMlp(architecture.mlp(), data);
      case v1::Architecture::kSmallCnn:
        return MakeSmallCnn(data);
      case v1::Architecture::kMadryCnn:
        return MakeMadryCnn(data);
      case v1::Architecture::kTorchscript:
      case v1::Architecture::ARCHITECTURE_NOT_SET:
        break;
    }
    return absl::InvalidArgumentError("not an architecture that can be trained here; give mlp, small_cnn or madry_cnn");
  });
}

void InitialiseWeights(torch::nn::Module& network, const RandomStream& stream) {
  uint32_t ordinal = 0;
  for (const std::shared_ptr<torch::nn::Module>& module : network.modules(/*include_self=*/false)) {
    torch::Tensor weight;
    if (const auto* linear = module->as<torch::nn::Linear>()) weight = linear->weight;
    if (const auto* convolution = module->as<torch::nn::Conv2d>()) weight = convolution->weight;
    for (torch::Tensor& parameter : module->parameters(/*recurse=*/false)) {
      if (weight.defined()) {
        const double fan_in = static_cast<double>(weight.numel() / weight.size(0));
        FillUniform(parameter, 1.0 / std::sqrt(fan_in), stream, ordinal);
      }
      ++ordinal;
    }
  }
}

std::unique_ptr<Classifier> MakeClassifier(Sequential network, torch::Device device) {
  UseReproducibleArithmetic();
  network->to(device);
  return MakeClassifier(LayerGraph::Of(network), device);
}

absl::StatusOr<std::unique_ptr<Classifier>> LoadTrained(const v1::Architecture& architecture,
                                                        const v1::DatasetRef& data, const SafeTensors& weights,
                                                        torch::Device device, const KernelChooser& choose_kernels) {
  ABSL_ASSIGN_OR_RETURN(Sequential network, MakeNetwork(architecture, data));
  ABSL_RETURN_IF_ERROR(LoadWeights(weights, *network)) << "cannot load the trained weights";
  return WithoutExceptions("cannot load the trained weights", [&]() -> absl::StatusOr<std::unique_ptr<Classifier>> {
    UseReproducibleArithmetic();
    network->to(device);
    LayerGraph graph = LayerGraph::Of(network);
    if (choose_kernels) {
      ABSL_ASSIGN_OR_RETURN(graph, choose_kernels(graph, {data.channels(), data.height(), data.width()}));
    }
    std::unique_ptr<Classifier> classifier = MakeClassifier(std::move(graph), device);
    classifier->MeasureMemory({data.channels(), data.height(), data.width()});
    return classifier;
  });
}

}  // namespace tightrope
