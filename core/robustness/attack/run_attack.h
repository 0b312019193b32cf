// Runs an attack or a clean evaluation on a range of examples: what every attack shares (batches, the active set,
// verdicts from the stored example, counting passes), so that an attack's own file is only its algorithm.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/dataset/dataset.h"
#include "core/robustness/model/classifier.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

struct EvaluationProgress {
  double fraction = 0;
  uint64_t examples_done = 0;
};
// False stops with CANCELLED.
using EvaluationCallback = std::function<bool(const EvaluationProgress&)>;

struct Witnesses {
  std::vector<float> values;  // rows×C×H×W, as stored
  int64_t rows = 0;
};

struct AttackOutcome {
  std::vector<v1::ExampleRecord> records;  // one an example, ascending
  Witnesses witnesses;                     // row r belongs to the record with witness_row == r
  v1::AttackDiagnostics diagnostics;
};

// `range` is in examples of `data`; random draws are keyed by (job.seed, job_digest); of `job` only the attack, its
// radii and the seed are read. `progress` must not be empty. A witness is recorded only if the model gets it wrong as
// it is stored. Errors: INVALID_ARGUMENT (an attack that cannot be run, a model that does not fit the data, logits that
// are NaN or infinite on clean examples or under attack: names the first), CANCELLED, and RESOURCE_EXHAUSTED and
// INTERNAL of StatusFromException.
// `surrogate`: the model that gradients come from; null: the classifier.
absl::StatusOr<AttackOutcome> RunAttack(const v1::AttackJob& job, const std::string& job_digest, const v1::Shard& range,
                                        const Dataset& data, Classifier& classifier, const EvaluationCallback& progress,
                                        Classifier* surrogate = nullptr);

// Predictions on the examples as they are, one record each. Errors: as RunAttack.
absl::StatusOr<std::vector<v1::ExampleRecord>> RunEvaluation(const v1::Shard& range, const Dataset& data,
                                                             Classifier& classifier,
                                                             const EvaluationCallback& progress);

}  // namespace tightrope
