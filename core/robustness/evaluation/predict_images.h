// What a model says of images that are plain arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "core/robustness/model/classifier.h"

namespace tightrope {

struct ImageShape {
  int64_t channels = 0, height = 0, width = 0;

  size_t elements() const { return static_cast<size_t>(channels * height * width); }
};
inline ImageShape ShapeOf(const Dataset& data) { return {data.channels, data.height, data.width}; }

// As Predictions has it, one an image: the class of the largest logit, or -1 where a logit is not finite. `images`: one
// after another, each of this shape. Asked in batches of RowsPerBatch. Throws as Classifier::Logits.
// Errors: INVALID_ARGUMENT (values that are no whole images, a model that gives more or fewer rows than it gets).
absl::StatusOr<std::vector<int32_t>> PredictImages(Classifier& classifier, const ImageShape& shape,
                                                   absl::Span<const float> images);

}  // namespace tightrope
