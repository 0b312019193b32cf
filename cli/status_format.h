// What `status` prints for people.
#pragma once

#include <string>

#include "cli/text_layout.h"
#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

// Experiments, workers and failures. `stopped`: no coordinator is running, so what is unfinished does not go on.
std::string StatusTable(const v1::StatusResponse& status, bool stopped, const TextStyle& style);

}  // namespace tightrope
