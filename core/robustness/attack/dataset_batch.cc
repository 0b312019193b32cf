#include "core/robustness/attack/dataset_batch.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace tightrope {
namespace {

constexpr std::array<float, 256> kPixelValues = [] {
  std::array<float, 256> values{};
  for (int pixel = 0; pixel < 256; ++pixel) values[pixel] = static_cast<float>(pixel) / 255.0f;
  return values;
}();

}  // namespace

DatasetBatch MakeBatch(const Dataset& data, absl::Span<const uint32_t> indices, torch::Device device) {
  const int64_t rows = static_cast<int64_t>(indices.size());
  const size_t elements = size_t{data.channels} * data.height * data.width;
  torch::Tensor inputs = torch::empty({rows, data.channels, data.height, data.width}, torch::kFloat32);
  torch::Tensor labels = torch::empty({rows}, torch::kInt64);
  float* values = inputs.data_ptr<float>();
  int64_t* classes = labels.data_ptr<int64_t>();
  for (const uint32_t index : indices) {
    const uint8_t* pixels = data.pixels.data() + index * elements;
    values = std::transform(pixels, pixels + elements, values, [](uint8_t pixel) { return kPixelValues[pixel]; });
    *classes++ = data.labels[index];
  }
  return {inputs.to(device), labels.to(device)};
}

absl::Status CheckArrays(const Dataset& data) {
  const uint64_t elements = uint64_t{data.channels} * data.height * data.width;
  if (elements == 0 || data.pixels.size() != data.count * elements || data.labels.size() != data.count) {
    return absl::InvalidArgumentError(absl::StrCat("the data set's arrays do not match its shape: ", data.count, "×",
                                                   data.channels, "×", data.height, "×", data.width, " with ",
                                                   data.pixels.size(), " pixels and ", data.labels.size(), " labels"));
  }
  if (data.count > UINT32_MAX) {
    return absl::InvalidArgumentError(absl::StrCat("the data set has more than 2^32 examples: ", data.count));
  }
  return absl::OkStatus();
}

}  // namespace tightrope
