// What the names in an experiment stand for: data-set splits and files, found, checked and digested.
#pragma once

#include <string>

#include "core/experiment/experiment_file.h"
#include "core/experiment/mistake.h"
#include "core/experiment/schema_reader.h"

namespace tightrope {

// Fills in `file.inputs` and `file.uploads` from `file.experiment`, and what `white` is where a file of examples does
// not say it. What cannot be found or read is added to `mistakes` at the place of its name, and left out. `path` is the
// experiment file: relative paths begin in its directory.
void ResolveInputs(const ReadMessage& read, const std::string& path, const ReadOptions& options, ExperimentFile& file,
                   MistakeList& mistakes);

// Fills in the values whose default follows from other keys or from the data: every `default_rule` but the names and
// those of attacks and of `sources`, which stay absent: attacks that differ in the radius only are to be equal in
// everything else.
void FillInDerivedValues(const ReadMessage& read, const v1::Inputs& inputs, v1::Experiment& experiment);

// Reads the tables of human labels, which must have a row for every example of their set. REQUIRES: values are filled
// in.
void CheckLabelTables(const ReadMessage& read, const std::string& path, const ExperimentFile& file,
                      MistakeList& mistakes);

}  // namespace tightrope
