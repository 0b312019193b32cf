// How weights follow their gradients, and at which rate. Own code rather than LibTorch's optimizers: the state is plain
// tensors that a checkpoint holds exactly, and the arithmetic is the same under every LibTorch version.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/artifact/safetensors.h"
#include "core/robustness/torch.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// Adam (Kingma & Ba 2015; β 0.9 and 0.999, ε 1e-8) or SGD with momentum, both with weight decay added to the gradient,
// as torch.optim has them. Not thread-safe.
class WeightUpdate {
 public:
  // `parameters`: by the names of their state dict; shared with the network.
  WeightUpdate(const v1::Training& training, torch::OrderedDict<std::string, torch::Tensor> parameters);

  // Moves every parameter against its gradient and forgets the gradient. Parameters without one stay as they are.
  void Step(double learning_rate);

  // The state after `steps` steps, under "optimizer.<moment>.<parameter>"; the caller keeps `steps`.
  void Save(SafeTensors& checkpoint) const;
  // INVALID_ARGUMENT where a tensor is missing or does not fit.
  absl::Status Load(const SafeTensors& checkpoint, uint64_t steps);

 private:
  struct Moment {
    std::string name;
    std::vector<torch::Tensor> values;  // one a parameter
  };
  void StepAdam(size_t index, torch::Tensor& parameter, const torch::Tensor& gradient, double learning_rate);
  void StepSgd(size_t index, torch::Tensor& parameter, const torch::Tensor& gradient, double learning_rate);

  v1::Optimizer optimizer_;
  double momentum_;
  double weight_decay_;
  torch::OrderedDict<std::string, torch::Tensor> parameters_;
  std::vector<Moment> moments_;  // adam: mean, square; sgd with momentum: velocity
  uint64_t steps_ = 0;
};

// The learning rate of zero-based step `step` of `total_steps`, `steps_per_epoch` to an epoch.
double LearningRate(const v1::Training& training, uint64_t step, uint64_t steps_per_epoch, uint64_t total_steps);

// The share of ε that zero-based step `step` trains with: 0 at the first step, 1 after the warm-up.
double WarmUp(const v1::PgdTraining& training, uint64_t step, uint64_t steps_per_epoch);

}  // namespace tightrope
