#include "core/plan/work_estimate.h"

#include <algorithm>

#include "core/experiment/attack_table.h"
#include "core/plan/plan.h"

namespace tightrope {
namespace {

// Runs of a gradient attack: for each its steps, a look at where the last one led, and one at the witness as it is
// stored.
WorkEstimate Runs(double runs, double steps, double passes_in_a_step = 1) {
  return {.forward_passes = runs * (steps * passes_in_a_step + 2), .backward_passes = runs * steps * passes_in_a_step};
}

double RunsOf(double restarts, double targets) { return restarts * std::max(1.0, targets); }

// Boundary steps look at where they led as well; without targets they take a gradient for each other class.
WorkEstimate FabRuns(double restarts, double targets, double steps, double classes) {
  const double runs = RunsOf(restarts, targets);
  const double gradients = targets > 0 ? 1 : std::max(1.0, classes - 1);
  return {.forward_passes = runs * (steps * (gradients + 1) + 2), .backward_passes = runs * steps * gradients};
}

// Of one example in one ball; for an attack that needs no ball, in all.
WorkEstimate EstimateMethod(const v1::Attack& attack, double classes) {
  switch (attack.method_case()) {
    case v1::Attack::kPgd:
      return Runs(attack.pgd().restarts(), attack.pgd().steps());
    case v1::Attack::kApgd:
      return Runs(RunsOf(attack.apgd().restarts(), attack.apgd().targets()), attack.apgd().steps(),
                  attack.apgd().eot());
    case v1::Attack::kFab:
      return FabRuns(attack.fab().restarts(), attack.fab().targets(), attack.fab().steps(), classes);
    case v1::Attack::kSquare:
      return {.forward_passes = static_cast<double>(attack.square().restarts()) * attack.square().queries(),
              .backward_passes = 0};
    case v1::Attack::kNoise:
      return {.forward_passes = static_cast<double>(attack.noise().draws()), .backward_passes = 0};
    case v1::Attack::kFgsm:
      return Runs(1, 1);
    case v1::Attack::kAutoattack:  // several
    case v1::Attack::METHOD_NOT_SET:
      break;
  }
  return {};
}

// Of one example: a pass over it as it is, then the method in each ball.
WorkEstimate EstimateAttack(const v1::AttackJob& job) {
  const double balls = static_cast<double>(RadiiOf(job).size());
  WorkEstimate sum{.forward_passes = 1, .backward_passes = 0};
  const auto add = [&](const v1::Attack& attack) {
    const AttackFacts* const facts = FindAttack(attack);
    const double times = facts != nullptr && facts->minimum_norm ? 1 : balls;
    const WorkEstimate once = EstimateMethod(attack, job.data().classes());
    sum.forward_passes += times * once.forward_passes;
    sum.backward_passes += times * once.backward_passes;
  };
  if (!job.attack().has_autoattack()) {
    add(job.attack());
  } else {
    for (const EnsembleMember& member :
         MembersOf(job.attack().autoattack(), job.attack().norm(), job.data().classes())) {
      add(member.attack);
    }
  }
  return sum;
}

}  // namespace

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
      const v1::AttackJob& attack = job.spec().attack();
      WorkEstimate one = EstimateAttack(attack);
      if (attack.attack().has_query_budget()) {
        const auto budget = static_cast<double>(attack.attack().query_budget());
        one.forward_passes = std::min(one.forward_passes, budget);
        one.backward_passes = std::min(one.backward_passes, budget);
      }
      return {.forward_passes = examples * one.forward_passes, .backward_passes = examples * one.backward_passes};
    }
    case v1::JobSpec::KIND_NOT_SET:
      break;
  }
  return {};
}

}  // namespace tightrope
