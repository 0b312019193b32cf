// The loops of projection.h for the CPU, which says what they compute. Arrays are rows×elements; without LibTorch,
// compiled for several instruction sets, the same bits in all of them.
#pragma once

#include <cstdint>

#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// The l1 ball's multiplier is found when the distance is the radius to this, relative. Newton's method takes 5 to 10
// passes; the limit stands for radii so small that double cannot tell them from 0.
constexpr double kRadiusTolerance = 1e-12;
constexpr int kMostPasses = 100;

// ProjectToL1Ball.
void ProjectRowsToL1Ball(int64_t rows, int64_t elements, const float* points, const float* centers, const double* radii,
                         float* projected);

// StepToHyperplane.
void StepRowsToHyperplane(v1::Norm norm, int64_t rows, int64_t elements, const float* points, const float* weights,
                          const double* offsets, float* steps);

}  // namespace tightrope
