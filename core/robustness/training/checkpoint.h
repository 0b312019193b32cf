// What a training is resumed from: a safetensors file with the weights ("network.…"), the optimizer's state
// ("optimizer.…") and the metrics of the epochs done ("epochs", float64).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/artifact/safetensors.h"
#include "core/robustness/torch.h"
#include "core/robustness/training/weight_update.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// Keeps every bit.
SafeTensors MakeCheckpoint(const std::string& job_digest, const torch::nn::Module& network, const WeightUpdate& update,
                           const std::vector<v1::EpochMetrics>& epochs);

// Restores `network` and `update`, and returns the epochs done. INVALID_ARGUMENT: made by another job, damaged, or of
// another network; network and update are then not to be used.
absl::StatusOr<std::vector<v1::EpochMetrics>> RestoreCheckpoint(const SafeTensors& checkpoint,
                                                                const std::string& job_digest, uint64_t steps_per_epoch,
                                                                torch::nn::Module& network, WeightUpdate& update);

}  // namespace tightrope
