// The rules of `alignment` and `invariance`: the part of CheckRules that is about distances and invariance-based
// examples.
#pragma once

#include "core/experiment/rules.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// REQUIRES: as CheckRules.
void CheckInvarianceRules(const v1::Experiment& experiment, const RuleData& data, const RuleFindings& findings);

}  // namespace tightrope
