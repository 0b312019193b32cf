// Counter-based random draws (Philox4x32-10; Salmon et al., SC 2011): a draw is a function of its coordinates alone, so
// it does not depend on batch size, shard, worker or order, nor on the LibTorch version or device.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tightrope {

// Immutable, so safe to share between threads.
class RandomStream {
 public:
  // Keyed by the first 64 bits of SHA-256("<seed>/<job digest>/<purpose>").
  RandomStream(uint64_t seed, absl::string_view job_digest, absl::string_view purpose);

  // Where a draw stands: element i of the draw at (example, restart, step). Element i is the same however many are
  // drawn.
  struct At {
    uint32_t example = 0;
    uint32_t restart = 0;
    uint32_t step = 0;
  };

  // Fills with independent draws from [0, 1), multiples of 2^-24.
  void Uniform(At at, absl::Span<float> out) const;
  // Standard normal (Box-Muller); its last bit is the C library's.
  void Normal(At at, absl::Span<float> out) const;
  // A uniform permutation of 0 … n-1 (Fisher-Yates).
  std::vector<uint32_t> Permutation(At at, uint32_t n) const;

 private:
  uint64_t key_;
};

}  // namespace tightrope
