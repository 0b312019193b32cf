#include "core/robustness/model/max_pool.h"

#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace tightrope {
namespace {

MaxPoolLayer TwoByTwo() { return {.kernel = {2, 2}, .stride = {2, 2}, .padding = {0, 0}, .dilation = {1, 1}}; }

// Against LibTorch's, bit for bit.
void ExpectLibTorchs(const MaxPoolLayer& layer, const torch::Tensor& input) {
  auto [values, indices] =
      torch::max_pool2d_with_indices(input, layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode);
  const Pooled pooled = Apply(layer, input);
  EXPECT_TRUE(torch::allclose(pooled.values, values, 0, 0, /*equal_nan=*/true)) << input.sizes();
  const torch::Tensor gradient = torch::randn_like(values);
  const torch::Tensor wanted = torch::max_pool2d_with_indices_backward(
      gradient, input, layer.kernel, layer.stride, layer.padding, layer.dilation, layer.ceil_mode, indices);
  EXPECT_TRUE(torch::equal(PullBack(layer, gradient, input, pooled.places), wanted)) << input.sizes();
}

TEST(MaxPoolTest, WindowsOfTwoByTwoAreLibTorchsBitForBit) {
  for (const std::vector<int64_t>& sizes : std::vector<std::vector<int64_t>>{{3, 2, 28, 28},
                                                                             {3, 2, 14, 14},
                                                                             {2, 3, 8, 8},
                                                                             {2, 1, 9, 11},
                                                                             {1, 2, 3, 17},
                                                                             {2, 2, 2, 10},
                                                                             {2, 2, 5, 7},
                                                                             {1, 1, 2, 2},
                                                                             {0, 2, 8, 8}}) {
    ExpectLibTorchs(TwoByTwo(), torch::randn(sizes));
  }
}

TEST(MaxPoolTest, OfEqualValuesTheFirstGetsTheGradient) {
  ExpectLibTorchs(TwoByTwo(), torch::zeros({2, 3, 8, 12}));
  ExpectLibTorchs(TwoByTwo(), torch::randint(0, 2, {4, 3, 16, 18}).to(torch::kFloat32));
}

TEST(MaxPoolTest, NanAndInfinityPassAsInLibTorch) {
  torch::Tensor input = torch::randn({2, 2, 8, 10});
  input.flatten().slice(0, 0, 320, 7).fill_(std::numeric_limits<float>::quiet_NaN());
  input.flatten().slice(0, 1, 320, 5).fill_(-std::numeric_limits<float>::infinity());
  ExpectLibTorchs(TwoByTwo(), input);
  ExpectLibTorchs(TwoByTwo(), torch::full({1, 1, 8, 8}, -std::numeric_limits<float>::infinity()));
  ExpectLibTorchs(TwoByTwo(), torch::full({1, 1, 8, 8}, std::numeric_limits<float>::quiet_NaN()));
}

TEST(MaxPoolTest, InputsThatAreNotContiguousAreTaken) {
  ExpectLibTorchs(TwoByTwo(), torch::randn({2, 12, 3, 9}).transpose(1, 2));
}

TEST(MaxPoolTest, OtherWindowsAreLeftToLibTorch) {
  ExpectLibTorchs({.kernel = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .dilation = {1, 1}},
                  torch::randn({2, 3, 9, 9}));
  ExpectLibTorchs({.kernel = {2, 2}, .stride = {2, 2}, .padding = {0, 0}, .dilation = {1, 1}, .ceil_mode = true},
                  torch::randn({2, 3, 9, 11}));
}

}  // namespace
}  // namespace tightrope
