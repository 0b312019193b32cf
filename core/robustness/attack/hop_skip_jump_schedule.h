// The constants of HopSkipJump that follow from the number of elements d (Chen et al. 2020, section 3.3), apart from
// the attack so that they can be tested.
#pragma once

#include <cstdint>

#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// θ, at which bisection ends, as a share of the way to the example: d^(-3/2) in l2, d^-2 in linf.
double HopSkipJumpThreshold(v1::Norm norm, int64_t elements);
// How many halvings lead there.
uint32_t HopSkipJumpHalvings(v1::Norm norm, int64_t elements);
// B_t, queries for the `step`th normal (from 1): gradient_queries·√t, no more than the largest.
uint32_t HopSkipJumpQueries(const v1::HopSkipJumpAttack& options, uint32_t step);

}  // namespace tightrope
