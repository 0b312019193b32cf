#include "core/robustness/evaluation/model_oracle.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/robustness/torch.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class ModelOracle : public Oracle {
 public:
  ModelOracle(Classifier& classifier, const ImageShape& shape) : classifier_(classifier), shape_(shape) {}

  absl::StatusOr<std::vector<int32_t>> Label(const OracleQuestions& questions) const override {
    return WithoutExceptions(
        "the oracle's model cannot be asked about these images", [&]() -> absl::StatusOr<std::vector<int32_t>> {
          ABSL_RETURN_IF_ERROR(CheckQuestions(questions, shape_.elements()));
          ABSL_ASSIGN_OR_RETURN(std::vector<int32_t> labels, PredictImages(classifier_, shape_, questions.images));
          std::replace(labels.begin(), labels.end(), int32_t{-1}, kUndecided);
          return labels;
        });
  }

 private:
  Classifier& classifier_;
  const ImageShape shape_;
};

}  // namespace

std::unique_ptr<Oracle> MakeModelOracle(Classifier& classifier, const ImageShape& shape) {
  return std::make_unique<ModelOracle>(classifier, shape);
}

}  // namespace tightrope
