// Experiment → jobs → shards. Pure: no files, no clock; the same arguments give the same digests anywhere.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// SHA-256 of the spec's canonical bytes (deterministic protobuf serialization, behind a version line).
std::string JobDigest(const JobSpec& spec);

// The plan of an experiment. Jobs that several cells need appear once. REQUIRES: ValidateExperiment(experiment, inputs) is OK.
Plan MakePlan(const Experiment& experiment, const Inputs& inputs);

// "train small_cnn / pgd, seed 1", "attack small_cnn / pgd, seed 1, pgd linf 0.1": how messages name a cell's job.
std::string Describe(const Cell& cell, const Job& job);

// Digest by which a result row names the data set: SHA-256 over the two artifact digests.
std::string DatasetDigest(const DatasetRef& dataset);

}  // namespace tightrope
