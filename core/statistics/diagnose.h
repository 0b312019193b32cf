// Reasons to doubt a robust accuracy: what an attack saw of the model, and what attacks say of each other. They are
// signs, not verdicts: an accuracy with one of them is still an upper bound, but likely a loose one. (Carlini et al.
// 2019, "On evaluating adversarial robustness", section 5; Croce and Hein 2020, appendix on checks.)
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/statistics/aggregate.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// Adds to each row of robust_accuracy what there is to say of it. Of its own job:
//   zero_gradients            a twentieth or more of the gradients were zero
//   nonfinite_gradients       some gradient had elements that are NaN or infinite
//   probabilities             the model's outputs are probabilities, where logits are expected
//   constant_outputs          they are the same for every example
//   still_improving           a hundredth or more of the examples fell in the last tenth of the search
//   queries_beat_gradients    in an ensemble, attacks without gradients broke what those with gradients had left
//   robust_at_large_radius    more examples stand than one class has, where the ball holds a point that all share
//   stochastic_model          the model draws at random
// and beside the other rows of the same model, training, seed, norm and radius:
//   queries_beat_gradients    an attack without gradients broke more than every attack with them
//   transfer_beats_attack     gradients of a surrogate broke more than this model's own ever did
//   noise_beats_attack        random noise broke more than this attack
//   still_improving           the same attack with fewer steps, queries, restarts or draws broke less
// A difference counts from two examples and a five-hundredth of them on. `rows` are of single seeds; `counts` has their
// jobs.
void Diagnose(const v1::Plan& plan, const std::map<std::string, VerdictCounts>& counts,
              std::vector<v1::MetricRow>& rows);

}  // namespace tightrope
