#include "core/robustness/evaluation/model_oracle.h"

#include <string>
#include <vector>

#include "core/robustness/evaluation/evaluation_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::vector<uint64_t> kThree = {0, 1, 2};

TEST(ModelOracleTest, ThePredictionIsTheLabelAndWhatIsNotFiniteIsUndecided) {
  BrightnessClassifier classifier;
  const auto oracle = MakeModelOracle(classifier, {.channels = 1, .height = 1, .width = 2});
  EXPECT_THAT(*oracle->Label({kThree, kThree, std::vector<float>{1, 0, 0, 1, 0.5f, 0}}), ElementsAre(2, kUndecided, 1));
  EXPECT_THAT(*oracle->Label({{}, {}, {}}), ElementsAre());
}

TEST(ModelOracleTest, ImagesThatTheModelDoesNotTakeAreRefused) {
  BrightnessClassifier classifier;
  const auto oracle = MakeModelOracle(classifier, {.channels = 1, .height = 1, .width = 2});
  const auto refused = [&](const Oracle& asked, const std::vector<float>& images, const std::string& message) {
    EXPECT_THAT(asked.Label({kThree, kThree, images}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused(*oracle, {0, 0, 0, 0}, "2 values an image");
  refused(*oracle, {0, 0, 0, 0, 0, 2}, "divide grey levels by 255");
  Made wrong([](const torch::Tensor& inputs) { return inputs.view({-1, 7}); });
  refused(*MakeModelOracle(wrong, {.channels = 1, .height = 1, .width = 2}), {0, 0, 0, 0, 0, 0},
          "cannot be asked about these images");
}

}  // namespace
}  // namespace tightrope
