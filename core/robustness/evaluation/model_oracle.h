// A model as the oracle: its prediction is the label.
#pragma once

#include <memory>

#include "core/oracle/oracle.h"
#include "core/robustness/evaluation/predict_images.h"
#include "core/robustness/model/classifier.h"

namespace tightrope {

// Answers kUndecided where the model's logits are not finite. `shape`: of the images. Unlike other oracles it is
// not thread-safe, because the classifier is not. REQUIRES: the classifier lives as long as the oracle. Errors of Label
// are, besides those of every oracle, those of a model that does not take such images.
std::unique_ptr<Oracle> MakeModelOracle(Classifier& classifier, const ImageShape& shape);

}  // namespace tightrope
