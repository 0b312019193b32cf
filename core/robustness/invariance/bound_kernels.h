// The products of matrices that bound distances from below. Their last bits may differ from machine to machine (they
// are compiled with fused operations): they only decide what need not be looked at, with a margin (neighbour_search.h).
// Arrays do not overlap.
#pragma once

#include <cstdint>

namespace tightrope {

// Inner products of four rows with each of `directions` basis vectors: out[row · directions + j]. `elements` is a
// multiple of 8 and `directions` of 4; rows and basis vectors stand one behind the other.
void Projections(int64_t elements, const double* rows, int64_t directions, const double* basis, double* out);

// target += factor·row.
void AddScaled(int64_t elements, double factor, const double* row, double* target);

inline constexpr int64_t kPanelRows = 32;    // candidates side by side
inline constexpr int64_t kPanelQueries = 8;  // queries side by side

// Some candidates and some queries by their numbers (PrincipalDirections), [dimension][candidate] and
// [dimension][query].
struct Panel {
  const float* candidates;
  const float* candidate_offsets;
  const float* queries;
  const float* query_offsets;
};

// closeness[q][c] = query q · candidate c − query_offsets[q] − candidate_offsets[c]; bit c of near[q] says whether it
// is ≥ `least`. The products leave out dimension `coarse`, the rest that the dimensions before it do not see. Returns
// false, and writes nothing, where those dimensions and that rest suffice to tell that no closeness is ≥ `least`.
bool NearPanel(int64_t dimensions, int64_t coarse, const Panel& panel, float least, float (*closeness)[kPanelRows],
               uint32_t* near);

}  // namespace tightrope
