#include "core/experiment/invariance_set.h"

namespace tightrope {

bool IsMadeHere(const v1::InvarianceSet& set) { return set.has_linf() || set.has_l0() || set.has_interpolate(); }

bool DrawsAtRandom(const v1::InvarianceSet& set) { return set.has_l0(); }

std::optional<uint64_t> CandidateCount(const v1::InvarianceSet& set) {
  if (set.has_linf()) return set.linf().candidates();
  if (set.has_l0()) return set.l0().candidates();
  if (set.has_interpolate()) return set.interpolate().candidates();
  return std::nullopt;
}

void SetCandidates(v1::InvarianceSet& set, uint64_t candidates) {
  if (set.has_linf()) set.mutable_linf()->set_candidates(candidates);
  if (set.has_l0()) set.mutable_l0()->set_candidates(candidates);
  if (set.has_interpolate()) set.mutable_interpolate()->set_candidates(candidates);
}

std::optional<std::string> TargetsOf(const v1::InvarianceSet& set) {
  if (set.has_linf()) return set.linf().targets();
  if (set.has_interpolate()) return set.interpolate().targets();
  return std::nullopt;
}

uint64_t CountSources(const v1::InvarianceSet& set, const v1::Experiment& experiment, const v1::Inputs& inputs) {
  if (!set.has_sources()) return experiment.examples().count();
  const auto array = inputs.arrays().find(set.sources());
  return array == inputs.arrays().end() ? 0 : array->second.count();
}

}  // namespace tightrope
