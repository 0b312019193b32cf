#include "core/robustness/training/weight_update.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/robustness/model/weights.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.999;
constexpr double kAdamEpsilon = 1e-8;

}  // namespace

WeightUpdate::WeightUpdate(const v1::Training& training, torch::OrderedDict<std::string, torch::Tensor> parameters)
    : optimizer_(training.optimizer()),
      momentum_(training.momentum()),
      weight_decay_(training.weight_decay()),
      parameters_(std::move(parameters)) {
  if (optimizer_ == v1::OPTIMIZER_ADAM) {
    moments_ = {{"mean", {}}, {"square", {}}};
  } else if (momentum_ > 0) {
    moments_ = {{"velocity", {}}};
  }
  for (Moment& moment : moments_) {
    for (const auto& parameter : parameters_) moment.values.push_back(torch::zeros_like(parameter.value()).detach());
  }
}

void WeightUpdate::Step(double learning_rate) {
  torch::NoGradGuard no_grad;
  ++steps_;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    torch::Tensor& parameter = parameters_[i].value();
    torch::Tensor gradient = parameter.grad();
    if (!gradient.defined()) continue;
    if (weight_decay_ > 0) gradient = gradient.add(parameter, weight_decay_);
    if (optimizer_ == v1::OPTIMIZER_ADAM) {
      StepAdam(i, parameter, gradient, learning_rate);
    } else {
      StepSgd(i, parameter, gradient, learning_rate);
    }
    parameter.mutable_grad() = torch::Tensor();
  }
}

void WeightUpdate::StepAdam(size_t index, torch::Tensor& parameter, const torch::Tensor& gradient,
                            double learning_rate) {
  torch::Tensor& mean = moments_[0].values[index];
  torch::Tensor& square = moments_[1].values[index];
  mean.mul_(kBeta1).add_(gradient, 1 - kBeta1);
  square.mul_(kBeta2).addcmul_(gradient, gradient, 1 - kBeta2);
  const double mean_correction = 1 - std::pow(kBeta1, static_cast<double>(steps_));
  const double square_correction = 1 - std::pow(kBeta2, static_cast<double>(steps_));
  const torch::Tensor denominator = square.sqrt().div_(std::sqrt(square_correction)).add_(kAdamEpsilon);
  parameter.addcdiv_(mean, denominator, -learning_rate / mean_correction);
}

void WeightUpdate::StepSgd(size_t index, torch::Tensor& parameter, const torch::Tensor& gradient,
                           double learning_rate) {
  if (moments_.empty()) {
    parameter.add_(gradient, -learning_rate);
    return;
  }
  torch::Tensor& velocity = moments_[0].values[index];
  velocity.mul_(momentum_).add_(gradient);  // from zero, so that the first step is the gradient itself
  parameter.add_(velocity, -learning_rate);
}

void WeightUpdate::Save(SafeTensors& checkpoint) const {
  for (const Moment& moment : moments_) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      checkpoint.tensors[absl::StrCat("optimizer.", moment.name, ".", parameters_[i].key())] =
          ToSafeTensor(moment.values[i]);
    }
  }
}

absl::Status WeightUpdate::Load(const SafeTensors& checkpoint, uint64_t steps) {
  for (Moment& moment : moments_) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const std::string name = absl::StrCat("optimizer.", moment.name, ".", parameters_[i].key());
      const auto stored = checkpoint.tensors.find(name);
      if (stored == checkpoint.tensors.end()) {
        return absl::InvalidArgumentError(absl::StrCat("tensor that is missing from the checkpoint: ", name));
      }
      ABSL_ASSIGN_OR_RETURN(const torch::Tensor values,
                            FromSafeTensor(name, stored->second, torch::kFloat32, moment.values[i].sizes()));
      moment.values[i].copy_(values);
    }
  }
  steps_ = steps;
  return absl::OkStatus();
}

double LearningRate(const v1::Training& training, uint64_t step, uint64_t steps_per_epoch, uint64_t total_steps) {
  if (training.schedule() == v1::SCHEDULE_COSINE) {
    const double done = static_cast<double>(step) / static_cast<double>(total_steps);
    return training.learning_rate() * 0.5 * (1 + std::cos(M_PI * done));
  }
  double rate = training.learning_rate();
  if (training.schedule() == v1::SCHEDULE_STEP) {
    for (const uint32_t milestone : training.milestones()) {
      if (step / steps_per_epoch >= milestone) rate *= training.decay();
    }
  }
  return rate;
}

double WarmUp(const v1::PgdTraining& training, uint64_t step, uint64_t steps_per_epoch) {
  const double warm_up_steps = static_cast<double>(training.warmup_epochs()) * static_cast<double>(steps_per_epoch);
  return warm_up_steps > 0 ? std::min(1.0, static_cast<double>(step) / warm_up_steps) : 1.0;
}

}  // namespace tightrope
