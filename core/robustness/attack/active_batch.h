// What an attack sees: the examples of one batch that nothing has broken yet, and the model through an eye that judges
// every point it is shown. An attack only says where to look next.
//
//   torch::Tensor points = batch.RandomStart();
//   while (...) {
//     ABSL_ASSIGN_OR_RETURN(torch::Tensor gradient, batch.Gradient(points));  // rows it broke are gone from both
//     if (batch.empty()) break;
//     batch.ball().Ascend(points, gradient, step_size);
//   }
//   return batch.Judge(points);
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/robustness/attack/ball.h"
#include "core/robustness/model/classifier.h"
#include "core/robustness/random_stream.h"
#include "core/robustness/torch.h"

namespace tightrope {

// The class of the largest logit in each row, the first of several; -1 where a logit of the row is not finite.
// REQUIRES: N×classes float32.
std::vector<int32_t> Predictions(const torch::Tensor& logits);

// What an attack ends with where Predictions says -1: INVALID_ARGUMENT, naming the example. Whether such a model is
// robust cannot be said, and a verdict either way would be counted.
absl::Status NotFinite(uint32_t example);

// The sum over rows of the cross-entropy. `logits`: N×classes float32; `labels`: N int64 on the same device.
torch::Tensor CrossEntropy(const torch::Tensor& logits, const torch::Tensor& labels);
// Its gradient at the logits, N×classes: softmax minus one at the label.
torch::Tensor CrossEntropyGradient(const torch::Tensor& logits, const torch::Tensor& labels);

// How an example stands in the attack so far.
struct Standing {
  uint32_t example = 0;  // index in the data set
  uint64_t forward_passes = 0;
  uint64_t backward_passes = 0;
  std::vector<float> witness;           // a feasible point that the model got wrong; empty: none yet
  int32_t adversarial_prediction = -1;  // at the witness as it is stored; -1 until that was asked
};

// Not thread-safe. Its methods may throw c10::Error, as Classifier::Logits does; RunAttack turns that into a status.
class ActiveBatch {
 public:
  // What all batches of a run share; must outlive them.
  struct Run {
    Classifier& classifier;
    const RandomStream& stream;
    std::function<absl::Status()> looked;  // after every look at the model; an error (CANCELLED) ends the attack
  };

  // `labels`: N int64 on the ball's device. `standings`: one a row, without witness; updated here.
  ActiveBatch(const Run& run, Ball ball, torch::Tensor labels, std::vector<Standing*> standings, uint32_t restart);

  bool empty() const { return standings_.empty(); }
  uint32_t restart() const { return restart_; }
  const Ball& ball() const { return ball_; }
  // The examples themselves, to be changed at will.
  torch::Tensor Inputs() const { return ball_.centers().clone(); }
  // Uniform in the ball, a function of (seed, job, example, restart).
  torch::Tensor RandomStart() const;

  // Looks at the model at feasible `points` (N×C×H×W, a row an example). Examples that it gets wrong leave the batch,
  // and their rows leave `points`. Errors, here and below: NotFinite, and what `looked` returns.
  absl::Status Judge(torch::Tensor& points);
  // The same, and returns the gradient of CrossEntropy at the points that remain; the caller may change it.
  absl::StatusOr<torch::Tensor> Gradient(torch::Tensor& points);

 private:
  torch::Tensor Logits(const torch::Tensor& points, absl::Span<Standing* const> standings);
  // Takes the witnesses among `points`; returns the rows that remain.
  absl::StatusOr<std::vector<int64_t>> TakeWitnesses(const torch::Tensor& points, const torch::Tensor& logits);
  void Keep(const torch::Tensor& rows, const std::vector<int64_t>& indices);
  torch::Tensor Rows(const std::vector<int64_t>& indices) const;

  const Run& run_;
  Ball ball_;
  torch::Tensor labels_;
  std::vector<int64_t> label_values_;
  std::vector<Standing*> standings_;
  uint32_t restart_;
};

}  // namespace tightrope
