// What must be there before a job can run, which follows from what it is.
#pragma once

#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// Fills in `depends_on` and `artifacts` from the spec, each job and artifact once: the artifacts of the splits that it
// reads, then files and arrays. REQUIRES: both are empty.
void FillInNeeds(v1::Job& job);

}  // namespace tightrope
