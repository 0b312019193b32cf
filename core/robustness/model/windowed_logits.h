// Logits of images that change in one window at a time, as random search over squares asks for them: of the layers only
// what the window reaches is computed again. For `small_cnn` and a window of 3×3 pixels that is a sixth of the work.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/robustness/model/layer_graph.h"
#include "core/robustness/torch.h"

namespace tightrope {

// Rows and columns [row, row + height) × [column, column + width) of every image.
struct Window {
  int64_t row = 0, column = 0, height = 0, width = 0;

  torch::Tensor Of(const torch::Tensor& images) const { return images.narrow(2, row, height).narrow(3, column, width); }
};

// Not thread-safe.
class WindowedLogits {
 public:
  virtual ~WindowedLogits() = default;

  // `images`: N×C×H×W, which equal those accepted last outside of `window`. Returns N×classes logits, equal to the
  // model's but for rounding.
  virtual torch::Tensor Try(const torch::Tensor& images, const Window& window) = 0;
  // The images that were tried last are the accepted ones from now on, where `rows` (N bool) says so.
  virtual void Accept(const torch::Tensor& rows) = 0;
  // Only these images from now on. `rows`: int64. After Try and before Accept, or after Accept.
  virtual void Keep(const torch::Tensor& rows) = 0;
};

// `images`: those accepted first. The graph must outlive the result. Null where there is no quicker way than
// the graph's own: off the CPU, and for layers that no window is known through.
std::unique_ptr<WindowedLogits> MakeWindowedLogits(const LayerGraph& graph, const torch::Tensor& images);

}  // namespace tightrope
