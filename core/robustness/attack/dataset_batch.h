// From the plain arrays of a data set to tensors.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "core/robustness/torch.h"

namespace tightrope {

// Some examples of a data set, in the order asked for.
struct DatasetBatch {
  torch::Tensor inputs;  // N×C×H×W float32: pixel / 255, correctly rounded, so the same on every device
  torch::Tensor labels;  // N int64
};

// REQUIRES: every index < data.count, and CheckArrays(data) is OK.
DatasetBatch MakeBatch(const Dataset& data, absl::Span<const uint32_t> indices, torch::Device device);

// INVALID_ARGUMENT where the arrays are not of the size that the data set's shape says.
absl::Status CheckArrays(const Dataset& data);

}  // namespace tightrope
