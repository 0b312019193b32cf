// Rotations and translations of images, apart from the attack so that they can be tested.
#pragma once

#include <array>
#include <vector>

#include "core/robustness/torch.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// Each image turned about its centre by `moves[0]` degrees, clockwise as it is seen, then moved by `moves[1]` pixels to
// the right and `moves[2]` down; bilinear, with zeros from outside. Pixels are squares, also where the image is not,
// and its edges are those of the outermost ones (LibTorch's align_corners = false). Where all three are 0, the image
// itself. `moves`: N×3 float64.
torch::Tensor Transformed(const torch::Tensor& images, const torch::Tensor& moves);

// The points of the attack's grid as shares of its largest rotation and translations, in [-1, 1], the mildest first: by
// the largest of the three sizes, which is the spatial distance. That of no change is left out. A share of a largest
// value of 0 is 0.
std::vector<std::array<double, 3>> SpatialGrid(const v1::SpatialAttack& options);

}  // namespace tightrope
