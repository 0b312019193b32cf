#include "core/robustness/attack/oracle_guided.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/robustness/attack/active_batch.h"
#include "core/robustness/attack/ball.h"
#include "core/robustness/attack/dataset_batch.h"
#include "core/robustness/attack/half_cosine.h"
#include "core/robustness/attack/loss.h"
#include "core/robustness/attack/rows_per_batch.h"
#include "core/robustness/torch.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

absl::Status CheckOptions(const OracleGuidedOptions& options) {
  const auto refuse = [](const auto&... parts) {
    return absl::InvalidArgumentError(absl::StrCat("of the attack that an oracle guides, ", parts...));
  };
  const auto at_least_zero = [](double value) { return value >= 0 && std::isfinite(value); };
  if (options.norm != v1::NORM_LINF && options.norm != v1::NORM_L2 && options.norm != v1::NORM_L1) {
    return refuse("the norm is ", v1::Norm_Name(options.norm), "; give linf, l2 or l1");
  }
  if (!(options.epsilon > 0 && std::isfinite(options.epsilon))) {
    return refuse("the radius is ", options.epsilon, "; give one above 0");
  }
  if (options.loss != v1::ATTACK_LOSS_CE && options.loss != v1::ATTACK_LOSS_MARGIN) {
    return refuse("the loss is ", v1::AttackLoss_Name(options.loss), "; give ce or margin");
  }
  if (!at_least_zero(options.penalty) || !at_least_zero(options.turning_margin)) {
    return refuse("the penalty is ", options.penalty, " and the turning margin ", options.turning_margin,
                  "; give numbers that are at least 0");
  }
  if (!(options.travel > 0 && std::isfinite(options.travel))) {
    return refuse("the way to travel is ", options.travel, " radii; give a number above 0");
  }
  if (options.steps == 0 || options.restarts == 0) {
    return refuse("there are ", options.steps, " steps and ", options.restarts, " restarts; give at least one of each");
  }
  return absl::OkStatus();
}

// How far the points of a ball, cut with the range of pixels, are from its center in l2.
double EuclideanRadius(v1::Norm norm, double epsilon, int64_t elements) {
  if (norm == v1::NORM_L2) return epsilon;
  // Of l1: ‖δ‖₂² ≤ ‖δ‖₁·‖δ‖∞, and no pixel moves by more than 1.
  if (norm == v1::NORM_L1) return std::min(epsilon, std::sqrt(epsilon));
  return std::min(epsilon, 1.0) * std::sqrt(static_cast<double>(elements));
}

// Sources that are searched side by side, a row each.
class GuidedBatch {
 public:
  GuidedBatch(const OracleGuidedRun& run, const OracleGuidedOptions& options, absl::Span<const uint32_t> examples,
              const DatasetBatch& sources)
      : run_(run),
        options_(options),
        examples_(examples.begin(), examples.end()),
        labels_(sources.labels),
        ball_(options.norm, sources.inputs, Radii(options.epsilon)),
        euclidean_(v1::NORM_L2, sources.inputs, Radii(options.epsilon)),
        radius_(EuclideanRadius(options.norm, options.epsilon, sources.inputs[0].numel())),
        kept_(examples_.size(), -1),
        best_(examples_.size(), Worth(false, -std::numeric_limits<double>::infinity())),
        best_points_(ball_.centers().clone()) {}

  absl::StatusOr<std::vector<OracleGuidedExample>> Search(uint32_t classes) {
    const torch::Tensor model = run_.model.Logits(ball_.centers()), oracle = run_.oracle.Logits(ball_.centers());
    kept_ = Predictions(model);
    TORCH_CHECK(kept_.size() == examples_.size() && model.size(1) > 1,
                "the attacked model's logits must be N×classes, of two classes at least, not ", model.sizes());
    TORCH_CHECK(oracle.dim() == 2 && oracle.size(1) >= classes, "the oracle's logits must be N×", classes, ", not ",
                oracle.sizes());
    // A row without a prediction to keep needs some class to have a margin; none of its points is taken.
    std::vector<int64_t> kept;
    for (const int32_t prediction : kept_) kept.push_back(std::max(prediction, 0));
    kept_classes_ = torch::tensor(kept, torch::kInt64).to(labels_.device());
    Judge(ball_.centers(), model, oracle);
    for (uint32_t restart = 0; restart < options_.restarts; ++restart) {
      ABSL_RETURN_IF_ERROR(SearchFrom(Start(restart)));
    }
    return Examples();
  }

 private:
  // What a point is worth that f's prediction is kept at: whether o is wrong there, and by how much.
  using Worth = std::pair<bool, double>;

  torch::Tensor Radii(double epsilon) const {
    return torch::full({static_cast<int64_t>(examples_.size())}, epsilon, torch::kFloat64);
  }

  torch::Tensor Start(uint32_t restart) const {
    if (restart == 0 && !options_.random_start) return ball_.centers().clone();
    torch::Tensor points = ball_.RandomPoints(run_.stream, examples_, std::vector<uint32_t>(examples_.size(), restart));
    ball_.MakeFeasible(points);
    return points;
  }

  absl::Status SearchFrom(torch::Tensor points) {
    const double first = 2 * options_.travel * radius_ / options_.steps;
    for (uint32_t step = 0; step < options_.steps; ++step) {
      const torch::Tensor direction = euclidean_.Direction(GradientAt(points));
      points.add_(direction, HalfCosine(first, 0, step, options_.steps));
      ball_.Project(points);
      ball_.MakeFeasible(points);
      if (run_.looked) {
        ABSL_RETURN_IF_ERROR(run_.looked());
      }
    }
    Judge(points, run_.model.Logits(points), run_.oracle.Logits(points));
    return absl::OkStatus();
  }

  // Judges the points, and says where to go from there.
  torch::Tensor GradientAt(const torch::Tensor& points) {
    const Classifier::TwoWay model = run_.model.LogitsAndGradient(points);
    const Classifier::TwoWay oracle = run_.oracle.LogitsAndGradient(points);
    Judge(points, model.logits, oracle.logits);
    const torch::Tensor none{};
    const Loss loss = MakeLoss(options_.loss, labels_, /*targets=*/none);
    torch::Tensor gradient = FiniteGradient(oracle, SlopeOf(loss, oracle.logits).gradient);

    // How far m + κ is above zero, and its slope at the logits; without those rows that obey the constraint.
    const LossSlope margin =
        SlopeOf([&](const torch::Tensor& logits) { return MarginLoss(logits, kept_classes_); }, model.logits);
    // At equal logits the margin is 0 and the prediction may be gone; NaN obeys nothing.
    const torch::Tensor obeys = (margin.values + options_.turning_margin <= 0).logical_and(Keeps(model.logits));
    if (obeys.all().item<bool>()) return gradient;
    const torch::Tensor slope = margin.gradient * obeys.logical_not().view({-1, 1});
    if (options_.form == OracleGuidedForm::kPenalty) {
      return gradient.add_(FiniteGradient(model, slope * -options_.penalty));
    }
    return torch::where(PerRow(obeys), gradient, FiniteGradient(model, -slope));
  }

  static torch::Tensor FiniteGradient(const Classifier::TwoWay& look, const torch::Tensor& weights) {
    torch::Tensor gradient = look.input_gradient(weights);
    gradient.nan_to_num_(0, 0, 0);
    return gradient;
  }

  // N bool: the rows in which the attacked model says c.
  torch::Tensor Keeps(const torch::Tensor& logits) const {
    const std::vector<int32_t> predictions = Predictions(logits);
    torch::Tensor keeps = torch::zeros({static_cast<int64_t>(kept_.size())}, torch::kBool);
    for (size_t i = 0; i < kept_.size(); ++i) {
      keeps.data_ptr<bool>()[i] = kept_[i] >= 0 && predictions[i] == kept_[i];
    }
    return keeps.to(labels_.device());
  }

  // Of each row, whether the oracle's prediction is not the label, and its margin.
  std::vector<Worth> WorthOf(const torch::Tensor& oracle_logits) const {
    const std::vector<int32_t> predictions = Predictions(oracle_logits);
    const torch::Tensor margins = MarginLoss(oracle_logits, labels_).cpu(), labels = labels_.cpu();
    std::vector<Worth> worth;
    for (size_t i = 0; i < predictions.size(); ++i) {
      const bool wrong = predictions[i] >= 0 && predictions[i] != labels.data_ptr<int64_t>()[i];
      worth.emplace_back(wrong, double{margins.data_ptr<float>()[i]});
    }
    return worth;
  }

  // Takes the points that are worth more than the best so far.
  void Judge(const torch::Tensor& points, const torch::Tensor& model_logits, const torch::Tensor& oracle_logits) {
    const torch::Tensor keeps = Keeps(model_logits).cpu();
    const std::vector<int32_t> oracle = Predictions(oracle_logits);
    const std::vector<Worth> worth = WorthOf(oracle_logits);
    torch::Tensor better = torch::zeros_like(keeps);
    for (size_t i = 0; i < worth.size(); ++i) {
      if (!keeps.data_ptr<bool>()[i] || oracle[i] < 0 || worth[i] <= best_[i]) continue;
      best_[i] = worth[i];
      better.data_ptr<bool>()[i] = true;
    }
    CopyRows(better.to(labels_.device()), points, best_points_);
  }

  std::vector<OracleGuidedExample> Examples() const {
    const torch::Tensor oracle_logits = run_.oracle.Logits(best_points_);
    const std::vector<int32_t> model = Predictions(run_.model.Logits(best_points_));
    const std::vector<int32_t> oracle = Predictions(oracle_logits);
    const std::vector<Worth> worth = WorthOf(oracle_logits);
    const torch::Tensor stored = best_points_.flatten(1).cpu().contiguous();
    std::vector<OracleGuidedExample> examples(examples_.size());
    const float* values = stored.data_ptr<float>();
    for (size_t i = 0; i < examples.size(); ++i, values += stored.size(1)) {
      const bool keeps = kept_[i] >= 0 && model[i] == kept_[i];
      examples[i] = {.pixels = {values, values + stored.size(1)},
                     .success = keeps && worth[i].first,
                     .kept_prediction = kept_[i],
                     .model_prediction = model[i],
                     .oracle_prediction = oracle[i],
                     .oracle_margin = worth[i].second};
    }
    return examples;
  }

  const OracleGuidedRun& run_;
  const OracleGuidedOptions& options_;
  std::vector<uint32_t> examples_;
  torch::Tensor labels_;  // N int64
  Ball ball_;
  Ball euclidean_;              // for its directions
  double radius_;               // of the ball, in l2
  std::vector<int32_t> kept_;   // c; -1: none
  torch::Tensor kept_classes_;  // the same, N int64, 0 where there is none
  std::vector<Worth> best_;     // of best_points_
  torch::Tensor best_points_;
};

}  // namespace

absl::StatusOr<std::vector<OracleGuidedExample>> OracleGuidedAttack(const OracleGuidedRun& run, const Dataset& data,
                                                                    absl::Span<const uint32_t> indices,
                                                                    const OracleGuidedOptions& options) {
  using Examples = std::vector<OracleGuidedExample>;
  return WithoutExceptions("the attack cannot be guided by this oracle", [&]() -> absl::StatusOr<Examples> {
    const torch::NoGradGuard no_grad;
    ABSL_RETURN_IF_ERROR(CheckOptions(options));
    ABSL_RETURN_IF_ERROR(CheckArrays(data));
    for (const uint32_t index : indices) {
      if (index >= data.count) {
        return absl::InvalidArgumentError(
            absl::StrCat("there is no example ", index, " in a data set of ", data.count, " examples"));
      }
    }
    if (run.model.device() != run.oracle.device()) {
      return absl::InvalidArgumentError(absl::StrCat("the attacked model is on ", run.model.device().str(),
                                                     " and the oracle on ", run.oracle.device().str(),
                                                     "; load both on one device"));
    }
    Examples examples;
    const size_t elements = size_t{data.channels} * data.height * data.width;
    const size_t rows = RowsPerBatch(indices.size(), elements, run.model, &run.oracle);
    for (size_t begin = 0; begin < indices.size(); begin += rows) {
      const absl::Span<const uint32_t> batch = indices.subspan(begin, rows);
      ABSL_ASSIGN_OR_RETURN(
          Examples found,
          GuidedBatch(run, options, batch, MakeBatch(data, batch, run.model.device())).Search(data.classes));
      std::move(found.begin(), found.end(), std::back_inserter(examples));
    }
    return examples;
  });
}

}  // namespace tightrope
