// The Jacobian saliency map attack (Papernot et al. 2016, algorithms 2 and 3), on the logits: each step adds θ to the
// two elements that together raise the target's logit most and lower the sum of the others most (eq. 8, of pairs). With
// θ below 0 it takes away, where that raises the target. Elements with no room left are not searched any more.
//
// The paper stops after a number of steps that changes a share Υ of the elements; here that share is the ball's radius,
// and of an odd one the last step changes one element. A row also ends where the model is wrong in any way, because
// further steps only change more, and where no pair does both.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "core/robustness/attack/attack_method.h"
#include "core/robustness/attack/element_changes.h"
#include "core/robustness/attack/saliency_pair.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class Jsma : public AttackMethod {
 public:
  explicit Jsma(const v1::JsmaAttack& options) : options_(options) {}

  uint32_t runs() const override { return std::max<uint32_t>(options_.targets(), 1); }
  uint64_t looks() const override { return 40; }
  bool minimizes() const override { return true; }

  absl::Status Run(ActiveBatch& batch) const override {
    torch::Tensor points = batch.Inputs(), rise, fall;
    torch::Tensor targets = batch.Targets([](uint32_t run) { return run; });
    torch::Tensor left = batch.ball().epsilon().view({-1}).floor();  // elements
    const auto following = batch.Follow({&points, &targets, &rise, &fall, &left});
    const Loss target = [&](const torch::Tensor& logits) { return TargetLogit(logits, targets); };
    const Loss others = [&](const torch::Tensor& logits) { return logits.sum(1) - TargetLogit(logits, targets); };
    while (!batch.empty()) {
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Slope to_target, batch.Gradient(points, target));
      if (batch.empty()) return absl::OkStatus();
      rise = to_target.gradient;
      batch.End(to_target.wrong.logical_or(left <= 0));
      if (batch.empty()) return absl::OkStatus();
      ABSL_ASSIGN_OR_RETURN(const ActiveBatch::Slope to_others, batch.Gradient(points, others));
      if (batch.empty()) return absl::OkStatus();
      fall = -to_others.gradient;
      batch.End(Step(points, rise, fall, left));
      left = left - 2;
    }
    return absl::OkStatus();
  }

 private:
  static torch::Tensor TargetLogit(const torch::Tensor& logits, const torch::Tensor& targets) {
    return logits.gather(1, targets.view({-1, 1})).squeeze(1);
  }

  // Of each row in its direction. Returns the rows that took none, N bool.
  torch::Tensor Step(torch::Tensor& points, const torch::Tensor& rise, const torch::Tensor& fall,
                     const torch::Tensor& left) const {
    const double direction = options_.theta() > 0 ? 1 : -1;
    const auto on_cpu = [](const torch::Tensor& rows) { return rows.flatten(1).cpu().contiguous(); };
    const torch::Tensor from = on_cpu(points), room = left.cpu();
    const torch::Tensor up = on_cpu(rise * direction).nan_to_num_(0, 0, 0);
    const torch::Tensor down = on_cpu(fall * direction).nan_to_num_(0, 0, 0);
    const int64_t elements = from.size(1);
    torch::Tensor ended = torch::zeros({from.size(0)}, torch::kBool);
    ElementChanges changes(elements);
    for (int64_t row = 0; row < from.size(0); ++row) {
      const float* values = from.data_ptr<float>() + row * elements;
      const auto of_row = [&](const torch::Tensor& rows) {
        return absl::Span<const float>(rows.data_ptr<float>() + row * elements, static_cast<size_t>(elements));
      };
      std::vector<uint32_t> domain;
      for (int64_t i = 0; i < elements; ++i) {
        if (direction > 0 ? values[i] < 1 : values[i] > 0) domain.push_back(static_cast<uint32_t>(i));
      }
      const std::vector<uint32_t> chosen =
          MostSalient(of_row(up), of_row(down), std::move(domain), /*single=*/room.data_ptr<double>()[row] < 2);
      ended.data_ptr<bool>()[row] = chosen.empty();
      for (const uint32_t i : chosen) {
        changes.Set(row, i, std::clamp(values[i] + static_cast<float>(options_.theta()), 0.0f, 1.0f));
      }
    }
    changes.Apply(points);
    return ended;
  }

  v1::JsmaAttack options_;
};

}  // namespace

std::vector<uint32_t> MostSalient(absl::Span<const float> rise, absl::Span<const float> fall,
                                  std::vector<uint32_t> domain, bool single) {
  std::sort(domain.begin(), domain.end(), [&](uint32_t p, uint32_t q) {
    if (rise[p] != rise[q]) return rise[p] > rise[q];
    return fall[p] != fall[q] ? fall[p] > fall[q] : p < q;
  });
  // Those before an element rise at least as much, so the second largest fall among them says whether it is tried.
  std::vector<uint32_t> tried;
  float largest = -INFINITY, second = -INFINITY;
  for (const uint32_t p : domain) {
    if (fall[p] > second) tried.push_back(p);
    second = std::max(second, std::min(largest, fall[p]));
    largest = std::max(largest, fall[p]);
  }
  std::vector<uint32_t> best;
  float most = 0;
  const auto consider = [&](float rises, float falls, std::vector<uint32_t> chosen) {
    if (!(rises > 0 && falls > 0) || (!best.empty() && rises * falls <= most)) return;
    most = rises * falls;
    best = std::move(chosen);
  };
  for (size_t i = 0; i < tried.size(); ++i) {
    const uint32_t p = tried[i];
    if (single) {
      consider(rise[p], fall[p], {p});
      continue;
    }
    for (size_t j = 0; j < i; ++j) {
      const uint32_t q = tried[j];
      consider(rise[p] + rise[q], fall[p] + fall[q], {q, p});
    }
  }
  return best;
}

std::unique_ptr<AttackMethod> MakeJsma(const v1::JsmaAttack& options) { return std::make_unique<Jsma>(options); }

}  // namespace tightrope
