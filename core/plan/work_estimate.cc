#include "core/plan/work_estimate.h"

#include <algorithm>

namespace tightrope {

uint64_t ExamplesOf(const v1::Job& job) {
  if (job.spec().has_train()) {
    const v1::TrainJob& train = job.spec().train();
    const uint64_t limit = train.training().examples();
    return limit == 0 ? train.data().count() : std::min<uint64_t>(limit, train.data().count());
  }
  uint64_t examples = 0;
  for (const v1::Shard& shard : job.shards()) examples += shard.end() - shard.begin();
  return examples;
}

WorkEstimate EstimateWork(const v1::Job& job) {
  const double examples = static_cast<double>(ExamplesOf(job));
  switch (job.spec().kind_case()) {
    case v1::JobSpec::kTrain: {
      // An update is one pass forward and one backward, after the attack's steps.
      const v1::Training& training = job.spec().train().training();
      const double steps = training.has_pgd() ? training.pgd().steps() : 0;
      const double passes = examples * training.epochs() * (steps + 1);
      return {.forward_passes = passes, .backward_passes = passes};
    }
    case v1::JobSpec::kEvaluate:
      return {.forward_passes = examples, .backward_passes = 0};
    case v1::JobSpec::kAttack: {
      // A pass over clean examples; then for each restart its steps, a look at where the last one led, and one at the
      // witness as it is stored.
      const v1::Attack& attack = job.spec().attack().attack();
      const double steps = attack.has_pgd() ? attack.pgd().steps() : 1;
      const double restarts = attack.has_pgd() ? attack.pgd().restarts() : 1;
      return {.forward_passes = examples * (1 + restarts * (steps + 2)),
              .backward_passes = examples * restarts * steps};
    }
    case v1::JobSpec::KIND_NOT_SET:
      break;
  }
  return {};
}

}  // namespace tightrope
