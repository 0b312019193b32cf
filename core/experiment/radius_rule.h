// What radii a norm takes: of attacks, of adversarial training and of invariance-based examples.
#pragma once

#include <optional>
#include <string>

#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// Why `epsilon` is no radius of `norm` for inputs of `data` (null: not known), and what is one; empty where it is.
// REQUIRES: epsilon is finite and not below 0.
std::optional<std::string> RadiusProblem(v1::Norm norm, double epsilon, const v1::DatasetRef* data);

}  // namespace tightrope
