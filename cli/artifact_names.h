// Names of exported files that a person can read.
#pragma once

#include <string>

#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

// small_cnn-pgd-seed1.safetensors, small_cnn-pgd-seed1-checkpoint.safetensors,
// small_cnn-pgd-seed1-fgsm-linf-0.1-shard000.npy, of a set of invariance-based examples l0-seed1-examples-shard000.npy,
// relative to the directory that is exported to; in a sub-directory named after the experiment where `with_experiment`.
// `threat_model` is "linf-0.1" or "linf-0.1-to-0.4"; where it is empty, the job's digest tells attacks of one name
// apart. Characters that are awkward in file names become '_', so no name, from whomever, leads out of the directory;
// names too long for a file system are cut, and a digest of the whole tells them apart.
std::string ArtifactFileName(const v1::ExportArtifactsResponse& artifact, const std::string& threat_model,
                             bool with_experiment);

}  // namespace tightrope
