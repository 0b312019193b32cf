#include "core/robustness/attack/rows_per_batch.h"

#include <algorithm>
#include <cstdint>

namespace tightrope {
namespace {

// What a step may take of the device's memory.
constexpr size_t kBytesOnCpu = size_t{512} << 20;
constexpr size_t kBytesOnGpu = size_t{4} << 30;

}  // namespace

size_t RowsPerBatch(size_t rows, size_t elements, const Classifier& classifier, const Classifier* surrogate) {
  const bool gpu = classifier.device().is_cuda();
  const size_t worthwhile = std::clamp<size_t>((gpu ? size_t{1} << 21 : size_t{1} << 18) / elements, 16, 4096);
  const int64_t at_surrogate = surrogate != nullptr ? surrogate->bytes_per_input() : 0;
  const auto bytes = static_cast<size_t>(std::max<int64_t>({classifier.bytes_per_input(), at_surrogate, 1}));
  const size_t limit = std::clamp<size_t>((gpu ? kBytesOnGpu : kBytesOnCpu) / bytes, 1, worthwhile);
  const size_t batches = std::max<size_t>((rows + limit - 1) / limit, 1);
  return std::max<size_t>((rows + batches - 1) / batches, 1);
}

}  // namespace tightrope
