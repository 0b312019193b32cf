// A few elements of some rows that take new values, for attacks that change one element at a time: the choice is made
// on the CPU, row by row; the points may be on another device.
#pragma once

#include <cstdint>
#include <vector>

#include "core/robustness/torch.h"

namespace tightrope {

class ElementChanges {
 public:
  // `elements`: how many a row has.
  explicit ElementChanges(int64_t elements) : elements_(elements) {}

  void Set(int64_t row, int64_t element, float value) {
    at_.push_back(row * elements_ + element);
    values_.push_back(value);
  }

  // In place; no element may have been set twice. REQUIRES: contiguous points.
  void Apply(const torch::Tensor& points) const {
    points.view({-1}).index_copy_(0, torch::tensor(at_, torch::kInt64).to(points.device()),
                                  torch::tensor(values_, torch::kFloat32).to(points.device()));
  }

 private:
  int64_t elements_;
  std::vector<int64_t> at_;
  std::vector<float> values_;
};

}  // namespace tightrope
