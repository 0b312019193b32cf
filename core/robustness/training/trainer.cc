#include "core/robustness/training/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/fault_point.h"
#include "core/random/random_stream.h"
#include "core/robustness/attack/active_batch.h"
#include "core/robustness/attack/ball.h"
#include "core/robustness/attack/dataset_batch.h"
#include "core/robustness/attack/loss.h"
#include "core/robustness/model/layer_graph.h"
#include "core/robustness/model/network.h"
#include "core/robustness/model/weights.h"
#include "core/robustness/training/checkpoint.h"
#include "core/robustness/training/crafting.h"
#include "core/robustness/training/weight_update.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr uint64_t kStepsPerProgress = 20;

absl::Status CheckTraining(const v1::Training& training, const Dataset& data) {
  ABSL_RETURN_IF_ERROR(CheckArrays(data));
  if (training.method_case() == v1::Training::METHOD_NOT_SET) {
    return absl::InvalidArgumentError("this worker does not know the training's method; update it");
  }
  if (training.has_pgd() && training.pgd().norm() != v1::NORM_LINF && training.pgd().norm() != v1::NORM_L2) {
    return absl::InvalidArgumentError(absl::StrCat("pgd training needs norm linf or l2, not ", training.pgd().norm()));
  }
  if (training.has_pgd() && training.pgd().steps() == 0) {
    return absl::InvalidArgumentError("pgd training needs at least one step");
  }
  if (training.epochs() == 0 || training.batch_size() == 0 || data.count == 0 || training.examples() > data.count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "training needs at least one epoch, one example a batch, and no more examples than the data set has: ",
        training.epochs(), " epochs, batches of ", training.batch_size(), ", ", training.examples(), " examples of ",
        data.count));
  }
  return absl::OkStatus();
}

// One training from its start or checkpoint to its end. Used once.
class TrainingRun {
 public:
  TrainingRun(const v1::TrainJob& job, const std::string& job_digest, const Dataset& data, torch::Device device,
              torch::nn::Sequential network, LayerGraph graph, const TrainCallbacks& callbacks)
      : training_(job.training()),
        job_digest_(job_digest),
        data_(data),
        device_(device),
        callbacks_(callbacks),
        examples_(training_.examples() > 0 ? training_.examples() : data.count),
        steps_per_epoch_((examples_ + training_.batch_size() - 1) / training_.batch_size()),
        total_steps_(steps_per_epoch_ * training_.epochs()),
        shuffle_(job.seed(), job_digest, "shuffle"),
        starts_(job.seed(), job_digest, "training attack"),
        network_(std::move(network)),
        graph_(std::move(graph)),
        update_(training_, network_->named_parameters()) {}

  absl::Status Restore(const SafeTensors& checkpoint) {
    ABSL_ASSIGN_OR_RETURN(epochs_, RestoreCheckpoint(checkpoint, job_digest_, steps_per_epoch_, *network_, update_));
    if (epochs_.size() > training_.epochs()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "checkpoint of more epochs than the training has: ", epochs_.size(), " of ", training_.epochs()));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<TrainedModel> Run() {
    network_->train();
    while (epochs_.size() < training_.epochs()) {
      ABSL_ASSIGN_OR_RETURN(v1::EpochMetrics metrics, RunEpoch(static_cast<uint32_t>(epochs_.size())));
      epochs_.push_back(std::move(metrics));
      if (callbacks_.epoch_done) {
        ABSL_RETURN_IF_ERROR(
            callbacks_.epoch_done(epochs_.back(), MakeCheckpoint(job_digest_, *network_, update_, epochs_)));
      }
    }
    return TrainedModel{.weights = SaveWeights(*network_), .epochs = std::move(epochs_)};
  }

 private:
  absl::StatusOr<v1::EpochMetrics> RunEpoch(uint32_t epoch) {
    const std::vector<uint32_t> order = shuffle_.Permutation({.step = epoch}, static_cast<uint32_t>(examples_));
    v1::EpochMetrics metrics;
    metrics.set_epoch(epoch);
    double loss_sum = 0;
    uint64_t correct = 0;
    for (uint64_t i = 0; i < steps_per_epoch_; ++i) {
      if (i == steps_per_epoch_ / 2) FaultPoint("worker.training.in-epoch");
      const uint64_t step = epoch * steps_per_epoch_ + i;
      const absl::Span<const uint32_t> indices =
          absl::MakeConstSpan(order).subspan(i * training_.batch_size(), training_.batch_size());
      DatasetBatch batch = MakeBatch(data_, indices, device_);
      if (training_.has_pgd()) {
        const double share = WarmUp(training_.pgd(), step, steps_per_epoch_);
        batch.inputs = Craft(batch, indices, epoch, share);
        metrics.set_epsilon(share * training_.pgd().epsilon());
      }
      metrics.set_learning_rate(LearningRate(training_, step, steps_per_epoch_, total_steps_));
      const torch::Tensor logits = network_->forward(batch.inputs);
      const torch::Tensor loss = CrossEntropyLoss(logits, batch.labels).mean();
      const double loss_value = loss.item<double>();
      if (!std::isfinite(loss_value)) {
        return absl::FailedPreconditionError(
            absl::StrCat("the training loss became NaN or infinite; try a lower learning_rate than ",
                         training_.learning_rate(), ". In epoch ", epoch, ", step ", i, " (both from 0)"));
      }
      loss.backward();
      update_.Step(metrics.learning_rate());
      loss_sum += loss_value * static_cast<double>(indices.size());
      const std::vector<int32_t> predictions = Predictions(logits);
      for (size_t row = 0; row < indices.size(); ++row) correct += predictions[row] == data_.labels[indices[row]];
      if ((step + 1) % kStepsPerProgress == 0 || i + 1 == steps_per_epoch_) {
        const TrainProgress progress{
            .fraction = static_cast<double>(step + 1) / static_cast<double>(total_steps_),
            .examples_done = epoch * examples_ + std::min((i + 1) * training_.batch_size(), examples_)};
        if (callbacks_.progress && !callbacks_.progress(progress)) return absl::CancelledError("stopped by its caller");
      }
    }
    // The loss of the next step would tell, but the last step has none.
    for (const torch::Tensor& parameter : network_->parameters()) {
      if (parameter.isfinite().all().item<bool>()) continue;
      return absl::FailedPreconditionError(
          absl::StrCat("the weights became NaN or infinite; try a lower learning_rate than ", training_.learning_rate(),
                       ". In epoch ", epoch, " (from 0)"));
    }
    metrics.set_loss(loss_sum / static_cast<double>(examples_));
    metrics.set_accuracy(static_cast<double>(correct) / static_cast<double>(examples_));
    return metrics;
  }

  // The batch's adversarial examples, at `share` of the full ε and step size.
  torch::Tensor Craft(const DatasetBatch& batch, absl::Span<const uint32_t> indices, uint32_t epoch, double share) {
    const v1::PgdTraining& pgd = training_.pgd();
    const double epsilon = share * pgd.epsilon();
    const double step_size = pgd.step_size() > 0 ? share * pgd.step_size() : 2.5 * epsilon / pgd.steps();
    const Ball ball(pgd.norm(), batch.inputs, torch::full({batch.inputs.size(0)}, epsilon, torch::kFloat64));
    torch::Tensor points = pgd.random_start()
                               ? ball.RandomPoints(starts_, indices, std::vector<uint32_t>(indices.size(), epoch))
                               : batch.inputs.clone();
    return CraftPgdExamples(graph_, ball, std::move(points), batch.labels, pgd.steps(), step_size);
  }

  const v1::Training& training_;
  const std::string& job_digest_;
  const Dataset& data_;
  const torch::Device device_;
  const TrainCallbacks& callbacks_;
  const uint64_t examples_;
  const uint64_t steps_per_epoch_;  // the last batch of an epoch may be smaller
  const uint64_t total_steps_;
  const RandomStream shuffle_;  // at step = epoch
  const RandomStream starts_;   // at restart = epoch
  torch::nn::Sequential network_;
  const LayerGraph graph_;  // of the same weights
  WeightUpdate update_;
  std::vector<v1::EpochMetrics> epochs_;
};

}  // namespace

absl::StatusOr<TrainedModel> Train(const v1::TrainJob& job, const std::string& job_digest, const Dataset& data,
                                   const SafeTensors* checkpoint, torch::Device device,
                                   const TrainCallbacks& callbacks) {
  ABSL_RETURN_IF_ERROR(CheckTraining(job.training(), data));
  ABSL_ASSIGN_OR_RETURN(torch::nn::Sequential network, MakeNetwork(job.architecture(), job.data()));
  return WithoutExceptions("the training cannot be run on this data", [&]() -> absl::StatusOr<TrainedModel> {
    UseReproducibleArithmetic();
    InitialiseWeights(*network, RandomStream(job.seed(), job_digest, "weights"));
    network->to(device);
    LayerGraph graph = LayerGraph::Of(network);
    if (callbacks.choose_kernels && job.training().has_pgd()) {
      const v1::DatasetRef& image = job.data();
      ABSL_ASSIGN_OR_RETURN(graph, callbacks.choose_kernels(graph, {image.channels(), image.height(), image.width()}));
    }
    TrainingRun run(job, job_digest, data, device, network, std::move(graph), callbacks);
    if (checkpoint != nullptr) {
      ABSL_RETURN_IF_ERROR(run.Restore(*checkpoint)) << "the checkpoint does not fit";
    }
    return run.Run();
  });
}

}  // namespace tightrope
