// How many of a fixed set of numbers are larger than, or equal to, each of many others: a sort would answer that too,
// but only once for each row of distances, and slower.
//
// The range of the set is cut into at most 2^16 intervals of equal width, a power of two. A number that falls into an
// interval without elements of the set (most do, where the set has some thousands) is answered by one look into a
// table. The others are compared with the elements of their interval, or looked up among those by bisection where they
// are many. Where the intervals have width 1, as for a distance of few values, the look into the table is all.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tightrope {

// Keeps its memory from one set to the next. Not thread-safe.
class RankTable {
 public:
  // Sums over pairs (element of the set, other number).
  struct Comparison {
    uint64_t greater = 0;  // element > other
    uint64_t equal = 0;
  };

  // Replaces the set; `elements` may be empty and hold equal numbers.
  void Assign(absl::Span<const uint32_t> elements);

  Comparison Compare(absl::Span<const uint32_t> others);

 private:
  Comparison CompareInside(absl::Span<const uint32_t> offsets) const;

  uint32_t lowest_ = 0, highest_ = 0;  // others are clamped to these, of which at least one lies beyond the set
  uint32_t shift_ = 0;                 // the width of an interval is 2^shift_
  std::vector<uint32_t> starts_;       // [b]: elements in the intervals before b; one more than there are intervals
  std::vector<uint32_t> offsets_;      // element − lowest_, ascending
  std::vector<uint32_t> open_;         // offsets that fell into an interval with elements
};

}  // namespace tightrope
