#include "core/robustness/model/classifier.h"

#include <utility>
#include <vector>

#include "core/robustness/model/layer_graph.h"

namespace tightrope {
namespace {

class GraphClassifier : public Classifier {
 public:
  GraphClassifier(LayerGraph graph, torch::Device device) : graph_(std::move(graph)), device_(device) {}

  torch::Tensor Logits(const torch::Tensor& inputs) override { return graph_.Logits(inputs); }
  TwoWay LogitsAndGradient(const torch::Tensor& inputs) override {
    auto trace = std::make_shared<LayerGraph::Trace>(graph_.Forward(inputs));
    return {.logits = trace->logits, .input_gradient = [this, trace](const torch::Tensor& weights) {
              return graph_.InputGradient(*trace, weights);
            }};
  }
  std::unique_ptr<WindowedLogits> InWindows(const torch::Tensor& images) override {
    return MakeWindowedLogits(graph_, images);
  }
  torch::Device device() const override { return device_; }

 private:
  LayerGraph graph_;
  torch::Device device_;
};

}  // namespace

Classifier::TwoWay Classifier::LogitsAndGradient(const torch::Tensor& inputs) {
  const torch::AutoGradMode tape(true);
  const torch::Tensor leaf = inputs.detach().requires_grad_(true);
  const torch::Tensor logits = Logits(leaf);
  return {.logits = logits.detach(), .input_gradient = [leaf, logits](const torch::Tensor& weights) {
            if (!logits.requires_grad()) return torch::zeros_like(leaf);  // the logits do not depend on the inputs
            return torch::autograd::grad({logits}, {leaf}, {weights})[0].contiguous();  // it may be an expanded view
          }};
}

void Classifier::MeasureMemory(at::IntArrayRef shape) {
  std::vector<int64_t> one(shape.begin(), shape.end());
  one.insert(one.begin(), 1);
  const torch::Tensor input = torch::zeros(one, torch::TensorOptions().dtype(torch::kFloat32).device(device()));
  torch::NoGradGuard no_grad;
  bytes_per_input_ = 2 * BytesWritten([&] { Logits(input); });
}

std::unique_ptr<WindowedLogits> Classifier::InWindows(const torch::Tensor&) { return nullptr; }

std::unique_ptr<Classifier> MakeClassifier(LayerGraph graph, torch::Device device) {
  return std::make_unique<GraphClassifier>(std::move(graph), device);
}

}  // namespace tightrope
