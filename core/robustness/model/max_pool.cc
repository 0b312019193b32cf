#include "core/robustness/model/max_pool.h"

#include <cstring>

namespace tightrope {
namespace {

constexpr int64_t kLanes = 4;
using Floats = float __attribute__((vector_size(16)));
using Places = int32_t __attribute__((vector_size(16)));

Floats Load(const float* from) {
  Floats values;
  std::memcpy(&values, from, sizeof values);
  return values;
}
template <typename Vector, typename Value>
void Store(const Vector& values, Value* to) {
  std::memcpy(to, &values, sizeof values);
}

// Whether our own kernel takes it: windows of 2×2 side by side, at least four in a row.
bool IsOurs(const MaxPoolLayer& layer, const torch::Tensor& input) {
  const std::vector<int64_t> two = {2, 2}, one = {1, 1}, none = {0, 0};
  return input.is_cpu() && input.scalar_type() == torch::kFloat32 && input.dim() == 4 && layer.kernel == two &&
         layer.stride == two && layer.padding == none && layer.dilation == one && !layer.ceil_mode &&
         input.size(2) >= 2 && input.size(3) >= 2 * kLanes;
}

// NaN is larger than all, the later one than the earlier, as LibTorch has it.
Places SecondIsLarger(const Floats& first, const Floats& second) { return (second > first) | (second != second); }

// One row of windows: `top` and the row of the image below it. The last four windows may be taken twice.
void PoolRow(const float* top, int64_t width, int64_t columns, float* values, int32_t* places) {
  for (int64_t j = 0; j < columns; j += kLanes) {
    if (j > columns - kLanes) j = columns - kLanes;
    const auto larger_of_pair = [&](const float* row, Places& right) {
      const Floats low = Load(row + 2 * j), high = Load(row + 2 * j + kLanes);
      const Floats even = __builtin_shufflevector(low, high, 0, 2, 4, 6);
      const Floats odd = __builtin_shufflevector(low, high, 1, 3, 5, 7);
      right = SecondIsLarger(even, odd);
      return right ? odd : even;
    };
    Places top_right, bottom_right;
    const Floats upper = larger_of_pair(top, top_right), lower = larger_of_pair(top + width, bottom_right);
    const Places below = SecondIsLarger(upper, lower);
    Store(below ? lower : upper, values + j);
    Store(below ? 2 - bottom_right : -top_right, places + j);  // a true lane is -1
  }
}

// One of the two rows under a row of windows, whose places begin at `first`.
void SpreadRow(const float* gradient, const int32_t* places, int32_t first, int64_t columns, float* row) {
  for (int64_t j = 0; j < columns; j += kLanes) {
    if (j > columns - kLanes) j = columns - kLanes;
    const Floats values = Load(gradient + j), zeros = {};
    Places at;
    std::memcpy(&at, places + j, sizeof at);
    const Floats even = at == first ? values : zeros, odd = at == first + 1 ? values : zeros;
    Store(__builtin_shufflevector(even, odd, 0, 4, 1, 5), row + 2 * j);
    Store(__builtin_shufflevector(even, odd, 2, 6, 3, 7), row + 2 * j + kLanes);
  }
}

}  // namespace

Pooled Apply(const MaxPoolLayer& layer, const torch::Tensor& input) {
  if (!IsOurs(layer, input)) {
    auto [values, places] = torch::max_pool2d_with_indices(input, layer.kernel, layer.stride, layer.padding,
                                                           layer.dilation, layer.ceil_mode);
    return {values, places};
  }
  const torch::Tensor from = input.contiguous();
  const int64_t height = from.size(2), width = from.size(3), rows = height / 2, columns = width / 2;
  const std::vector<int64_t> sizes = {from.size(0), from.size(1), rows, columns};
  Pooled pooled = {torch::empty(sizes, from.options()), torch::empty(sizes, torch::kInt32)};
  for (int64_t i = 0; i < sizes[0] * sizes[1] * rows; ++i) {
    PoolRow(from.data_ptr<float>() + (i / rows * height + i % rows * 2) * width, width, columns,
            pooled.values.data_ptr<float>() + i * columns, pooled.places.data_ptr<int32_t>() + i * columns);
  }
  return pooled;
}

torch::Tensor PullBack(const MaxPoolLayer& layer, const torch::Tensor& gradient, const torch::Tensor& input,
                       const torch::Tensor& places) {
  if (places.scalar_type() != torch::kInt32) {
    return torch::max_pool2d_with_indices_backward(gradient, input, layer.kernel, layer.stride, layer.padding,
                                                   layer.dilation, layer.ceil_mode, places);
  }
  const torch::Tensor from = gradient.contiguous();
  const int64_t height = input.size(2), width = input.size(3), rows = height / 2, columns = width / 2;
  const bool covered = height % 2 == 0 && width % 2 == 0;
  torch::Tensor spread = covered ? torch::empty(input.sizes(), from.options()) : torch::zeros(input.sizes());
  for (int64_t i = 0; i < from.size(0) * from.size(1) * rows; ++i) {
    for (int32_t y = 0; y < 2; ++y) {
      SpreadRow(from.data_ptr<float>() + i * columns, places.data_ptr<int32_t>() + i * columns, 2 * y, columns,
                spread.data_ptr<float>() + (i / rows * height + i % rows * 2 + y) * width);
    }
  }
  return spread;
}

}  // namespace tightrope
