#include "core/robustness/attack/active_batch.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/fault_point.h"
#include "core/robustness/attack/row_kernels.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// A point this little outside the ball, relative to the radius, is there by rounding and worth moving inside.
constexpr double kRoundingShare = 1e-4;

void CheckLogits(const torch::Tensor& logits, const torch::Tensor& points) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(0) == points.size(0), "logits must be N×classes, not ", logits.sizes());
}

}  // namespace

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

ActiveBatch::ActiveBatch(const Run& run, Ball ball, std::vector<Row> rows)
    : run_(run), ball_(std::move(ball)), rows_(std::move(rows)) {
  std::vector<int64_t> labels;
  for (const Row& row : rows_) labels.push_back(row.standing->label);
  labels_ = torch::tensor(labels, torch::kInt64).to(ball_.centers().device());
}

torch::Tensor ActiveBatch::CleanLogits() const {
  const int64_t classes = rows_.empty() ? 0 : static_cast<int64_t>(rows_.front().standing->clean_logits.size());
  torch::Tensor logits = torch::empty({size(), classes}, torch::kFloat32);
  float* value = logits.data_ptr<float>();
  for (const Row& row : rows_) {
    value = std::copy(row.standing->clean_logits.begin(), row.standing->clean_logits.end(), value);
  }
  return logits.to(labels_.device());
}

torch::Tensor ActiveBatch::Targets(const std::function<uint32_t(uint32_t run)>& rank) const {
  std::vector<int64_t> targets;
  for (const Row& row : rows_) {
    const std::vector<float>& logits = row.standing->clean_logits;
    std::vector<int64_t> others;
    for (int64_t k = 0; k < static_cast<int64_t>(logits.size()); ++k) {
      if (k != row.standing->label) others.push_back(k);
    }
    std::stable_sort(others.begin(), others.end(), [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
    targets.push_back(others.at(rank(row.run)));
  }
  return torch::tensor(targets, torch::kInt64).to(labels_.device());
}

std::vector<uint32_t> ActiveBatch::Examples() const {
  std::vector<uint32_t> examples;
  for (const Row& row : rows_) examples.push_back(row.standing->example);
  return examples;
}

std::vector<uint32_t> ActiveBatch::Runs() const {
  std::vector<uint32_t> runs;
  for (const Row& row : rows_) runs.push_back(row.run);
  return runs;
}

torch::Tensor ActiveBatch::RandomStart() const { return ball_.RandomPoints(run_.stream, Examples(), Runs()); }

torch::Tensor ActiveBatch::SurfaceStart(double factor) const {
  return (factor == 1 ? ball_ : ball_.Scaled(factor)).SurfacePoints(run_.stream, Examples(), Runs());
}

torch::Tensor ActiveBatch::SaltAndPepper() const {
  return ball_.WithRandomElements(run_.stream, Examples(), Runs(), (Uniform(1) < 0.5).to(torch::kFloat32));
}

torch::Tensor ActiveBatch::Uniform(uint32_t step) const { return Draws(step, /*normal=*/false); }
torch::Tensor ActiveBatch::Normal(uint32_t step) const { return Draws(step, /*normal=*/true); }

torch::Tensor ActiveBatch::Draws(uint32_t step, bool normal) const {
  torch::Tensor draws = torch::empty(ball_.centers().sizes(), torch::kFloat32);
  const size_t elements = rows_.empty() ? 0 : static_cast<size_t>(draws.numel()) / rows_.size();
  float* values = draws.data_ptr<float>();
  for (const Row& row : rows_) {
    const RandomStream::At at{.example = row.standing->example, .restart = row.run, .step = step};
    const absl::Span<float> into(values, elements);
    normal ? run_.stream.Normal(at, into) : run_.stream.Uniform(at, into);
    values += elements;
  }
  return draws.to(labels_.device());
}

ActiveBatch::Following ActiveBatch::Follow(std::initializer_list<torch::Tensor*> tensors) {
  const size_t before = followed_.size();
  followed_.insert(followed_.end(), tensors.begin(), tensors.end());
  return Following(followed_, before);
}

absl::StatusOr<ActiveBatch::Look> ActiveBatch::Judge(const torch::Tensor& points, const torch::Tensor& distances) {
  torch::NoGradGuard no_grad;
  return JudgeLogits(points, run_.classifier.Logits(points), distances);
}

absl::StatusOr<ActiveBatch::Look> ActiveBatch::JudgeSome(const torch::Tensor& points, const torch::Tensor& asked) {
  torch::NoGradGuard no_grad;
  const torch::Tensor rows = asked.nonzero().view({-1});
  if (rows.numel() == size()) return Judge(points);
  const int64_t classes = static_cast<int64_t>(rows_.front().standing->clean_logits.size());
  torch::Tensor logits = torch::zeros({size(), classes}, points.options());
  if (rows.numel() > 0) {
    const torch::Tensor some = points.index_select(0, rows);
    const torch::Tensor of_some = run_.classifier.Logits(some);
    CheckLogits(of_some, some);
    logits.index_copy_(0, rows, of_some);
  }
  return Remaining(points, logits, /*distances=*/{}, asked);
}

absl::StatusOr<ActiveBatch::Look> ActiveBatch::JudgeLogits(const torch::Tensor& points, torch::Tensor logits,
                                                           const torch::Tensor& distances) {
  return Remaining(points, std::move(logits), distances, /*asked=*/{});
}

absl::StatusOr<ActiveBatch::Look> ActiveBatch::Remaining(const torch::Tensor& points, torch::Tensor logits,
                                                         const torch::Tensor& distances, const torch::Tensor& asked) {
  Look look{.logits = std::move(logits), .wrong = {}};
  ABSL_ASSIGN_OR_RETURN(const torch::Tensor rows, Take(points, look.logits, look.wrong, distances, asked));
  if (rows.defined()) {
    look.logits = look.logits.index_select(0, rows);
    look.wrong = look.wrong.index_select(0, rows);
  }
  ABSL_RETURN_IF_ERROR(run_.looked());
  return look;
}

absl::StatusOr<ActiveBatch::Slope> ActiveBatch::Gradient(const torch::Tensor& points, const Loss& loss,
                                                         uint32_t passes) {
  FaultPoint("worker.attack.in-step");
  Slope slope;
  torch::Tensor logits, wrong;
  if (passes > 1 && run_.query_budget != UINT64_MAX) {
    DropDecided(passes);
    if (empty()) return slope;
  }
  Classifier& model = run_.surrogate != nullptr ? *run_.surrogate : run_.classifier;
  for (uint32_t pass = 0; pass < passes; ++pass) {
    const Classifier::TwoWay look = model.LogitsAndGradient(points);
    CheckLogits(look.logits, points);
    const LossSlope at_logits = SlopeOf(loss, look.logits);
    const torch::Tensor gradient = look.input_gradient(at_logits.gradient);
    CountGradients(gradient);
    if (pass == 0) {
      logits = look.logits;
      slope.losses = at_logits.values;
      slope.gradient = gradient;
    } else {
      slope.losses = slope.losses + at_logits.values;
      slope.gradient = slope.gradient + gradient;
    }
  }
  if (passes > 1) {
    slope.losses = slope.losses / static_cast<double>(passes);
    slope.gradient = slope.gradient / static_cast<double>(passes);
    for (const Row& row : rows_) row.standing->forward_passes += passes - 1;
  }
  for (const Row& row : rows_) row.standing->backward_passes += passes;
  if (run_.surrogate != nullptr) {
    torch::NoGradGuard no_grad;
    logits = run_.classifier.Logits(points);
  }
  ABSL_ASSIGN_OR_RETURN(const torch::Tensor rows, Take(points, logits, wrong));
  if (rows.defined()) {
    slope.losses = slope.losses.index_select(0, rows);
    slope.gradient = slope.gradient.index_select(0, rows);
    wrong = wrong.index_select(0, rows);
  }
  slope.wrong = wrong;
  ABSL_RETURN_IF_ERROR(run_.looked());
  return slope;
}

absl::StatusOr<torch::Tensor> ActiveBatch::Take(const torch::Tensor& points, const torch::Tensor& logits,
                                                torch::Tensor& wrong, const torch::Tensor& distances,
                                                const torch::Tensor& asked) {
  torch::NoGradGuard no_grad;
  CheckLogits(logits, points);
  ++looks_;
  const std::vector<int32_t> predictions = Predictions(logits);
  const torch::Tensor asked_rows = asked.defined() ? asked.cpu().contiguous() : torch::Tensor();
  std::vector<int64_t> wrong_rows;
  wrong = torch::zeros({size()}, torch::kBool);
  for (size_t i = 0; i < rows_.size(); ++i) {
    if (asked_rows.defined() && !asked_rows.data_ptr<bool>()[i]) continue;
    ++rows_[i].standing->forward_passes;
    if (predictions[i] < 0) return NotFinite(rows_[i].standing->example);
    if (predictions[i] == rows_[i].standing->label) continue;
    wrong_rows.push_back(static_cast<int64_t>(i));
    wrong.data_ptr<bool>()[i] = true;
  }
  wrong = wrong.to(labels_.device());
  if (!wrong_rows.empty()) {
    ABSL_RETURN_IF_ERROR(TakeCandidates(points, wrong_rows, distances));
  }
  return DropDecided();
}

absl::Status ActiveBatch::TakeCandidates(const torch::Tensor& points, const std::vector<int64_t>& wrong,
                                         const torch::Tensor& spatial) {
  const torch::Tensor rows = Rows(wrong);
  const torch::Tensor centers = ball_.centers().index_select(0, rows);
  torch::Tensor candidates = points.index_select(0, rows);
  torch::Tensor distances = Distances(centers, candidates).cpu();
  const torch::Tensor given = spatial.defined() ? spatial.cpu().contiguous() : torch::Tensor();
  // In the threat model's norm, of the i-th.
  const auto distance_of = [&](size_t i) {
    return given.defined() ? given.data_ptr<double>()[wrong[i]]
                           : distances.data_ptr<double>()[4 * i + DistanceColumn(ball_.norm())];
  };

  // What rounding left outside the ball is moved, and the model asked again about what is there now.
  std::vector<int64_t> outside;
  std::vector<double> radii;
  for (size_t i = 0; i < wrong.size() && !given.defined(); ++i) {
    const Standing& standing = *rows_[wrong[i]].standing;
    const double distance = distance_of(i);
    const double inside = distance <= standing.goal * (1 + kRoundingShare) ? standing.goal : standing.reach;
    if (distance > inside && distance <= inside * (1 + kRoundingShare) && standing.forward_passes < run_.query_budget) {
      outside.push_back(static_cast<int64_t>(i));
      radii.push_back(inside);
    }
  }
  std::vector<bool> still_wrong(wrong.size(), true);
  if (!outside.empty()) {
    const torch::Tensor moved = Rows(outside);
    torch::Tensor feasible = candidates.index_select(0, moved);
    const Ball ball(ball_.norm(), centers.index_select(0, moved), torch::tensor(radii, torch::kFloat64));
    ball.Project(feasible);
    ball.MakeFeasible(feasible);
    const std::vector<int32_t> again = Predictions(run_.classifier.Logits(feasible));
    candidates.index_copy_(0, moved, feasible);
    for (size_t k = 0; k < outside.size(); ++k) {
      Standing& standing = *rows_[wrong[outside[k]]].standing;
      ++standing.forward_passes;
      if (again[k] < 0) return NotFinite(standing.example);
      still_wrong[outside[k]] = again[k] != standing.label;
    }
    distances = Distances(centers, candidates).cpu();
  }

  torch::Tensor stored;  // on the CPU, once one of them is a candidate
  for (size_t i = 0; i < wrong.size(); ++i) {
    Standing& standing = *rows_[wrong[i]].standing;
    if (!still_wrong[i]) continue;
    const double* all = distances.data_ptr<double>() + 4 * i;
    for (size_t k = 0; k < 4; ++k) standing.nearest[k] = std::min(standing.nearest[k], all[k]);
    const double distance = distance_of(i);
    if (distance > standing.reach) continue;
    if (standing.first_success == 0) standing.first_success = standing.forward_passes;
    if (distance >= std::min(standing.candidate.distance, standing.witness.distance)) continue;
    if (!stored.defined()) stored = candidates.flatten(1).cpu().contiguous();
    const float* values = stored.data_ptr<float>() + static_cast<int64_t>(i) * stored.size(1);
    standing.candidate.point.assign(values, values + stored.size(1));
    standing.candidate.distance = distance;
    standing.candidate.run = rows_[wrong[i]].run;
    standing.candidate.late = 10 * looks_ > 9 * run_.looks && run_.looks > 0;
    standing.decided = standing.decided || distance <= standing.goal;
  }
  return absl::OkStatus();
}

torch::Tensor ActiveBatch::DropDecided(uint64_t passes) {
  // Where the budget does not cover all of an example's rows, the last ones go.
  std::map<const Standing*, uint64_t> planned;
  std::vector<int64_t> remaining;
  for (size_t i = 0; i < rows_.size(); ++i) {
    Standing& standing = *rows_[i].standing;
    if (standing.decided) continue;
    if (run_.query_budget != UINT64_MAX) {
      if (standing.forward_passes + passes > run_.query_budget) {
        standing.decided = true;
        continue;
      }
      if (standing.forward_passes + (planned[&standing] += passes) > run_.query_budget) continue;
    }
    remaining.push_back(static_cast<int64_t>(i));
  }
  return remaining.size() == rows_.size() ? torch::Tensor() : Keep(remaining);
}

void ActiveBatch::End(const torch::Tensor& rows) {
  const torch::Tensor kept = rows.logical_not().nonzero().view({-1}).cpu();
  if (kept.numel() < size()) Keep({kept.data_ptr<int64_t>(), kept.data_ptr<int64_t>() + kept.numel()});
}

torch::Tensor ActiveBatch::Keep(const std::vector<int64_t>& remaining) {
  const torch::Tensor rows = Rows(remaining);
  std::vector<Row> kept;
  for (const int64_t row : remaining) kept.push_back(rows_[row]);
  ball_ = ball_.Select(rows);
  labels_ = labels_.index_select(0, rows);
  rows_ = std::move(kept);
  for (torch::Tensor* tensor : followed_) {
    if (tensor->defined()) *tensor = tensor->index_select(0, rows);
  }
  return rows;
}

void ActiveBatch::CountGradients(const torch::Tensor& gradient) {
  v1::AttackDiagnostics& seen = run_.diagnostics;
  const int64_t rows = gradient.size(0), elements = rows == 0 ? 0 : gradient.numel() / rows;
  seen.set_gradients(seen.gradients() + static_cast<uint64_t>(rows));
  uint64_t zero = 0, nonfinite = 0;
  if (gradient.is_cpu() && gradient.is_contiguous()) {
    for (int64_t row = 0; row < rows; ++row) {
      const float sum = SumOfSizes(elements, gradient.data_ptr<float>() + row * elements);
      zero += sum == 0 ? 1 : 0;
      nonfinite += std::isfinite(sum) ? 0 : 1;
    }
  } else {
    const torch::Tensor sums = gradient.flatten(1).abs().sum(1);
    zero = static_cast<uint64_t>((sums == 0).sum().item<int64_t>());
    nonfinite = static_cast<uint64_t>(sums.isfinite().logical_not().sum().item<int64_t>());
  }
  seen.set_zero_gradients(seen.zero_gradients() + zero);
  seen.set_nonfinite_gradients(seen.nonfinite_gradients() + nonfinite);
}

torch::Tensor ActiveBatch::Rows(const std::vector<int64_t>& indices) const {
  return torch::tensor(indices, torch::kInt64).to(labels_.device());
}

}  // namespace tightrope
