// What is known of a set of invariance-based examples without making it: the rules, the reader and the planner ask
// here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// A job makes the examples: the set has a method, and it is not `file`.
bool IsMadeHere(const v1::InvarianceSet& set);

// The seed has a say in the examples.
bool DrawsAtRandom(const v1::InvarianceSet& set);

// How many examples of the training split are candidates; empty where the method has none.
std::optional<uint64_t> CandidateCount(const v1::InvarianceSet& set);
// REQUIRES: the method has candidates.
void SetCandidates(v1::InvarianceSet& set, uint64_t candidates);

// `targets` as written; empty where the method has none.
std::optional<std::string> TargetsOf(const v1::InvarianceSet& set);

// Examples that the set is made from; 0 where that is not known, because the inputs lack the array of their indices.
uint64_t CountSources(const v1::InvarianceSet& set, const v1::Experiment& experiment, const v1::Inputs& inputs);

}  // namespace tightrope
