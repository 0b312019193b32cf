#include "core/robustness/attack/active_batch.h"

#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/fault_point.h"
#include "core/status_macros.h"

namespace tightrope {

std::vector<int32_t> Predictions(const torch::Tensor& logits) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(1) > 0 && logits.scalar_type() == torch::kFloat32,
              "logits must be N×classes float32, not ", logits.toString(), " ", logits.sizes());
  const torch::Tensor on_cpu = logits.detach().cpu().contiguous();
  const int64_t classes = on_cpu.size(1);
  const float* row = on_cpu.data_ptr<float>();
  std::vector<int32_t> predictions(on_cpu.size(0));
  for (int32_t& prediction : predictions) {
    int64_t best = 0;
    bool finite = true;
    for (int64_t k = 0; k < classes; ++k) {
      finite = finite && std::isfinite(row[k]);
      if (row[k] > row[best]) best = k;
    }
    prediction = finite ? static_cast<int32_t>(best) : -1;
    row += classes;
  }
  return predictions;
}

absl::Status NotFinite(uint32_t example) {
  return absl::InvalidArgumentError(
      absl::StrCat("the model's logits are NaN or infinite at a point of the attack, so its robust accuracy cannot be "
                   "said; first such example: ",
                   example));
}

torch::Tensor CrossEntropy(const torch::Tensor& logits, const torch::Tensor& labels) {
  return torch::nn::functional::cross_entropy(logits, labels,
                                              torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
}

torch::Tensor CrossEntropyGradient(const torch::Tensor& logits, const torch::Tensor& labels) {
  const torch::Tensor rows = labels.unsqueeze(1);
  return torch::softmax(logits, 1).scatter_add_(1, rows, torch::full_like(rows, -1, logits.scalar_type()));
}

namespace {

void CheckLogits(const torch::Tensor& logits, const torch::Tensor& points) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(0) == points.size(0), "logits must be N×classes, not ", logits.sizes());
}

}  // namespace

ActiveBatch::ActiveBatch(const Run& run, Ball ball, torch::Tensor labels, std::vector<Standing*> standings,
                         uint32_t restart)
    : run_(run),
      ball_(std::move(ball)),
      labels_(std::move(labels)),
      standings_(std::move(standings)),
      restart_(restart) {
  const torch::Tensor on_cpu = labels_.cpu();
  label_values_.assign(on_cpu.data_ptr<int64_t>(), on_cpu.data_ptr<int64_t>() + on_cpu.numel());
}

torch::Tensor ActiveBatch::RandomStart() const {
  std::vector<uint32_t> examples;
  examples.reserve(standings_.size());
  for (const Standing* standing : standings_) examples.push_back(standing->example);
  return ball_.RandomPoints(run_.stream, examples, restart_);
}

absl::Status ActiveBatch::Judge(torch::Tensor& points) {
  torch::NoGradGuard no_grad;
  ABSL_ASSIGN_OR_RETURN(const std::vector<int64_t> remaining, TakeWitnesses(points, Logits(points, standings_)));
  if (remaining.size() < standings_.size()) {
    const torch::Tensor rows = Rows(remaining);
    Keep(rows, remaining);
    points = points.index_select(0, rows);
  }
  return run_.looked();
}

absl::StatusOr<torch::Tensor> ActiveBatch::Gradient(torch::Tensor& points) {
  FaultPoint("worker.attack.in-step");
  for (Standing* standing : standings_) ++standing->forward_passes;
  const Classifier::TwoWay look = run_.classifier.LogitsAndGradient(points);
  CheckLogits(look.logits, points);
  const torch::Tensor weights = CrossEntropyGradient(look.logits, labels_);
  ABSL_ASSIGN_OR_RETURN(const std::vector<int64_t> remaining, TakeWitnesses(points, look.logits));
  torch::Tensor rows;
  if (remaining.size() < standings_.size()) {
    rows = Rows(remaining);
    Keep(rows, remaining);
    points = points.index_select(0, rows);
  }
  ABSL_RETURN_IF_ERROR(run_.looked());
  if (empty()) return torch::Tensor();
  for (Standing* standing : standings_) ++standing->backward_passes;
  torch::Tensor gradient = look.input_gradient(weights);
  return rows.defined() ? gradient.index_select(0, rows) : gradient;
}

torch::Tensor ActiveBatch::Logits(const torch::Tensor& points, absl::Span<Standing* const> standings) {
  for (Standing* standing : standings) ++standing->forward_passes;
  torch::Tensor logits = run_.classifier.Logits(points);
  CheckLogits(logits, points);
  return logits;
}

absl::StatusOr<std::vector<int64_t>> ActiveBatch::TakeWitnesses(const torch::Tensor& points,
                                                                const torch::Tensor& logits) {
  torch::NoGradGuard no_grad;
  const std::vector<int32_t> predictions = Predictions(logits);
  std::vector<int64_t> broken;
  for (size_t row = 0; row < standings_.size(); ++row) {
    if (predictions[row] < 0) return NotFinite(standings_[row]->example);
    if (predictions[row] != label_values_[row]) broken.push_back(static_cast<int64_t>(row));
  }
  std::vector<int64_t> remaining;
  if (!broken.empty()) {
    const torch::Tensor rows = Rows(broken);
    torch::Tensor candidates = points.index_select(0, rows);
    // What rounding had left outside the ball is moved, and the model asked again about what is there now.
    const torch::Tensor moved = ball_.Select(rows).MakeFeasible(candidates);
    std::vector<bool> still_broken(broken.size(), true);
    if (moved.numel() > 0) {
      const torch::Tensor moved_on_cpu = moved.cpu();
      const absl::Span<const int64_t> indices(moved_on_cpu.data_ptr<int64_t>(), moved_on_cpu.numel());
      std::vector<Standing*> asked;
      for (const int64_t i : indices) asked.push_back(standings_[broken[i]]);
      const std::vector<int32_t> again = Predictions(Logits(candidates.index_select(0, moved), asked));
      for (size_t k = 0; k < indices.size(); ++k) {
        if (again[k] < 0) return NotFinite(asked[k]->example);
        still_broken[indices[k]] = again[k] != label_values_[broken[indices[k]]];
      }
    }
    const torch::Tensor stored = candidates.cpu().contiguous();
    const int64_t elements = stored.numel() / stored.size(0);
    for (size_t i = 0; i < broken.size(); ++i) {
      const float* values = stored.data_ptr<float>() + static_cast<int64_t>(i) * elements;
      if (still_broken[i]) standings_[broken[i]]->witness.assign(values, values + elements);
    }
  }
  for (size_t row = 0; row < standings_.size(); ++row) {
    if (standings_[row]->witness.empty()) remaining.push_back(static_cast<int64_t>(row));
  }
  return remaining;
}

void ActiveBatch::Keep(const torch::Tensor& rows, const std::vector<int64_t>& indices) {
  ball_ = ball_.Select(rows);
  labels_ = labels_.index_select(0, rows);
  std::vector<int64_t> label_values;
  std::vector<Standing*> standings;
  for (const int64_t index : indices) {
    label_values.push_back(label_values_[index]);
    standings.push_back(standings_[index]);
  }
  label_values_ = std::move(label_values);
  standings_ = std::move(standings);
}

torch::Tensor ActiveBatch::Rows(const std::vector<int64_t>& indices) const {
  return torch::tensor(indices, torch::kInt64).to(labels_.device());
}

}  // namespace tightrope
