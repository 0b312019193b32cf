// Max-pooling. On the CPU LibTorch's takes one value at a time, with branches that cannot be foreseen, and costs as
// much as the convolution before it. Windows of 2×2 side by side, the usual ones, have a kernel of our own: four
// windows at a time, the same bits.
#pragma once

#include <cstdint>
#include <vector>

#include "core/robustness/torch.h"

namespace tightrope {

struct MaxPoolLayer {
  std::vector<int64_t> kernel, stride, padding, dilation;  // height, width
  bool ceil_mode = false;
};

// The pooled values, and the places of the largest for PullBack.
struct Pooled {
  torch::Tensor values;
  torch::Tensor places;
};
Pooled Apply(const MaxPoolLayer& layer, const torch::Tensor& input);
// The input's gradient: that of each pooled value, at the first of the largest. `input` is the one pooled.
torch::Tensor PullBack(const MaxPoolLayer& layer, const torch::Tensor& gradient, const torch::Tensor& input,
                       const torch::Tensor& places);

}  // namespace tightrope
