#include "core/robustness/attack/loss.h"

#include <algorithm>
#include <tuple>

namespace tightrope {
namespace {

// Croce and Hein's implementation adds it to the denominator, so that equal logits give no infinity.
constexpr double kTiny = 1e-12;

torch::Tensor At(const torch::Tensor& logits, const torch::Tensor& classes) {
  return logits.gather(1, classes.view({-1, 1})).squeeze(1);
}

// Where the largest logits of each row stand, N×count int64, largest first, the first of equal ones before the others.
torch::Tensor LargestClasses(const torch::Tensor& logits, int64_t count) {
  TORCH_CHECK(logits.size(1) >= count, "this loss needs at least ", count, " classes, not ", logits.size(1));
  if (!logits.is_cpu() || logits.scalar_type() != torch::kFloat32) return std::get<1>(logits.topk(count, 1));
  // By insertion: LibTorch's sort of a row takes longer than all else that a loss does, and an order by the standard
  // library must not meet NaN, which here stays where it is.
  const torch::Tensor rows = logits.detach().contiguous();
  torch::Tensor largest = torch::empty({rows.size(0), count}, torch::kInt64);
  for (int64_t row = 0; row < rows.size(0); ++row) {
    const float* value = rows.data_ptr<float>() + row * rows.size(1);
    int64_t* classes = largest.data_ptr<int64_t>() + row * count;
    for (int64_t k = 0; k < rows.size(1); ++k) {
      int64_t place = std::min(k, count);
      for (; place > 0 && value[k] > value[classes[place - 1]]; --place) {
        if (place < count) classes[place] = classes[place - 1];
      }
      if (place < count) classes[place] = k;
    }
  }
  return largest;
}

// The largest logits and their classes.
std::tuple<torch::Tensor, torch::Tensor> Largest(const torch::Tensor& logits, int64_t count) {
  const torch::Tensor classes = LargestClasses(logits, count);
  return {logits.gather(1, classes), classes};
}

}  // namespace

torch::Tensor CrossEntropyLoss(const torch::Tensor& logits, const torch::Tensor& labels) {
  return -At(logits.log_softmax(1), labels);
}

torch::Tensor TargetedCrossEntropyLoss(const torch::Tensor& logits, const torch::Tensor& targets) {
  return At(logits.log_softmax(1), targets);
}

torch::Tensor MarginLoss(const torch::Tensor& logits, const torch::Tensor& labels) {
  const auto [values, classes] = Largest(logits, 2);
  const torch::Tensor other = torch::where(classes.select(1, 0) == labels, values.select(1, 1), values.select(1, 0));
  return other - At(logits, labels);
}

torch::Tensor TargetedMarginLoss(const torch::Tensor& logits, const torch::Tensor& labels,
                                 const torch::Tensor& targets) {
  return At(logits, targets) - At(logits, labels);
}

torch::Tensor DlrLoss(const torch::Tensor& logits, const torch::Tensor& labels) {
  const auto [values, classes] = Largest(logits, 3);
  const torch::Tensor other = torch::where(classes.select(1, 0) == labels, values.select(1, 1), values.select(1, 0));
  return (other - At(logits, labels)) / (values.select(1, 0) - values.select(1, 2) + kTiny);
}

torch::Tensor TargetedDlrLoss(const torch::Tensor& logits, const torch::Tensor& labels, const torch::Tensor& targets) {
  const auto [values, classes] = Largest(logits, 4);
  const torch::Tensor scale = values.select(1, 0) - 0.5 * (values.select(1, 2) + values.select(1, 3));
  return (At(logits, targets) - At(logits, labels)) / (scale + kTiny);
}

torch::Tensor KlLoss(const torch::Tensor& logits, const torch::Tensor& clean_logits) {
  const torch::Tensor clean = clean_logits.log_softmax(1);
  return (clean.exp() * (clean - logits.log_softmax(1))).sum(1);
}

Loss MakeLoss(v1::AttackLoss loss, const torch::Tensor& labels, const torch::Tensor& targets,
              const torch::Tensor* clean_logits) {
  return [loss, &labels, &targets, clean_logits](const torch::Tensor& logits) {
    const bool targeted = targets.defined();
    switch (loss) {
      case v1::ATTACK_LOSS_MARGIN:
        return targeted ? TargetedMarginLoss(logits, labels, targets) : MarginLoss(logits, labels);
      case v1::ATTACK_LOSS_DLR:
        return targeted ? TargetedDlrLoss(logits, labels, targets) : DlrLoss(logits, labels);
      case v1::ATTACK_LOSS_KL:
        return KlLoss(logits, *clean_logits);
      default:
        return targeted ? TargetedCrossEntropyLoss(logits, targets) : CrossEntropyLoss(logits, labels);
    }
  };
}

LossSlope SlopeOf(const Loss& loss, const torch::Tensor& logits) {
  const torch::AutoGradMode tape(true);
  const torch::Tensor leaf = logits.detach().requires_grad_(true);
  const torch::Tensor values = loss(leaf);
  TORCH_CHECK(values.dim() == 1 && values.size(0) == logits.size(0), "a loss gives a value a row, not ",
              values.sizes());
  return {.values = values.detach(), .gradient = torch::autograd::grad({values.sum()}, {leaf})[0]};
}

}  // namespace tightrope
