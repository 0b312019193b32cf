// What is said when a run is over.
#pragma once

#include <string>

#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

// "28 jobs: 24 done, 4 cached", "28 jobs: all cached; nothing had to run", "28 jobs: 20 done, 3 failed, 5 cancelled".
std::string JobsSentence(const v1::StateCounts& jobs);

// A paragraph for each failed job: what it was, its digest, why it failed. Empty where none failed.
std::string FailuresText(const v1::ExperimentStatus& experiment);

// A sentence on shards that gave two different results; empty where there are none.
std::string NondeterminismText(const v1::ExperimentStatus& experiment);

}  // namespace tightrope
