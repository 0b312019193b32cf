// Loops over the elements of one row that would be ten passes over the memory as tensor operations. Plain C++, compiled
// for several instruction sets; the same bits in all of them. Arrays do not overlap.
#pragma once

#include <cstdint>

namespace tightrope {

// next = P(x + a·(z − x) + (1 − a)·(x − before)) with z = P(x + step·sign(gradient)), where P clamps to [low, high] and
// the sign of 0 and of NaN is 0.
void LinfMomentumRow(int64_t elements, const float* x, const float* before, const float* gradient, const float* low,
                     const float* high, float step, float a, float* next);

// linf, l2, l1 and l0 distance, in double, to distances[0 … 3].
void DistancesRow(int64_t elements, const float* from, const float* to, double* distances);

// Σ a·b, in double.
double DotRow(int64_t elements, const float* a, const float* b);

// The largest |value|, √Σ value² and Σ |value|, in double, to sizes[0 … 2].
void SizesRow(int64_t elements, const float* values, double* sizes);

// between = (x + eta·from_x)·(1 − share) + (c + eta·from_c)·share, clamped to [0, 1].
void BetweenRow(int64_t elements, const float* x, const float* from_x, const float* c, const float* from_c, float eta,
                float share, float* between);

// Σ |values|: 0 where all are, NaN or infinite where one is.
float SumOfSizes(int64_t elements, const float* values);

}  // namespace tightrope
