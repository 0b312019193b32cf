#include "core/robustness/evaluation/predict_images.h"

#include <algorithm>
#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/robustness/attack/active_batch.h"
#include "core/robustness/attack/rows_per_batch.h"
#include "core/robustness/torch.h"

namespace tightrope {

absl::StatusOr<std::vector<int32_t>> PredictImages(Classifier& classifier, const ImageShape& shape,
                                                   absl::Span<const float> images) {
  const size_t elements = shape.elements();
  if (elements == 0 || images.size() % elements != 0) {
    return absl::InvalidArgumentError(absl::StrCat("there are ", images.size(), " values for images of ", elements,
                                                   " values each; give whole images"));
  }
  torch::NoGradGuard no_grad;
  const size_t count = images.size() / elements;
  const size_t rows = RowsPerBatch(count, elements, classifier);
  std::vector<int32_t> predictions;
  for (size_t begin = 0; begin < count; begin += rows) {
    const absl::Span<const float> batch = images.subspan(begin * elements, rows * elements);
    torch::Tensor inputs = torch::empty(
        {static_cast<int64_t>(batch.size() / elements), shape.channels, shape.height, shape.width}, torch::kFloat32);
    std::copy(batch.begin(), batch.end(), inputs.data_ptr<float>());
    const std::vector<int32_t> predicted = Predictions(classifier.Logits(inputs.to(classifier.device())));
    if (predicted.size() * elements != batch.size()) {
      return absl::InvalidArgumentError(absl::StrCat("the model gave ", predicted.size(), " rows of logits for ",
                                                     batch.size() / elements, " images"));
    }
    predictions.insert(predictions.end(), predicted.begin(), predicted.end());
  }
  return predictions;
}

}  // namespace tightrope
