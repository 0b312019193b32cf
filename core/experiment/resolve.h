// What the names in an experiment stand for: data-set splits and TorchScript files, found, checked and digested.
#pragma once

#include <string>

#include "core/experiment/experiment_file.h"
#include "core/experiment/mistake.h"
#include "core/experiment/schema_reader.h"

namespace tightrope {

// Fills in `file.inputs` and `file.uploads` from `file.experiment`. What cannot be found is added to `mistakes` at the
// place of its name, and left out. `path` is the experiment file: relative TorchScript paths begin in its directory.
void ResolveInputs(const ReadMessage& read, const std::string& path, const ReadOptions& options, ExperimentFile& file,
                   MistakeList& mistakes);

// Fills in the values whose default follows from other keys or from the data: every `default_rule` but the names and
// those of attacks, which stay absent: attacks that differ in the radius only are to be equal in everything else.
void FillInDerivedValues(const ReadMessage& read, const v1::Inputs& inputs, v1::Experiment& experiment);

}  // namespace tightrope
