// Trains one model: the whole of a train job.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/artifact/safetensors.h"
#include "core/dataset/dataset.h"
#include "core/robustness/model/kernel_choice.h"
#include "core/robustness/torch.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

struct TrainProgress {
  double fraction = 0;  // of all steps
  uint64_t examples_done = 0;
};

struct TrainCallbacks {
  // After every few steps; false stops the training with CANCELLED.
  std::function<bool(const TrainProgress&)> progress;
  // After every epoch, with a checkpoint from which the training goes on bit-identically: weights, optimizer state, the
  // metrics of all epochs so far. An error stops the training with that error.
  std::function<absl::Status(const v1::EpochMetrics&, const SafeTensors& checkpoint)> epoch_done;
  // Adversarial training: says which kernels craft the examples. An error stops the training with that error.
  KernelChooser choose_kernels = {};
};

struct TrainedModel {
  SafeTensors weights;
  std::vector<v1::EpochMetrics> epochs;  // all of them, resumed ones included
};

// Deterministic on one kind of device: equal arguments give equal bytes, resumed from `checkpoint` (null: from the
// start) or not. Draws are keyed by (job.seed, job_digest). Errors: INVALID_ARGUMENT (a training or data that cannot be
// used, a checkpoint that does not fit), CANCELLED, FAILED_PRECONDITION (the loss or the weights became NaN or
// infinite: says in which epoch and suggests a lower learning rate), RESOURCE_EXHAUSTED and INTERNAL of
// StatusFromException, and what epoch_done and choose_kernels return.
absl::StatusOr<TrainedModel> Train(const v1::TrainJob& job, const std::string& job_digest, const Dataset& data,
                                   const SafeTensors* checkpoint, torch::Device device,
                                   const TrainCallbacks& callbacks);

}  // namespace tightrope
