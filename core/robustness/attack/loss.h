// What gradient attacks ascend. A loss is a differentiable function of the logits, a value a row; its gradient at the
// logits is taken by autograd over these few operations, and the model's part comes from Classifier. To add one: a
// function here, or any of this type, and its name in experiment.proto's AttackLoss.
#pragma once

#include <functional>

#include "core/robustness/torch.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// `logits`: N×classes float32. Returns N float32; larger is nearer to misclassification.
using Loss = std::function<torch::Tensor(const torch::Tensor& logits)>;

// All take N int64 `labels`, and the targeted ones N int64 `targets`, the class to be reached, on the logits' device.

// −log softmax(z)_y.
torch::Tensor CrossEntropyLoss(const torch::Tensor& logits, const torch::Tensor& labels);
// log softmax(z)_t.
torch::Tensor TargetedCrossEntropyLoss(const torch::Tensor& logits, const torch::Tensor& targets);
// max_{k≠y} z_k − z_y: above zero exactly where the row is misclassified (equal logits apart). (Carlini and Wagner
// 2017, f6 without its bound.)
torch::Tensor MarginLoss(const torch::Tensor& logits, const torch::Tensor& labels);
// z_t − z_y.
torch::Tensor TargetedMarginLoss(const torch::Tensor& logits, const torch::Tensor& labels,
                                 const torch::Tensor& targets);
// −(z_y − max_{k≠y} z_k) / (z_π1 − z_π3), where π sorts the logits, largest first; the same for a·z + b with a > 0
// (Croce and Hein 2020, eq. 4). REQUIRES: three classes.
torch::Tensor DlrLoss(const torch::Tensor& logits, const torch::Tensor& labels);
// −(z_y − z_t) / (z_π1 − (z_π3 + z_π4) / 2) (Croce and Hein 2020, eq. 7). REQUIRES: four classes.
torch::Tensor TargetedDlrLoss(const torch::Tensor& logits, const torch::Tensor& labels, const torch::Tensor& targets);
// KL(softmax(clean) ‖ softmax(z)) (Zhang et al. 2019); its gradient is zero where z = clean.
torch::Tensor KlLoss(const torch::Tensor& logits, const torch::Tensor& clean_logits);

// Of the named loss; its targeted form where `targets` is defined (kl has none). `clean_logits` are of kl only. The
// references are read at each call, because rows leave.
Loss MakeLoss(v1::AttackLoss loss, const torch::Tensor& labels, const torch::Tensor& targets,
              const torch::Tensor* clean_logits = nullptr);

// The values of a loss and its gradient at the logits.
struct LossSlope {
  torch::Tensor values;    // N float32
  torch::Tensor gradient;  // N×classes float32, of the sum of the values
};
LossSlope SlopeOf(const Loss& loss, const torch::Tensor& logits);

}  // namespace tightrope
