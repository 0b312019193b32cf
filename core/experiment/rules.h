// What must hold between the values of an experiment, beyond the type and the bounds of each. One set of rules serves
// the file reader, which points at the text, and the check of messages from the network, which names field paths.
#pragma once

#include <functional>
#include <string>

#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// Where rules report to. Paths are of fields, after expansion: "training[2].pgd.epsilon".
struct RuleFindings {
  std::function<void(const std::string& path, const std::string& message)> report;
  // False where there is no readable value at the path or for something around it, so that a rule about it would only
  // repeat a mistake.
  std::function<bool(const std::string& path)> readable;
};

// The data that rules compare with; a split is null where it could not be resolved, and then what needs it is not
// checked. Likewise arrays that `inputs` lacks.
struct RuleData {
  const v1::Inputs& inputs;
  const v1::DatasetRef* test = nullptr;
  const v1::DatasetRef* train = nullptr;
};

// Larger experiments are refused: they would not fit in memory as a plan.
inline constexpr uint64_t kMaxCells = 1'000'000;
inline constexpr uint64_t kMaxShards = 10'000'000;

// REQUIRES: every value that is `readable` is within the bounds of its (key) option. Derived values are filled in.
void CheckRules(const v1::Experiment& experiment, const RuleData& data, const RuleFindings& findings);

// True where the model has to be trained here: it is chosen, and not a TorchScript file.
bool NeedsTraining(const v1::Model& model);

// True where something is made from the training split: a model, an alignment, examples or an oracle.
bool NeedsTrainingSplit(const v1::Experiment& experiment);

}  // namespace tightrope
