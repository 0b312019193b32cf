// The names under which results show models, trainings, attacks, distances and sets of invariance-based examples.
#pragma once

#include "core/experiment/schema_reader.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// Fills in the names. A name begins with what the file gives or, without that, with what the entry is: `small_cnn`, the
// stem of a file of TorchScript or of examples, `pgd`, the norm of a distance. The keys that a list expanded follow:
// `pgd epsilon=0.1`. Not followed by norm and epsilon in attacks, because results show those beside the name, and not
// by what an ungiven name already says.
void FillInNames(const ReadMessage& read, v1::Experiment& experiment);

// The field name of the architecture or method: `small_cnn`, `pgd`; "" where none is chosen.
std::string ArchitectureName(const v1::Architecture& architecture);
std::string MethodName(const v1::Training& training);
std::string MethodName(const v1::Attack& attack);
std::string MethodName(const v1::InvarianceSet& set);

}  // namespace tightrope
