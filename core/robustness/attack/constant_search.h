// The search for the constant c that Carlini-Wagner and EAD share (Carlini and Wagner 2017, section V.B; numbers as in
// their code, which EAD's follows): both minimise a distance plus c·f, f = max(κ − margin, 0), by descents from the
// example, one for each c. c is too small where a descent never reached the confidence κ, and is then ten times as
// large in the next one; once one was large enough, the next is half way between the largest that failed and the
// smallest that did not. Every row has its own.
//
// No descent ends early, as the authors' do when the objective of a whole batch falls by no more than a ten-thousandth
// in a tenth of the steps: a row would depend on its neighbours, and asked of a row alone it ends descents at once from
// pixels that are 0 or 1, where tanh is flat, and from examples next to the boundary.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "core/robustness/attack/active_batch.h"
#include "core/robustness/attack/loss.h"
#include "core/robustness/torch.h"

namespace tightrope {

// Lives while its batch is searched; rows that leave the batch leave it, too.
class ConstantSearch {
 public:
  struct Options {
    uint32_t search_steps;  // descents
    double initial_const;
    double confidence;
    uint32_t targets;  // above 0: the margin is that of a row's run-th target
  };

  ConstantSearch(ActiveBatch& batch, const Options& options);

  // Calls `descend` once for each constant, as long as rows are left.
  absl::Status Run(const std::function<absl::Status()>& descend);

  const Loss& margin() const { return margin_; }
  const torch::Tensor& constants() const { return constants_; }  // N float32
  // The derivative of c·f by the margin, −c below the confidence, else 0: N float32.
  torch::Tensor PenaltySlope(const torch::Tensor& margins) const;
  // Takes down what a look of the descent saw: N float32.
  void See(const torch::Tensor& margins);

 private:
  void SetNext();

  ActiveBatch& batch_;
  const Options options_;
  torch::Tensor targets_;
  torch::Tensor constants_;
  torch::Tensor lower_, upper_;  // the largest that failed, the smallest that did not; infinite: there is none
  torch::Tensor reached_;        // the confidence, in this descent
  const Loss margin_;
  ActiveBatch::Following following_;
};

}  // namespace tightrope
