// Adversarial examples for training.
#pragma once

#include <utility>
#include <vector>

#include "core/robustness/attack/ball.h"
#include "core/robustness/torch.h"

namespace tightrope {

// While it lives, the network is in evaluation mode and its parameters need no gradient. Afterwards every module and
// every parameter is as it was, one by one: a batch norm that was deliberately frozen stays frozen.
class CraftingMode {
 public:
  explicit CraftingMode(torch::nn::Module& network);
  ~CraftingMode();
  CraftingMode(const CraftingMode&) = delete;
  CraftingMode& operator=(const CraftingMode&) = delete;

 private:
  std::vector<std::pair<std::shared_ptr<torch::nn::Module>, bool>> modules_;  // parents before children
  std::vector<std::pair<torch::Tensor, bool>> parameters_;
};

// `steps` steps of projected gradient ascent on the cross-entropy from `points` (Madry et al. 2018, the inner problem),
// in CraftingMode; the last iterate. `points`: N×C×H×W float32 in the ball, on its device, changed in place; `labels`:
// N int64 there; `step_size` in units of the input, as Ball::Ascend takes it. Parameters' .grad() is not touched.
torch::Tensor CraftPgdExamples(torch::nn::Sequential& network, const Ball& ball, torch::Tensor points,
                               const torch::Tensor& labels, uint32_t steps, double step_size);

}  // namespace tightrope
