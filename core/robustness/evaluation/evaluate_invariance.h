// A model on a shard of invariance-based examples and on their sources, beside what the oracle says of them.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/oracle/oracle.h"
#include "core/robustness/attack/run_attack.h"
#include "core/robustness/invariance/invariance_sources.h"
#include "core/robustness/model/classifier.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// One record an example, in their order: position, source, label, the predictions on the source and on the example (-1
// where the logits are not finite, which ends nothing here), the oracle's label of the example, and as `nearest` the
// example's distances from its source. `examples`: a row a source, each of the shape of the sources' data. `progress`
// must not be empty; it is called after every batch. Errors: INVALID_ARGUMENT (sources that are no examples, more or
// fewer rows than sources, values outside [0, 1], a model that does not fit the data), those of the oracle, CANCELLED,
// and RESOURCE_EXHAUSTED and INTERNAL of StatusFromException.
absl::StatusOr<std::vector<v1::ExampleRecord>> RunInvarianceEvaluation(const InvarianceSources& sources,
                                                                       absl::Span<const float> examples,
                                                                       Classifier& classifier, const Oracle& oracle,
                                                                       const EvaluationCallback& progress);

}  // namespace tightrope
