// Experiments that need no data and no model: what tests and benchmarks of the coordinator submit, and the results that
// a worker would report for them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/artifact/digest.h"
#include "tightrope/v1/coordinator.pb.h"
#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

// The bytes of the artifacts that these experiments name.
inline std::vector<std::string> SmallArtifacts() {
  return {"train images", "train labels", "test images", "test labels", "a model"};
}

inline v1::DatasetRef SmallDataset(v1::Split split, uint64_t count) {
  const bool train = split == v1::SPLIT_TRAIN;
  v1::DatasetRef data;
  data.set_name("fashion-mnist");
  data.set_split(split);
  data.set_images_sha256(Sha256(train ? "train images" : "test images"));
  data.set_labels_sha256(Sha256(train ? "train labels" : "test labels"));
  data.set_count(count);
  data.set_channels(1);
  data.set_height(28);
  data.set_width(28);
  data.set_classes(10);
  return data;
}

// Clean evaluation of a TorchScript model: one job of `examples / shard_size` shards.
inline v1::SubmitRequest EvaluationExperiment(const std::string& name, uint32_t examples, uint32_t shard_size) {
  v1::SubmitRequest request;
  v1::Experiment& experiment = *request.mutable_experiment();
  experiment.set_name(name);
  experiment.set_dataset("fashion-mnist");
  experiment.mutable_examples()->set_start(0);
  experiment.mutable_examples()->set_count(examples);
  experiment.add_seeds(1);
  experiment.set_shard_size(shard_size);
  v1::Model& model = *experiment.add_models();
  model.set_name("model");
  model.mutable_architecture()->set_torchscript("model.pt");
  *request.mutable_inputs()->mutable_test() = SmallDataset(v1::SPLIT_TEST, examples);
  (*request.mutable_inputs()->mutable_file_sha256())["model.pt"] = Sha256("a model");
  return request;
}

// Trains an MLP for `epochs`, then evaluates and attacks it: three jobs, of 1, 2 and 2 shards.
inline v1::SubmitRequest TrainingExperiment(const std::string& name, uint32_t epochs) {
  v1::SubmitRequest request = EvaluationExperiment(name, 20, 10);
  v1::Experiment& experiment = *request.mutable_experiment();
  experiment.clear_models();
  request.mutable_inputs()->clear_file_sha256();
  v1::Model& model = *experiment.add_models();
  model.set_name("mlp");
  model.mutable_architecture()->mutable_mlp()->add_hidden(8);
  v1::Training& training = *experiment.add_training();
  training.set_name("standard");
  training.mutable_standard();
  training.set_epochs(epochs);
  training.set_batch_size(10);
  training.set_optimizer(v1::OPTIMIZER_ADAM);
  training.set_learning_rate(0.001);
  training.set_schedule(v1::SCHEDULE_CONSTANT);
  training.set_decay(0.1);
  training.set_examples(100);
  v1::Attack& attack = *experiment.add_attacks();
  attack.set_name("fgsm");
  attack.mutable_fgsm();
  attack.set_norm(v1::NORM_LINF);
  attack.set_epsilon(0.1);
  attack.set_protocol(v1::RADIUS_PROTOCOL_SHARED);
  *request.mutable_inputs()->mutable_train() = SmallDataset(v1::SPLIT_TRAIN, 100);
  return request;
}

inline v1::EpochMetrics SmallEpoch(uint32_t epoch) {
  v1::EpochMetrics metrics;
  metrics.set_epoch(epoch);
  metrics.set_loss(1.0 / (1 + epoch));
  metrics.set_accuracy(0.5);
  metrics.set_learning_rate(0.001);
  return metrics;
}

// A valid result for a lease; `weights` is the artifact of a training.
inline v1::ShardResult ResultFor(const v1::Lease& lease, const v1::Artifact& weights = {}) {
  v1::ShardResult result;
  if (lease.spec().has_train()) {
    for (uint32_t i = 0; i < lease.spec().train().training().epochs(); ++i) *result.add_epochs() = SmallEpoch(i);
    *result.add_artifacts() = weights;
    return result;
  }
  for (uint64_t i = lease.range().begin(); i < lease.range().end(); ++i) {
    v1::ExampleRecord& record = *result.add_records();
    record.set_index(i);
    record.set_label(static_cast<int32_t>(i % 10));
    record.set_clean_prediction(i % 5 == 0 ? 9 : record.label());
    record.set_adversarial_prediction(-1);
    record.set_witness_row(-1);
    record.set_forward_passes(1);
    if (!lease.spec().has_attack()) continue;
    // Every second one is misclassified as it is; no attack finds anything.
    const bool broken = i % 2 == 1;
    record.set_clean_prediction(broken ? (record.label() + 1) % 10 : record.label());
    record.set_verdict(broken ? v1::VERDICT_BROKEN : v1::VERDICT_UNDECIDED);
    if (!broken) continue;
    record.set_adversarial_prediction(record.clean_prediction());
    record.set_broken_at(0);
    record.mutable_nearest();
  }
  return result;
}

inline v1::FinishedAttempt Finished(const v1::Lease& lease, v1::ShardResult result) {
  v1::FinishedAttempt finished;
  *finished.mutable_id() = lease.id();
  *finished.mutable_result() = std::move(result);
  finished.set_seconds(0.01);
  return finished;
}

}  // namespace tightrope
