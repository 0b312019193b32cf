#include "core/robustness/evaluation/evaluate_invariance.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/robustness/attack/rows_per_batch.h"
#include "core/robustness/evaluation/predict_images.h"
#include "core/robustness/invariance/input_values.h"
#include "core/robustness/torch.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

class Evaluation {
 public:
  Evaluation(const InvarianceSources& sources, absl::Span<const float> examples, Classifier& classifier,
             const Oracle& oracle, const EvaluationCallback& progress)
      : sources_(sources),
        examples_(examples),
        classifier_(classifier),
        oracle_(oracle),
        progress_(progress),
        elements_(ShapeOf(sources.data).elements()),
        positions_(sources.indices.size()) {
    std::iota(positions_.begin(), positions_.end(), sources.begin);
  }

  absl::StatusOr<std::vector<v1::ExampleRecord>> Run() {
    ABSL_RETURN_IF_ERROR(CheckSources(sources_));
    if (examples_.size() != positions_.size() * elements_) {
      return absl::InvalidArgumentError(absl::StrCat("there must be one example a source, of ", elements_,
                                                     " values: got ", examples_.size(), " values for ",
                                                     positions_.size(), " sources"));
    }
    ABSL_RETURN_IF_ERROR(CheckQuestions(Questions(0, positions_.size()), elements_));
    const size_t rows = RowsPerBatch(positions_.size(), elements_, classifier_);
    for (size_t begin = 0; begin < positions_.size(); begin += rows) {
      const size_t end = std::min(begin + rows, positions_.size());
      ABSL_RETURN_IF_ERROR(AddBatch(begin, end));
      if (!progress_(
              {.fraction = static_cast<double>(end) / static_cast<double>(positions_.size()), .examples_done = end})) {
        return absl::CancelledError("stopped by its caller");
      }
    }
    return std::move(records_);
  }

 private:
  OracleQuestions Questions(size_t begin, size_t end) const {
    return {.examples = absl::MakeConstSpan(positions_).subspan(begin, end - begin),
            .sources = sources_.indices.subspan(begin, end - begin),
            .images = examples_.subspan(begin * elements_, (end - begin) * elements_)};
  }

  absl::Status AddBatch(size_t begin, size_t end) {
    const Dataset& data = sources_.data;
    const ImageShape shape = ShapeOf(data);
    const OracleQuestions questions = Questions(begin, end);
    std::vector<float> clean;
    for (const uint64_t source : questions.sources) {
      const std::vector<float> values =
          InputValues(absl::MakeConstSpan(data.pixels).subspan(source * elements_, elements_));
      clean.insert(clean.end(), values.begin(), values.end());
    }
    ABSL_ASSIGN_OR_RETURN(const std::vector<int32_t> of_sources, PredictImages(classifier_, shape, clean));
    ABSL_ASSIGN_OR_RETURN(const std::vector<int32_t> of_examples, PredictImages(classifier_, shape, questions.images));
    ABSL_ASSIGN_OR_RETURN(const std::vector<int32_t> labels, oracle_.Label(questions));
    if (labels.size() != end - begin) {
      return absl::InternalError(
          absl::StrCat("an oracle gave ", labels.size(), " labels for ", end - begin, " examples; give one each"));
    }
    for (size_t i = 0; i < labels.size(); ++i) {
      v1::ExampleRecord& record = records_.emplace_back();
      record.set_index(questions.examples[i]);
      record.set_label(data.labels[questions.sources[i]]);
      record.set_clean_prediction(of_sources[i]);
      record.set_adversarial_prediction(of_examples[i]);
      record.set_forward_passes(2);
      record.set_witness_row(-1);
      record.set_source(questions.sources[i]);
      record.set_oracle_label(labels[i]);
      *record.mutable_nearest() = InputDistances(absl::MakeConstSpan(clean).subspan(i * elements_, elements_),
                                                 questions.images.subspan(i * elements_, elements_));
    }
    return absl::OkStatus();
  }

  const InvarianceSources& sources_;
  const absl::Span<const float> examples_;
  Classifier& classifier_;
  const Oracle& oracle_;
  const EvaluationCallback& progress_;
  const size_t elements_;
  std::vector<uint64_t> positions_;
  std::vector<v1::ExampleRecord> records_;
};

}  // namespace

absl::StatusOr<std::vector<v1::ExampleRecord>> RunInvarianceEvaluation(const InvarianceSources& sources,
                                                                       absl::Span<const float> examples,
                                                                       Classifier& classifier, const Oracle& oracle,
                                                                       const EvaluationCallback& progress) {
  return WithoutExceptions("the model cannot be evaluated on these examples",
                           [&] { return Evaluation(sources, examples, classifier, oracle, progress).Run(); });
}

}  // namespace tightrope
