// How the squares of the Square attack shrink, apart from the attack so that it can be tested.
#pragma once

#include <cstdint>

namespace tightrope {

// Share of the image that the square of step `step` (from 0) covers: `first`, halved after steps 10, 50, 200, 500,
// 1000, 2000, 4000, 6000 and 8000; with `rescale` the steps are stretched so that all `steps` are 10,000.
// (Andriushchenko et al. 2020, supplement B; the halvings start there at p itself, as in AutoAttack.)
double SquareShare(double first, uint64_t step, uint64_t steps, bool rescale);

// The side in pixels: √(share·height·width), rounded, at least 1, at most the shorter side.
int64_t SquareSide(double share, int64_t height, int64_t width);

}  // namespace tightrope
