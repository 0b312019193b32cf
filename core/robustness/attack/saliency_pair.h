// Which two elements JSMA changes next, apart from the attack so that it can be tested.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tightrope {

// Of all pairs of elements of `domain` with rise_p + rise_q > 0 and fall_p + fall_q > 0 one of the largest product of
// the two sums (Papernot et al. 2016, algorithm 3, where the sums are α and −β); with `single`, the same of one
// element. Empty: there is none. `domain`: places in `rise` and `fall`, which must be finite there.
//
// Exact, but not by trying all pairs: where two other elements are at least as good as p in both numbers, one of them
// may stand in p's place, so only elements with at most one such other are tried.
std::vector<uint32_t> MostSalient(absl::Span<const float> rise, absl::Span<const float> fall,
                                  std::vector<uint32_t> domain, bool single);

}  // namespace tightrope
