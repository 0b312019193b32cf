// The published examples and their human labels, through oracles and counts, against the published and the measured
// figures.
#include <cmath>
#include <map>
#include <string>

#include "core/oracle/published_examples_test_support.h"
#include "core/statistics/invariance_counts.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

std::map<std::string, InvarianceShare> SharesByName(const InvarianceCounts& counts) {
  std::map<std::string, InvarianceShare> shares;
  for (const InvarianceShare& share : SharesOf(counts, 0.95)) shares.emplace(share.metric, share);
  return shares;
}

double Percent(const InvarianceShare& share) { return std::round(1000 * share.value) / 10; }

class HumanLabelsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TIGHTROPE_NEEDS_SHARED("data/invariance-human-labels/indexs.npy");
    TIGHTROPE_NEEDS_SHARED("data/mnist/train-images-idx3-ubyte.gz");
    test_ = ReadMnist(v1::SPLIT_TEST);
  }

  std::vector<int32_t> SourceLabels(const PublishedExamples& examples) const {
    return *MakeDatasetOracle(test_.labels)->Label(examples.Questions());
  }

  std::vector<float> SourceImages(const PublishedExamples& examples) const {
    std::vector<float> images;
    for (const uint64_t source : examples.sources) {
      for (size_t i = 0; i < 784; ++i) images.push_back(static_cast<float>(test_.pixels[784 * source + i]) / 255);
    }
    return images;
  }

  InvarianceCounts CountAll(const PublishedExamples& examples, const std::vector<int32_t>& source_predictions,
                            const std::vector<int32_t>& predictions) const {
    const std::vector<int32_t> sources = SourceLabels(examples);
    InvarianceCounts counts;
    for (size_t i = 0; i < sources.size(); ++i) {
      Count({.source_label = sources[i],
             .oracle_label = examples.humans[i],
             .source_prediction = source_predictions[i],
             .prediction = predictions[i]},
            /*tolerance=*/0, counts);
    }
    return counts;
  }

  Dataset test_;
};

TEST_F(HumanLabelsTest, PeopleSeeAnotherClassInAsManyAsWerePublished) {
  for (const PublishedSet& set : PublishedSets()) {
    const PublishedExamples examples = ReadPublished(set);
    const std::vector<int32_t> sources = SourceLabels(examples);
    const InvarianceCounts counts = CountAll(examples, sources, sources);
    EXPECT_EQ(counts.n, set.count) << set.name;
    EXPECT_EQ(counts.changed, set.changed) << set.name;
    EXPECT_EQ(counts.changed + counts.unchanged, set.count) << set.name;
  }
}

// What a model that is certified beyond the distortion must score.
TEST_F(HumanLabelsTest, AModelThatKeepsItsRightLabelAgreesWithPeopleOnTheUnchangedAlone) {
  const std::map<std::string, uint64_t> agree = {
      {"l0/automated", 45}, {"linf/automated_eps03", 79}, {"linf/automated_eps04", 63}, {"linf/manual_eps04", 6}};
  for (const PublishedSet& set : PublishedSets()) {
    const PublishedExamples examples = ReadPublished(set);
    const std::vector<int32_t> sources = SourceLabels(examples);
    auto shares = SharesByName(CountAll(examples, sources, sources));
    EXPECT_EQ(shares["agreement"].successes, agree.at(set.name)) << set.name;
    EXPECT_EQ(shares["agreement"].n, set.count);
    EXPECT_EQ(shares["agreement_changed"].successes, 0u);
    EXPECT_EQ(shares["agreement_unchanged"].value, 1);
    EXPECT_EQ(shares["keep_rate"].value, 1);
    EXPECT_EQ(shares["invariance_error"].value, 1);
    EXPECT_EQ(shares["third_class_rate"].value, 0);
  }
}

TEST_F(HumanLabelsTest, NearestNeighbourOverTheTrainingImagesScoresAsMeasured) {
  const struct {
    double agree_changed, keep, agree_all;
  } measured[] = {{40.0, 47.3, 54}, {19.0, 76.2, 74}, {18.9, 78.4, 55}, {4.5, 88.6, 16}};
  const Dataset train = ReadMnist(v1::SPLIT_TRAIN);
  const auto nearest = MakeNearestOracle(train, {});
  ASSERT_OK(nearest);
  for (size_t i = 0; i < PublishedSets().size(); ++i) {
    const PublishedSet set = PublishedSets()[i];
    const PublishedExamples examples = ReadPublished(set);
    const auto predictions = (*nearest)->Label(examples.Questions());
    ASSERT_OK(predictions);
    const std::vector<float> originals = SourceImages(examples);
    const auto before = (*nearest)->Label({examples.examples, examples.sources, originals});
    ASSERT_OK(before);
    const InvarianceCounts counts = CountAll(examples, *before, *predictions);
    auto shares = SharesByName(counts);
    EXPECT_EQ(Percent(shares["agreement_changed"]), measured[i].agree_changed) << set.name;
    EXPECT_EQ(Percent(shares["keep_rate"]), measured[i].keep) << set.name;
    EXPECT_EQ(Percent(shares["agreement"]), measured[i].agree_all) << set.name;
    EXPECT_EQ(counts.changed_agree + counts.changed_source_label + counts.changed_third_class, counts.changed);
  }
}

}  // namespace
}  // namespace tightrope
