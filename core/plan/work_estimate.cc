#include "core/plan/work_estimate.h"

#include <algorithm>
#include <vector>

#include "core/experiment/attack_table.h"
#include "core/experiment/invariance_set.h"
#include "core/plan/plan.h"

namespace tightrope {
namespace {

// Of one example: a pass over it as it is, then the method in each ball, and a look at its witness as it is stored.
WorkEstimate EstimateAttack(const v1::AttackJob& job) {
  const std::vector<double> radii = RadiiOf(job);
  WorkEstimate sum{.forward_passes = 1, .backward_passes = 0};
  const auto add = [&](const v1::Attack& attack) {
    const AttackFacts* const facts = FindAttack(attack);
    if (facts == nullptr || facts->passes == nullptr) return;
    for (size_t i = facts->minimum_norm ? radii.size() - 1 : 0; i < radii.size(); ++i) {
      const Passes passes = facts->passes(WithTargetsAmong(attack, job.data().classes()), job.data(), radii[i]);
      sum.forward_passes += passes.forward + 1;
      sum.backward_passes += passes.backward;
    }
  };
  if (!job.attack().has_autoattack()) {
    add(job.attack());
    return sum;
  }
  for (const EnsembleMember& member : MembersOf(job.attack().autoattack(), job.attack().norm(), job.data().classes())) {
    add(member.attack);
  }
  return sum;
}

// Images that are compared with one in the time of a forward pass, one by one and in a search over a grid.
constexpr double kComparedInAPass = 1000;
constexpr double kSearchedInAPass = 10'000;

double GridPoints(uint32_t shifts, uint32_t rotations) { return static_cast<double>(shifts) * shifts * rotations; }

// Of one source.
double PassesToMake(const v1::InvarianceSet& set) {
  const auto candidates = static_cast<double>(CandidateCount(set).value_or(0));
  const v1::InterpolatedInvariance& line = set.interpolate();
  if (set.has_linf()) {
    return candidates * GridPoints(set.linf().shifts(), set.linf().rotations()) / kSearchedInAPass;
  }
  if (set.has_interpolate() && line.path() == v1::INTERPOLATION_PATH_TRANSFORMED) {
    return candidates * GridPoints(line.shifts(), line.rotations()) / kSearchedInAPass;
  }
  return candidates * (set.has_l0() ? set.l0().transforms() : 1) / kComparedInAPass;
}

// Of one example: it and its source, and what the oracle asks.
double PassesToEvaluate(const v1::EvaluateInvarianceJob& job) {
  const v1::OracleRef& oracle = job.oracle();
  if (oracle.has_torchscript_sha256()) return 3;
  const uint64_t voters = oracle.training().count() - std::min(oracle.nearest().first(), oracle.training().count());
  return 2 + static_cast<double>(voters) / kComparedInAPass;
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
    case v1::JobSpec::kAlignment: {
      const auto compared = static_cast<double>(job.spec().alignment().data().count());
      return {.forward_passes = examples * compared / kComparedInAPass, .backward_passes = 0};
    }
    case v1::JobSpec::kInvariance:
      return {.forward_passes = examples * PassesToMake(job.spec().invariance().set()), .backward_passes = 0};
    case v1::JobSpec::kEvaluateInvariance:
      return {.forward_passes = examples * PassesToEvaluate(job.spec().evaluate_invariance()), .backward_passes = 0};
    case v1::JobSpec::KIND_NOT_SET:
      break;
  }
  return {};
}

}  // namespace tightrope
