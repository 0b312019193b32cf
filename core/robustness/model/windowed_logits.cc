#include "core/robustness/model/windowed_logits.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace tightrope {
namespace {

// Values are kept with the images last, C×H×W×N: a window is then a few long rows of memory, and a convolution of it
// one matrix product over all images.

// Sums of a linear layer are carried on by differences, so that rounding adds up; after this many changes everything is
// computed anew.
constexpr int kTriesBetweenFullPasses = 250;
// Where a window reaches this share of a layer, the whole is computed.
constexpr double kFullShare = 0.5;

bool IsSpatial(const Layer& layer) {
  return !std::holds_alternative<FlattenLayer>(layer) && !std::holds_alternative<LinearLayer>(layer);
}

// Of a layer whose kernel slides: kernel, stride and padding, rows before columns.
struct Sliding {
  std::vector<int64_t> kernel, stride, padding;
};
std::optional<Sliding> SlidingOf(const Layer& layer) {
  if (const auto* convolution = std::get_if<ConvolutionLayer>(&layer)) {
    return Sliding{
        {convolution->weight.size(2), convolution->weight.size(3)}, convolution->stride, convolution->padding};
  }
  if (const auto* pool = std::get_if<MaxPoolLayer>(&layer)) return Sliding{pool->kernel, pool->stride, pool->padding};
  return std::nullopt;
}

// Along one axis: which outputs of a sliding kernel read the inputs that changed, and what those outputs read.
struct Reach {
  int64_t output, outputs;            // first, and how many
  int64_t input, inputs;              // inside the image
  int64_t zeros_before, zeros_after;  // padding
};

Reach ReachOf(int64_t begin, int64_t length, const Sliding& sliding, size_t axis, int64_t all_inputs,
              int64_t all_outputs) {
  const int64_t kernel = sliding.kernel[axis], stride = sliding.stride[axis], padding = sliding.padding[axis];
  const int64_t first = begin + padding - (kernel - 1);  // in padded inputs, where the first such output may start
  Reach reach{};
  reach.output = std::min(first <= 0 ? 0 : (first + stride - 1) / stride, all_outputs);
  const int64_t end = std::clamp((begin + length - 1 + padding) / stride + 1, reach.output, all_outputs);
  reach.outputs = end - reach.output;
  const int64_t low = reach.output * stride - padding;
  const int64_t high = (end - 1) * stride - padding + kernel;
  reach.input = std::max<int64_t>(low, 0);
  reach.inputs = std::min(high, all_inputs) - reach.input;
  reach.zeros_before = reach.input - low;
  reach.zeros_after = std::max<int64_t>(high - all_inputs, 0);
  return reach;
}

bool IsSupported(const Layer& layer) {
  const auto plain = [](const std::vector<int64_t>& dilation) { return dilation[0] == 1 && dilation[1] == 1; };
  if (const auto* l = std::get_if<ConvolutionLayer>(&layer)) return plain(l->dilation) && l->groups == 1;
  if (const auto* l = std::get_if<MaxPoolLayer>(&layer)) return plain(l->dilation) && !l->ceil_mode;
  return true;
}

torch::Tensor Of(const Window& window, const torch::Tensor& values) {
  return values.narrow(1, window.row, window.height).narrow(2, window.column, window.width);
}

// A copy: the caller goes on changing the images.
torch::Tensor ImagesLast(const torch::Tensor& images) {
  return images.permute({1, 2, 3, 0}).clone(torch::MemoryFormat::Contiguous);
}

// Everything that a kernel of this size reads at one place of it, for each output: C×rows×columns×N.
torch::Tensor Tap(const torch::Tensor& values, const Sliding& sliding, int64_t row, int64_t column) {
  const auto taps = [&](int64_t axis, int64_t first) {
    const int64_t outputs = (values.size(1 + axis) - sliding.kernel[axis]) / sliding.stride[axis] + 1;
    return first + (outputs - 1) * sliding.stride[axis] + 1;
  };
  return values.slice(1, row, taps(0, row), sliding.stride[0]).slice(2, column, taps(1, column), sliding.stride[1]);
}

// One spatial layer on C×H×W×N that are padded already where its kernel slides.
torch::Tensor Apply(const Layer& layer, const torch::Tensor& values) {
  if (const auto* convolution = std::get_if<ConvolutionLayer>(&layer)) {
    const Sliding sliding = *SlidingOf(layer);
    std::vector<torch::Tensor> taps;
    for (int64_t row = 0; row < sliding.kernel[0]; ++row) {
      for (int64_t column = 0; column < sliding.kernel[1]; ++column) taps.push_back(Tap(values, sliding, row, column));
    }
    const torch::Tensor columns = torch::stack(taps, 1).flatten(2).flatten(0, 1);  // (C·kernel)×(outputs·N)
    const torch::Tensor weight = convolution->weight.flatten(1);
    const torch::Tensor sums = convolution->bias.defined()
                                   ? torch::addmm(convolution->bias.view({-1, 1}), weight, columns)
                                   : torch::mm(weight, columns);
    return sums.view({weight.size(0), taps[0].size(1), taps[0].size(2), values.size(3)});
  }
  if (std::holds_alternative<MaxPoolLayer>(layer)) {
    const Sliding sliding = *SlidingOf(layer);
    torch::Tensor largest = Tap(values, sliding, 0, 0);
    for (int64_t tap = 1; tap < sliding.kernel[0] * sliding.kernel[1]; ++tap) {
      largest = torch::maximum(largest, Tap(values, sliding, tap / sliding.kernel[1], tap % sliding.kernel[1]));
    }
    return largest;
  }
  if (const auto* norm = std::get_if<BatchNormLayer>(&layer)) {
    return torch::batch_norm(values.unsqueeze(0), norm->weight, norm->bias, norm->mean, norm->variance,
                             /*training=*/false, /*momentum=*/0, norm->epsilon, /*cudnn_enabled=*/false)
        .squeeze(0);
  }
  return values.relu();
}

// `rows` and `columns`: how many zeros, or what no maximum is, a sliding kernel reads before and after the values.
torch::Tensor Pad(const Layer& layer, const torch::Tensor& values, std::pair<int64_t, int64_t> rows,
                  std::pair<int64_t, int64_t> columns) {
  if (rows.first + rows.second + columns.first + columns.second == 0) return values;
  const bool pool = std::holds_alternative<MaxPoolLayer>(layer);
  return torch::constant_pad_nd(values, {0, 0, columns.first, columns.second, rows.first, rows.second},
                                pool ? -std::numeric_limits<float>::infinity() : 0.0f);
}

// A layer behind the spatial ones, on N×features.
torch::Tensor ApplyDense(const Layer& layer, const torch::Tensor& values) {
  if (const auto* linear = std::get_if<LinearLayer>(&layer)) {
    return torch::linear(values, linear->weight, linear->bias);
  }
  return std::holds_alternative<ReluLayer>(layer) ? values.relu() : values;
}

class WindowedGraph : public WindowedLogits {
 public:
  // The graph's first `spatial` layers are spatial, then come a flattening and a linear layer.
  WindowedGraph(const LayerGraph& graph, const torch::Tensor& images, size_t spatial)
      : layers_(graph.layers()), spatial_(spatial) {
    torch::NoGradGuard no_grad;
    accepted_ = Full(ImagesLast(images));
    const torch::Tensor& last = accepted_[spatial_];
    weight_ = std::get<LinearLayer>(layers_[spatial_ + 1])
                  .weight.view({-1, last.size(0), last.size(1), last.size(2)})
                  .permute({1, 2, 3, 0})
                  .contiguous();
  }

  torch::Tensor Try(const torch::Tensor& images, const Window& window) override {
    torch::NoGradGuard no_grad;
    if (++tries_ % kTriesBetweenFullPasses == 0) accepted_ = Full(accepted_.front());
    if (!TryWindow(images, window)) {
      windows_.clear();
      tried_ = Full(ImagesLast(images));
    }
    torch::Tensor values = tried_.back().t();
    for (size_t i = spatial_ + 2; i < layers_.size(); ++i) values = ApplyDense(layers_[i], values);
    return values;
  }

  void Accept(const torch::Tensor& rows) override {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < accepted_.size(); ++i) {
      if (windows_.empty() || i + 1 == accepted_.size()) {
        accepted_[i] = torch::where(rows, tried_[i], accepted_[i]);
      } else {
        torch::Tensor old = Of(windows_[i], accepted_[i]);
        torch::where_out(old, rows, tried_[i], old);
      }
    }
  }

  void Keep(const torch::Tensor& rows) override {
    torch::NoGradGuard no_grad;
    for (std::vector<torch::Tensor>* tensors : {&accepted_, &tried_}) {
      for (torch::Tensor& tensor : *tensors) tensor = tensor.index_select(-1, rows);
    }
  }

 private:
  // Everything anew for C×H×W×N images, as `accepted_` keeps it.
  std::vector<torch::Tensor> Full(const torch::Tensor& images) const {
    std::vector<torch::Tensor> all = {images};
    for (size_t i = 0; i < spatial_; ++i) {
      torch::Tensor values = all.back();
      if (const auto sliding = SlidingOf(layers_[i])) {
        const auto [rows, columns] = std::pair(sliding->padding[0], sliding->padding[1]);
        values = Pad(layers_[i], values, {rows, rows}, {columns, columns});
      }
      all.push_back(Apply(layers_[i], values));
    }
    const LinearLayer& linear = std::get<LinearLayer>(layers_[spatial_ + 1]);
    const torch::Tensor sums = torch::mm(linear.weight, all.back().flatten(0, 2));
    all.push_back(linear.bias.defined() ? sums + linear.bias.view({-1, 1}) : sums);
    return all;
  }

  // False where the window reaches nothing, or too much to be worth it; nothing is changed then.
  bool TryWindow(const torch::Tensor& images, const Window& window) {
    std::vector<Window> windows = {window};
    std::vector<torch::Tensor> tried = {ImagesLast(window.Of(images))};
    for (size_t i = 0; i < spatial_; ++i) {
      const auto sliding = SlidingOf(layers_[i]);
      if (!sliding) {
        tried.push_back(Apply(layers_[i], tried.back()));
        windows.push_back(windows.back());
        continue;
      }
      const Window changed = windows.back();
      const torch::Tensor& source = accepted_[i];
      const torch::Tensor& output = accepted_[i + 1];
      const Reach rows = ReachOf(changed.row, changed.height, *sliding, 0, source.size(1), output.size(1));
      const Reach columns = ReachOf(changed.column, changed.width, *sliding, 1, source.size(2), output.size(2));
      const int64_t area = rows.outputs * columns.outputs;
      if (area == 0 || static_cast<double>(area) > kFullShare * static_cast<double>(output.size(1) * output.size(2))) {
        return false;
      }
      // The accepted values with what changed laid over.
      const Window read{.row = rows.input, .column = columns.input, .height = rows.inputs, .width = columns.inputs};
      torch::Tensor input = Of(read, source).clone();
      Overlay(tried.back(), changed, read, input);
      input =
          Pad(layers_[i], input, {rows.zeros_before, rows.zeros_after}, {columns.zeros_before, columns.zeros_after});
      tried.push_back(Apply(layers_[i], input));
      windows.push_back(
          {.row = rows.output, .column = columns.output, .height = rows.outputs, .width = columns.outputs});
    }
    const torch::Tensor difference = tried.back() - Of(windows.back(), accepted_[spatial_]);
    const torch::Tensor weight = Of(windows.back(), weight_).flatten(0, 2);
    tried.push_back(torch::addmm(accepted_.back(), weight.t(), difference.flatten(0, 2)));
    tried_ = std::move(tried);
    windows_ = std::move(windows);
    return true;
  }

  // Writes `patch`, the values of the window `changed`, where it meets `read`, whose values `into` holds.
  static void Overlay(const torch::Tensor& patch, const Window& changed, const Window& read, torch::Tensor& into) {
    const int64_t row = std::max(changed.row, read.row), column = std::max(changed.column, read.column);
    const int64_t row_end = std::min(changed.row + changed.height, read.row + read.height);
    const int64_t column_end = std::min(changed.column + changed.width, read.column + read.width);
    if (row_end <= row || column_end <= column) return;
    const auto in = [&](const Window& window) {
      return Window{.row = row - window.row,
                    .column = column - window.column,
                    .height = row_end - row,
                    .width = column_end - column};
    };
    Of(in(read), into).copy_(Of(in(changed), patch));
  }

  const std::vector<Layer>& layers_;
  const size_t spatial_;
  torch::Tensor weight_;  // of the first linear layer, C×H×W×out
  // Entry 0: the images; i + 1: what the spatial layer i gives; the last, out×N: what the first linear layer gives.
  std::vector<torch::Tensor> accepted_;
  // Of the last try: of each but the last only the window in `windows_`, unless that is empty.
  std::vector<torch::Tensor> tried_;
  std::vector<Window> windows_;
  int tries_ = 0;
};

}  // namespace

std::unique_ptr<WindowedLogits> MakeWindowedLogits(const LayerGraph& graph, const torch::Tensor& images) {
  const std::vector<Layer>& layers = graph.layers();
  size_t spatial = 0;
  while (spatial < layers.size() && IsSpatial(layers[spatial])) {
    if (!IsSupported(layers[spatial])) return nullptr;
    ++spatial;
  }
  if (spatial + 1 >= layers.size() || !std::holds_alternative<FlattenLayer>(layers[spatial]) ||
      !std::holds_alternative<LinearLayer>(layers[spatial + 1])) {
    return nullptr;
  }
  for (size_t i = spatial + 2; i < layers.size(); ++i) {
    if (!std::holds_alternative<LinearLayer>(layers[i]) && !std::holds_alternative<ReluLayer>(layers[i]))
      return nullptr;
  }
  return std::make_unique<WindowedGraph>(graph, images, spatial);
}

}  // namespace tightrope
