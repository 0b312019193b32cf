// Experiment → jobs → shards. Pure: no files, no clock; the same arguments give the same digests anywhere.
#pragma once

#include <string>
#include <vector>

#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// SHA-256 of the spec's canonical bytes (deterministic protobuf serialization, behind a version line).
std::string JobDigest(const v1::JobSpec& spec);

// The plan of an experiment. Jobs that several cells need appear once: equal digests are one job.
//
// Jobs: training in the order of the grid, because it takes longest, then the making of invariance-based examples, then
// the rest in the order of the cells, so that what a job depends on precedes it. A job's artifacts are those of the
// splits that it reads, and the files and arrays that it names. Attacks with the shared protocol that are equal in
// everything but name and epsilon are one job with all their radii.
//
// Cells: model, training, seed in the order of the file; for each the training (attack is empty as in an evaluation;
// the job's kind tells them apart), the evaluation, every attack, then every set of invariance-based examples.
// TorchScript models have no training, and their evaluation, and attacks that draw nothing at random, are one job that
// the cells of all seeds share. After them, without a model: each set that is made here, once for each seed (which
// share a job where nothing is drawn at random), then each alignment.
//
// The positions in a set's sources are what its jobs' shards count. Targets, an Alignment's radii and everything else
// that has no say in a job's result is not part of it, see InvarianceJob.
//
// Specs carry no names, neither the user's nor the data set's. REQUIRES: ValidateExperiment(experiment, inputs) is OK.
v1::Plan MakePlan(const v1::Experiment& experiment, const v1::Inputs& inputs);

// The radii of an attack job, ascending. Jobs before revision 3, which old stores hold, have one, in the attack.
std::vector<double> RadiiOf(const v1::AttackJob& job);

// The radius that a cell names of its job.
double RadiusOf(const v1::Cell& cell, const v1::AttackJob& job);

// "linf", "l2", "l1" or "l0", as in the experiment file.
std::string NormName(v1::Norm norm);

// "train", "evaluate", "attack", "alignment", "invariance" or "evaluate_invariance": how the store and messages name a
// kind of job.
const char* JobKind(const v1::JobSpec& spec);

// "train small_cnn / pgd, seed 1", "attack small_cnn / pgd, seed 1, pgd linf 0.1": how messages name a cell's job. Of
// several radii: "pgd linf 0.1 to 0.4". Others: "make NAME, seed 1", "evaluate small_cnn / pgd, seed 1, on NAME",
// "alignment NAME of train".
std::string Describe(const v1::Cell& cell, const v1::Job& job);

// Digest by which a result row names the data set: SHA-256 over the two artifact digests, whatever the set is called.
std::string DatasetDigest(const v1::DatasetRef& dataset);

}  // namespace tightrope
