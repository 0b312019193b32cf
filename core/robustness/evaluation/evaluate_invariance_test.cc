#include "core/robustness/evaluation/evaluate_invariance.h"

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/oracle/label_table.h"
#include "core/robustness/evaluation/evaluation_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const EvaluationCallback kGoOn = [](const EvaluationProgress&) { return true; };

// Says one label less than it is asked for.
class ShortOracle : public Oracle {
 public:
  absl::StatusOr<std::vector<int32_t>> Label(const OracleQuestions& questions) const override {
    return std::vector<int32_t>(questions.examples.size() - 1);
  }
};

class EvaluateInvarianceTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<v1::ExampleRecord>> Evaluate(const std::vector<uint64_t>& sources,
                                                          const std::vector<float>& examples, const Oracle& oracle,
                                                          const EvaluationCallback& progress = kGoOn) {
    return RunInvarianceEvaluation({.begin = 10, .indices = sources, .data = data_}, examples, classifier_, oracle,
                                   progress);
  }

  const Dataset data_ = DarkGreyAndWhite();
  BrightnessClassifier classifier_;
  const std::unique_ptr<Oracle> by_source_ = MakeDatasetOracle(data_.labels);
};

TEST_F(EvaluateInvarianceTest, RecordsSayWhatTheModelAndTheOracleSay) {
  const auto people =
      MakeTableOracle(*LabelTable::Parse("index,ann\n10,1\n11,none of these\n12,2\n", {.examples = 14, .classes = 3}));
  const auto records = Evaluate({3, 0, 2, 0}, {0.5f, 0, 1, 0, 0, 1, 0, 0}, *people);
  ASSERT_OK(records.status());
  ASSERT_EQ(records->size(), 4u);
  std::vector<uint64_t> positions, sources;
  std::vector<int32_t> labels, on_sources, on_examples, oracle_labels;
  for (const v1::ExampleRecord& record : *records) {
    positions.push_back(record.index());
    sources.push_back(record.source());
    labels.push_back(record.label());
    on_sources.push_back(record.clean_prediction());
    on_examples.push_back(record.adversarial_prediction());
    oracle_labels.push_back(record.oracle_label());
    EXPECT_EQ(record.verdict(), v1::VERDICT_UNSPECIFIED);
    EXPECT_EQ(record.witness_row(), -1);
    EXPECT_FALSE(record.has_target());
  }
  EXPECT_THAT(positions, ElementsAre(10, 11, 12, 13));
  EXPECT_THAT(sources, ElementsAre(3, 0, 2, 0));
  EXPECT_THAT(labels, ElementsAre(0, 0, 2, 0));
  EXPECT_THAT(on_sources, ElementsAre(-1, 0, 2, 0));
  EXPECT_THAT(on_examples, ElementsAre(1, 2, -1, 0));
  EXPECT_THAT(oracle_labels, ElementsAre(1, kNoneOfThese, 2, kUndecided));
  const auto distances = [&](size_t row) {
    const v1::ExampleRecord::Nearest& nearest = (*records)[row].nearest();
    return std::vector<double>{nearest.linf(), nearest.l2(), nearest.l1(), nearest.l0()};
  };
  EXPECT_THAT(distances(0), ElementsAre(1, std::sqrt(1.25), 1.5, 2));
  EXPECT_THAT(distances(1), ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(distances(3), ElementsAre(0, 0, 0, 0));
  EXPECT_TRUE((*records)[3].has_nearest());
}

TEST_F(EvaluateInvarianceTest, TheOracleOfTheDataSetGivesTheSourcesLabel) {
  const auto records = Evaluate({1, 2}, {0, 0, 0, 0}, *by_source_);
  ASSERT_OK(records.status());
  EXPECT_EQ((*records)[0].oracle_label(), 1);
  EXPECT_EQ((*records)[1].oracle_label(), 2);
}

TEST_F(EvaluateInvarianceTest, ManyExamplesAreAskedAboutInBatchesAndStopWhenToldTo) {
  constexpr size_t kExamples = 5000;
  const std::vector<uint64_t> sources(kExamples, 2);
  std::vector<float> examples;
  for (size_t i = 0; i < kExamples; ++i) {
    examples.push_back(static_cast<float>(i % 3) / 2);
    examples.push_back(0);
  }
  std::vector<uint64_t> done;
  const EvaluationCallback watch = [&](const EvaluationProgress& progress) {
    EXPECT_EQ(progress.fraction, static_cast<double>(progress.examples_done) / kExamples);
    done.push_back(progress.examples_done);
    return true;
  };
  const auto records = Evaluate(sources, examples, *by_source_, watch);
  ASSERT_OK(records.status());
  EXPECT_THAT(done, ElementsAre(2500, 5000));
  ASSERT_EQ(records->size(), kExamples);
  for (size_t i = 0; i < kExamples; ++i) {
    ASSERT_EQ((*records)[i].index(), 10 + i);
    ASSERT_EQ((*records)[i].adversarial_prediction(), static_cast<int32_t>(i % 3));
  }
  EXPECT_THAT(Evaluate(sources, examples, *by_source_, [](const EvaluationProgress&) { return false; }).status(),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped")));
}

TEST_F(EvaluateInvarianceTest, NoExamplesGiveNoRecords) {
  const auto records = Evaluate({}, {}, *by_source_);
  ASSERT_OK(records.status());
  EXPECT_TRUE(records->empty());
}

TEST_F(EvaluateInvarianceTest, WhatCannotBeEvaluatedIsRefused) {
  const auto refused = [&](const std::vector<uint64_t>& sources, const std::vector<float>& examples,
                           const std::string& message) {
    EXPECT_THAT(Evaluate(sources, examples, *by_source_).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused({0, 4}, {0, 0, 0, 0}, "data of 4; at position 11: 4");
  refused({0, 1}, {0, 0}, "one example a source, of 2 values: got 2 values for 2 sources");
  refused({0, 1}, {0, 0, 0, 255}, "divide grey levels by 255: got 255 in example 11");
  refused({0, 1}, {0, -0.1f, 0, 0}, "got -0.1 in example 10");
  refused({0, 1}, {0, 0, std::numeric_limits<float>::quiet_NaN(), 0}, "got nan in example 11");
}

TEST_F(EvaluateInvarianceTest, WhatTheOracleDoesNotKnowIsItsError) {
  const auto few = MakeTableOracle(*LabelTable::Parse("index,a\n0,1\n", {.examples = 11, .classes = 3}));
  EXPECT_THAT(Evaluate({0, 1}, {0, 0, 0, 0}, *few).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no label for example 11")));
  EXPECT_THAT(Evaluate({0, 1}, {0, 0, 0, 0}, ShortOracle()).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("1 labels for 2 examples")));
}

TEST_F(EvaluateInvarianceTest, AModelThatDoesNotTakeSuchImagesIsRefused) {
  const std::vector<uint64_t> sources = {0};
  const std::vector<float> examples = {0, 0};
  Made wrong([](const torch::Tensor& inputs) { return inputs.view({-1, 7}); });
  EXPECT_THAT(
      RunInvarianceEvaluation({.begin = 0, .indices = sources, .data = data_}, examples, wrong, *by_source_, kGoOn)
          .status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot be evaluated on these examples")));
  Made too_many([](const torch::Tensor& inputs) { return torch::zeros({inputs.size(0) + 1, 3}); });
  EXPECT_THAT(
      RunInvarianceEvaluation({.begin = 0, .indices = sources, .data = data_}, examples, too_many, *by_source_, kGoOn)
          .status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 rows of logits for 1 images")));
}

}  // namespace
}  // namespace tightrope
