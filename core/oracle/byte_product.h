// The sum of products of bytes, exactly: what distances between images in grey levels are made of.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tightrope {

// Σ a[i]·b[i]. Compiled for several instruction sets; integers, so the same on all. REQUIRES: elements < 2^48.
uint64_t ByteProduct(size_t elements, const uint8_t* a, const uint8_t* b);

}  // namespace tightrope
