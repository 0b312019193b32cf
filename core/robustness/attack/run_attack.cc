#include "core/robustness/attack/run_attack.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/robustness/attack/active_batch.h"
#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/ball.h"
#include "core/robustness/attack/dataset_batch.h"
#include "core/robustness/random_stream.h"
#include "core/robustness/torch.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// Input elements in one batch: enough rows to feed the device's cores, few enough that the activations stay in its
// cache. A constant, because the rows of a batch decide the last bits of its logits.
size_t RowsPerBatch(const Dataset& data, torch::Device device) {
  const size_t elements = size_t{data.channels} * data.height * data.width;
  const size_t batch_elements = device.is_cuda() ? size_t{1} << 21 : size_t{1} << 17;
  return std::clamp<size_t>(batch_elements / elements, 16, 4096);
}

absl::Status CheckRange(const v1::Shard& range, const Dataset& data) {
  ABSL_RETURN_IF_ERROR(CheckArrays(data));
  if (range.begin() > range.end() || range.end() > data.count) {
    return absl::InvalidArgumentError(absl::StrCat("the range of examples is not inside the data set of ", data.count,
                                                   ": [", range.begin(), ", ", range.end(), ")"));
  }
  return absl::OkStatus();
}

std::vector<uint32_t> Indices(const v1::Shard& range) {
  std::vector<uint32_t> indices(range.end() - range.begin());
  for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<uint32_t>(range.begin() + i);
  return indices;
}

// Predictions on the examples as they are, all finite. `report(n)` is called after every batch with the examples done.
absl::StatusOr<std::vector<int32_t>> CleanPredictions(const v1::Shard& range, const Dataset& data,
                                                      Classifier& classifier,
                                                      const std::function<absl::Status(size_t)>& report) {
  torch::NoGradGuard no_grad;
  const std::vector<uint32_t> indices = Indices(range);
  const size_t rows = RowsPerBatch(data, classifier.device());
  std::vector<int32_t> predictions;
  predictions.reserve(indices.size());
  for (size_t begin = 0; begin < indices.size(); begin += rows) {
    const absl::Span<const uint32_t> batch = absl::MakeConstSpan(indices).subspan(begin, rows);
    const std::vector<int32_t> predicted =
        Predictions(classifier.Logits(MakeBatch(data, batch, classifier.device()).inputs));
    if (predicted.size() != batch.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the model gave ", predicted.size(), " rows of logits for ", batch.size(), " examples"));
    }
    for (size_t i = 0; i < batch.size(); ++i) {
      if (predicted[i] < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("the model's logits are NaN or infinite on a clean example, so nothing can be said about it; "
                         "first such example: ",
                         batch[i]));
      }
    }
    predictions.insert(predictions.end(), predicted.begin(), predicted.end());
    ABSL_RETURN_IF_ERROR(report(predictions.size()));
  }
  return predictions;
}

absl::Status Cancelled() { return absl::CancelledError("stopped by its caller"); }

// Asks the model once more about the witnesses of these examples as they are stored, in a batch of their own. A witness
// that does not hold there, because the logits' last bits depend on the batch, is dropped: its example is searched on.
absl::Status ConfirmWitnesses(const Dataset& data, Classifier& classifier, const std::vector<Standing*>& standings) {
  torch::NoGradGuard no_grad;
  const size_t rows = RowsPerBatch(data, classifier.device());
  for (size_t begin = 0; begin < standings.size(); begin += rows) {
    const absl::Span<Standing* const> batch = absl::MakeConstSpan(standings).subspan(begin, rows);
    torch::Tensor points =
        torch::empty({static_cast<int64_t>(batch.size()), data.channels, data.height, data.width}, torch::kFloat32);
    float* point = points.data_ptr<float>();
    for (const Standing* standing : batch) {
      point = std::copy(standing->witness.begin(), standing->witness.end(), point);
    }
    const std::vector<int32_t> predictions = Predictions(classifier.Logits(points.to(classifier.device())));
    for (size_t k = 0; k < batch.size(); ++k) {
      Standing& standing = *batch[k];
      ++standing.forward_passes;
      if (predictions[k] < 0) return NotFinite(standing.example);
      if (predictions[k] == data.labels[standing.example]) {
        standing.witness.clear();
      } else {
        standing.adversarial_prediction = predictions[k];
      }
    }
  }
  return absl::OkStatus();
}

// Runs every restart of `method` over what is not broken yet, in batches.
absl::Status Search(const v1::AttackJob& job, const std::string& job_digest, const AttackMethod& method,
                    const Dataset& data, Classifier& classifier, std::vector<Standing*> active, size_t examples,
                    const EvaluationCallback& progress) {
  const RandomStream stream(job.seed(), job_digest, "attack");
  const size_t rows = RowsPerBatch(data, classifier.device());
  const size_t decided_at_start = examples - active.size();
  for (uint32_t restart = 0; restart < method.restarts() && !active.empty(); ++restart) {
    for (size_t begin = 0; begin < active.size(); begin += rows) {
      const size_t n = std::min(rows, active.size() - begin);
      uint64_t looks = 0;
      const ActiveBatch::Run run{
          .classifier = classifier, .stream = stream, .looked = [&] {
            const double in_batch = std::min(1.0, static_cast<double>(++looks) / static_cast<double>(method.looks()));
            const double in_restart =
                (static_cast<double>(begin) + static_cast<double>(n) * in_batch) / static_cast<double>(active.size());
            const bool last = restart + 1 == method.restarts();
            return progress({.fraction = (restart + in_restart) / method.restarts(),
                             .examples_done = decided_at_start + (last ? begin : 0)})
                       ? absl::OkStatus()
                       : Cancelled();
          }};
      std::vector<Standing*> standings(active.begin() + begin, active.begin() + begin + n);
      std::vector<uint32_t> indices;
      for (const Standing* standing : standings) indices.push_back(standing->example);
      DatasetBatch batch = MakeBatch(data, indices, classifier.device());
      const torch::Tensor epsilon = torch::full({static_cast<int64_t>(n)}, job.attack().epsilon(), torch::kFloat64);
      ActiveBatch active_batch(run, Ball(job.attack().norm(), std::move(batch.inputs), epsilon),
                               std::move(batch.labels), std::move(standings), restart);
      ABSL_RETURN_IF_ERROR(method.Run(active_batch));
    }
    const auto is_broken = [](const Standing* standing) { return !standing->witness.empty(); };
    std::vector<Standing*> found;
    std::copy_if(active.begin(), active.end(), std::back_inserter(found), is_broken);
    ABSL_RETURN_IF_ERROR(ConfirmWitnesses(data, classifier, found));
    active.erase(std::remove_if(active.begin(), active.end(), is_broken), active.end());
  }
  return absl::OkStatus();
}

// Writes down what the search found.
void TakeVerdicts(const v1::AttackJob& job, const Dataset& data, const std::vector<Standing>& standings,
                  AttackOutcome& outcome) {
  for (size_t i = 0; i < standings.size(); ++i) {
    const Standing& standing = standings[i];
    v1::ExampleRecord& record = outcome.records[i];
    record.set_forward_passes(standing.forward_passes);
    record.set_backward_passes(standing.backward_passes);
    if (standing.witness.empty()) continue;
    const torch::Tensor clean = MakeBatch(data, {standing.example}, torch::kCPU).inputs;
    record.set_verdict(v1::VERDICT_BROKEN);
    record.set_adversarial_prediction(standing.adversarial_prediction);
    record.set_distance(Distance(job.attack().norm(),
                                 absl::MakeConstSpan(clean.data_ptr<float>(), static_cast<size_t>(clean.numel())),
                                 standing.witness));
    record.set_witness_row(static_cast<int32_t>(outcome.witnesses.rows++));
    outcome.witnesses.values.insert(outcome.witnesses.values.end(), standing.witness.begin(), standing.witness.end());
  }
}

absl::StatusOr<AttackOutcome> Run(const v1::AttackJob& job, const std::string& job_digest, const v1::Shard& range,
                                  const Dataset& data, Classifier& classifier, const EvaluationCallback& progress) {
  ABSL_RETURN_IF_ERROR(CheckRange(range, data));
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<AttackMethod> method, MakeAttackMethod(job.attack()));
  ABSL_ASSIGN_OR_RETURN(const std::vector<int32_t> clean, CleanPredictions(range, data, classifier, [&](size_t) {
                          return progress({}) ? absl::OkStatus() : Cancelled();
                        }));
  AttackOutcome outcome;
  std::vector<Standing> standings(clean.size());
  std::vector<Standing*> active;
  for (size_t i = 0; i < clean.size(); ++i) {
    standings[i].example = static_cast<uint32_t>(range.begin() + i);
    standings[i].forward_passes = 1;
    v1::ExampleRecord& record = outcome.records.emplace_back();
    record.set_index(standings[i].example);
    record.set_label(data.labels[standings[i].example]);
    record.set_clean_prediction(clean[i]);
    record.set_witness_row(-1);
    if (clean[i] == record.label()) {
      record.set_verdict(v1::VERDICT_UNDECIDED);
      record.set_adversarial_prediction(-1);
      active.push_back(&standings[i]);
    } else {  // broken as it is
      record.set_verdict(v1::VERDICT_BROKEN);
      record.set_adversarial_prediction(clean[i]);
    }
  }
  ABSL_RETURN_IF_ERROR(Search(job, job_digest, *method, data, classifier, std::move(active), clean.size(), progress));
  TakeVerdicts(job, data, standings, outcome);
  progress({.fraction = 1, .examples_done = clean.size()});
  return outcome;
}

}  // namespace

absl::StatusOr<AttackOutcome> RunAttack(const v1::AttackJob& job, const std::string& job_digest, const v1::Shard& range,
                                        const Dataset& data, Classifier& classifier,
                                        const EvaluationCallback& progress) {
  return WithoutExceptions("the attack cannot be run on this model and data",
                           [&] { return Run(job, job_digest, range, data, classifier, progress); });
}

absl::StatusOr<std::vector<v1::ExampleRecord>> RunEvaluation(const v1::Shard& range, const Dataset& data,
                                                             Classifier& classifier,
                                                             const EvaluationCallback& progress) {
  return WithoutExceptions(
      "the model cannot be evaluated on this data", [&]() -> absl::StatusOr<std::vector<v1::ExampleRecord>> {
        ABSL_RETURN_IF_ERROR(CheckRange(range, data));
        const size_t examples = range.end() - range.begin();
        ABSL_ASSIGN_OR_RETURN(
            const std::vector<int32_t> predictions, CleanPredictions(range, data, classifier, [&](size_t done) {
              return progress(
                         {.fraction = static_cast<double>(done) / static_cast<double>(examples), .examples_done = done})
                         ? absl::OkStatus()
                         : Cancelled();
            }));
        std::vector<v1::ExampleRecord> records(examples);
        for (size_t i = 0; i < examples; ++i) {
          records[i].set_index(range.begin() + i);
          records[i].set_label(data.labels[range.begin() + i]);
          records[i].set_clean_prediction(predictions[i]);
          records[i].set_adversarial_prediction(-1);
          records[i].set_witness_row(-1);
          records[i].set_forward_passes(1);
        }
        return records;
      });
}

}  // namespace tightrope
