#include "core/robustness/model/windowed_logits.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "absl/types/span.h"

namespace tightrope {
namespace {

// Values are kept with the images last, C×H×W×N: a window is then a few long rows of memory, and a convolution of it
// one matrix product over all images.

// Sums of a linear layer are carried on by differences, so that rounding adds up; after this many changes everything is
// computed anew.
constexpr int kTriesBetweenFullPasses = 250;
// 1 MiB of columns stays in a core's own cache.
constexpr int64_t kColumnValues = int64_t{1} << 18;

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

// Along one axis: the outputs of a sliding kernel that read inputs [begin, begin + length): first, and how many.
std::pair<int64_t, int64_t> Reach(int64_t begin, int64_t length, const Sliding& sliding, size_t axis, int64_t outputs) {
  const int64_t kernel = sliding.kernel[axis], stride = sliding.stride[axis], padding = sliding.padding[axis];
  const int64_t low = begin + padding - (kernel - 1);  // in padded inputs, where the first such output may start
  const int64_t first = std::min(low <= 0 ? 0 : (low + stride - 1) / stride, outputs);
  const int64_t end = std::clamp((begin + length - 1 + padding) / stride + 1, first, outputs);
  return {first, end - first};
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

// What a layer reads: values as they were, C×H×W×N, with what changed in a window laid over.
class Overlaid {
 public:
  explicit Overlaid(const torch::Tensor& values)
      : values_(values.data_ptr<float>()),
        channels_(values.size(0)),
        height_(values.size(1)),
        width_(values.size(2)),
        images_(values.size(3)) {}
  Overlaid(const torch::Tensor& values, const torch::Tensor& changed, const Window& window) : Overlaid(values) {
    changed_ = changed.data_ptr<float>();
    window_ = window;
  }

  int64_t channels() const { return channels_; }
  int64_t images() const { return images_; }

  // The images' values at one place; null outside of the images.
  const float* At(int64_t channel, int64_t row, int64_t column) const {
    if (row < 0 || column < 0 || row >= height_ || column >= width_) return nullptr;
    const int64_t r = row - window_.row, c = column - window_.column;
    if (r >= 0 && c >= 0 && r < window_.height && c < window_.width) {
      return changed_ + ((channel * window_.height + r) * window_.width + c) * images_;
    }
    return values_ + ((channel * height_ + row) * width_ + column) * images_;
  }

 private:
  const float* values_;
  const float* changed_ = nullptr;
  Window window_;  // empty: nothing changed
  int64_t channels_, height_, width_, images_;
};

// Everything that a sliding kernel reads for these outputs of images [first, first + count), a row for each channel and
// place of the kernel: (C·kernel)×(outputs·count). `outside`: what padding counts as.
torch::Tensor Columns(const Overlaid& input, const Sliding& sliding, const Window& outputs, int64_t first,
                      int64_t count, float outside) {
  torch::Tensor columns =
      torch::empty({input.channels() * sliding.kernel[0] * sliding.kernel[1], outputs.height * outputs.width * count});
  float* to = columns.data_ptr<float>();
  for (int64_t channel = 0; channel < input.channels(); ++channel) {
    for (int64_t place = 0; place < sliding.kernel[0] * sliding.kernel[1]; ++place) {
      const int64_t row = place / sliding.kernel[1] - sliding.padding[0];
      const int64_t column = place % sliding.kernel[1] - sliding.padding[1];
      for (int64_t r = outputs.row; r < outputs.row + outputs.height; ++r) {
        for (int64_t c = outputs.column; c < outputs.column + outputs.width; ++c, to += count) {
          const float* from = input.At(channel, r * sliding.stride[0] + row, c * sliding.stride[1] + column);
          from == nullptr ? std::fill_n(to, count, outside) : std::copy_n(from + first, count, to);
        }
      }
    }
  }
  return columns;
}

// These outputs of a sliding layer, channels×height×width×N.
torch::Tensor Slide(const Layer& layer, const Sliding& sliding, const Overlaid& input, const Window& outputs) {
  const auto* convolution = std::get_if<ConvolutionLayer>(&layer);
  const int64_t channels = convolution != nullptr ? convolution->weight.size(0) : input.channels();
  const int64_t taps = sliding.kernel[0] * sliding.kernel[1];
  // As many images at a time as leave the columns in a core's own cache, in whole vectors.
  const int64_t most = kColumnValues / (input.channels() * taps * outputs.height * outputs.width);
  const int64_t block = std::min(std::max<int64_t>(most / 16 * 16, 16), input.images());
  torch::Tensor all;
  for (int64_t first = 0; first < input.images(); first += block) {
    const int64_t count = std::min(block, input.images() - first);
    torch::Tensor values;
    if (convolution != nullptr) {
      const torch::Tensor columns = Columns(input, sliding, outputs, first, count, 0);
      const torch::Tensor weight = convolution->weight.flatten(1);
      values = convolution->bias.defined() ? torch::addmm(convolution->bias.view({-1, 1}), weight, columns)
                                           : torch::mm(weight, columns);
    } else {
      constexpr float kLeast = -std::numeric_limits<float>::infinity();
      values = Columns(input, sliding, outputs, first, count, kLeast).view({channels, taps, -1}).amax(1);
    }
    values = values.view({channels, outputs.height, outputs.width, count});
    if (count == input.images()) return values;
    if (first == 0) all = torch::empty({channels, outputs.height, outputs.width, input.images()});
    all.narrow(3, first, count).copy_(values);
  }
  return all;
}

// A spatial layer that does not slide, on C×H×W×N.
torch::Tensor ApplyEach(const Layer& layer, const torch::Tensor& values) {
  if (const auto* norm = std::get_if<BatchNormLayer>(&layer)) {
    return torch::batch_norm(values.unsqueeze(0), norm->weight, norm->bias, norm->mean, norm->variance,
                             /*training=*/false, /*momentum=*/0, norm->epsilon, /*cudnn_enabled=*/false)
        .squeeze(0);
  }
  return values.relu();
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
    const torch::Tensor accepted = rows.nonzero().view({-1});
    if (accepted.numel() == 0) return;
    for (size_t i = 0; i + 1 < accepted_.size(); ++i) {
      CopyImages(accepted, tried_[i], windows_.empty() ? accepted_[i] : Of(windows_[i], accepted_[i]));
    }
    const auto spatial = [](const torch::Tensor& sums) { return sums.view({sums.size(0), 1, 1, sums.size(1)}); };
    CopyImages(accepted, spatial(tried_.back()), spatial(accepted_.back()));
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
      const torch::Tensor& values = all.back();
      const auto sliding = SlidingOf(layers_[i]);
      if (!sliding) {
        all.push_back(ApplyEach(layers_[i], values));
        continue;
      }
      const auto outputs = [&](size_t axis) {
        return (values.size(1 + static_cast<int64_t>(axis)) + 2 * sliding->padding[axis] - sliding->kernel[axis]) /
                   sliding->stride[axis] +
               1;
      };
      all.push_back(Slide(layers_[i], *sliding, Overlaid(values),
                          {.row = 0, .column = 0, .height = outputs(0), .width = outputs(1)}));
    }
    const LinearLayer& linear = std::get<LinearLayer>(layers_[spatial_ + 1]);
    const torch::Tensor sums = torch::mm(linear.weight, all.back().flatten(0, 2));
    all.push_back(linear.bias.defined() ? sums + linear.bias.view({-1, 1}) : sums);
    return all;
  }

  // False where the window reaches nothing; nothing is changed then.
  bool TryWindow(const torch::Tensor& images, const Window& window) {
    std::vector<Window> windows = {window};
    std::vector<torch::Tensor> tried = {ImagesLast(window.Of(images))};
    for (size_t i = 0; i < spatial_; ++i) {
      const auto sliding = SlidingOf(layers_[i]);
      if (!sliding) {
        tried.push_back(ApplyEach(layers_[i], tried.back()));
        windows.push_back(windows.back());
        continue;
      }
      const Window changed = windows.back();
      const torch::Tensor& output = accepted_[i + 1];
      const auto [row, height] = Reach(changed.row, changed.height, *sliding, 0, output.size(1));
      const auto [column, width] = Reach(changed.column, changed.width, *sliding, 1, output.size(2));
      if (height * width == 0) return false;
      windows.push_back({.row = row, .column = column, .height = height, .width = width});
      tried.push_back(Slide(layers_[i], *sliding, Overlaid(accepted_[i], tried.back(), changed), windows.back()));
    }
    const torch::Tensor difference = tried.back() - Of(windows.back(), accepted_[spatial_]);
    const torch::Tensor weight = Of(windows.back(), weight_).flatten(0, 2);
    tried.push_back(torch::addmm(accepted_.back(), weight.t(), difference.flatten(0, 2)));
    tried_ = std::move(tried);
    windows_ = std::move(windows);
    return true;
  }

  // All values of these images. Both C×H×W×N, `from` contiguous, `into` maybe a window.
  static void CopyImages(const torch::Tensor& images, const torch::Tensor& from, const torch::Tensor& into) {
    const absl::Span<const int64_t> rows(images.data_ptr<int64_t>(), static_cast<size_t>(images.numel()));
    const int64_t count = from.size(3);
    const float* read = from.data_ptr<float>();
    for (int64_t channel = 0; channel < from.size(0); ++channel) {
      for (int64_t row = 0; row < from.size(1); ++row) {
        float* write = into.data_ptr<float>() + channel * into.stride(0) + row * into.stride(1);
        for (int64_t column = 0; column < from.size(2); ++column, read += count, write += count) {
          for (const int64_t image : rows) write[image] = read[image];
        }
      }
    }
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
  if (!images.is_cpu()) return nullptr;
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
