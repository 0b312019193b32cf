// Reads a YAML experiment file into a validated Experiment: schema-driven (see proto/tightrope/v1/experiment.proto),
// every mistake reported at once with where it is and what to write instead, lists expanded to the grid, defaults
// filled in.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// An experiment as read: a grid, with every default filled in.
struct ExperimentFile {
  v1::Experiment experiment;
  v1::Inputs inputs;   // data sets, files and arrays, resolved to digests
  std::string source;  // the YAML text
  // The artifacts that the inputs name, each once. The bytes of a data set or an array are kept; a TorchScript file or
  // a table of labels is read on upload.
  struct Upload {
    std::string sha256;
    std::string bytes;  // used when `path` is empty
    std::string path;
  };
  std::vector<Upload> uploads;
};

struct ReadOptions {
  std::vector<std::string> dataset_search_path;
};

// Reads, validates and resolves. On mistakes: INVALID_ARGUMENT whose message has one line a mistake, in the order of
// the file: "FILE:LINE:COLUMN: message"; CountMistakes (mistake.h) says how many. A file that can't be read at all, or
// a directory, is INVALID_ARGUMENT too, and counts none. NOT_FOUND: no such file.
absl::StatusOr<ExperimentFile> ReadExperimentFile(const std::string& path, const ReadOptions& options);

// The same on text; `path` only names it (and is what the paths in it are relative to).
absl::StatusOr<ExperimentFile> ParseExperimentFile(const std::string& text, const std::string& path,
                                                   const ReadOptions& options);

// Checks a message that did not come from our reader (a submission over the network): the same ranges and rules,
// without positions. INVALID_ARGUMENT lists every mistake by field path.
absl::Status ValidateExperiment(const v1::Experiment& experiment, const v1::Inputs& inputs);

}  // namespace tightrope
