#include "core/oracle/byte_product.h"

#include <algorithm>

#include "core/for_every_cpu.h"

namespace tightrope {
namespace {

constexpr size_t kBlock = 1 << 15;  // 2^15 · 255² < 2^31

}  // namespace

TIGHTROPE_FOR_EVERY_CPU
uint64_t ByteProduct(size_t elements, const uint8_t* __restrict a, const uint8_t* __restrict b) {
  uint64_t sum = 0;
  for (size_t begin = 0; begin < elements; begin += kBlock) {
    const size_t end = std::min(elements, begin + kBlock);
    int32_t block = 0;
    // As 16-bit numbers: processors multiply and add pairs of those in one instruction.
    for (size_t i = begin; i < end; ++i) block += static_cast<int16_t>(a[i]) * static_cast<int16_t>(b[i]);
    sum += static_cast<uint64_t>(block);
  }
  return sum;
}

}  // namespace tightrope
