// How the proposals of Sparse-RS shrink, apart from the attack so that it can be tested.
#pragma once

#include <cstdint>

namespace tightrope {

// Share of the changed elements that the proposal `query` (the first is 1; 0 is the start) replaces: `first`, divided
// by 2, 4, 5, 6, 8, 10, 12, 15 and 20 after queries 0, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000; with `rescale`
// the queries are stretched so that all `queries` are 10,000. (Croce et al. 2022, section 4.1, breaks as in the
// authors' code.)
double SparseRsShare(double first, uint64_t query, uint64_t queries, bool rescale);

}  // namespace tightrope
