#include "core/oracle/rule_dataset.h"

#include <algorithm>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "core/artifact/digest.h"
#include "core/oracle/rule_dataset_test_support.h"
#include "core/statistics/proportion.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

// So many checks are made that intervals must be wide for chance to fail none.
constexpr double kConfidence = 0.9999;

std::vector<float> ToFeatures(const std::vector<uint8_t>& pixels) {
  std::vector<float> features;
  for (const uint8_t pixel : pixels) features.push_back(static_cast<float>(pixel) / 255);
  return features;
}

double Radius(absl::Span<const float> features) {
  double square = 0;
  for (const float value : features) square += std::pow(static_cast<double>(value) - 0.5, 2);
  return std::sqrt(square);
}

void ExpectShare(uint64_t successes, uint64_t n, double want, const std::string& what) {
  const Interval interval = ClopperPearson(successes, n, kConfidence);
  EXPECT_LE(interval.lower, want) << what << ": " << successes << "/" << n;
  EXPECT_GE(interval.upper, want) << what << ": " << successes << "/" << n;
}

std::vector<std::unique_ptr<RuleDataset>> EveryRule(uint64_t seed) {
  std::vector<std::unique_ptr<RuleDataset>> rules;
  for (const uint32_t dimension : {2u, 3u, 10u, 501u}) rules.push_back(Rule(ConcentricSpheres{dimension}, seed));
  rules.push_back(Rule(OverlyRobustFeature{}, seed));
  return rules;
}

TEST(RuleDatasetTest, AnExampleIsAFunctionOfParametersSeedAndIndex) {
  const auto rules = EveryRule(7);
  const auto again = EveryRule(7);
  const auto other = EveryRule(8);
  for (size_t i = 0; i < rules.size(); ++i) {
    int equal = 0;
    for (const uint64_t index : {5u, 0u, 3u, 4294967295u}) {
      EXPECT_EQ(Drawn(*rules[i], index), Drawn(*again[i], index));
      equal += Drawn(*rules[i], index) == Drawn(*other[i], index);
    }
    EXPECT_LT(equal, 3) << "another seed, other examples";
    EXPECT_NE(Drawn(*rules[i], 9), Drawn(*rules[i], 9 + (uint64_t{1} << 32))) << "all of the index counts";
  }
}

// Results and data sets' digests rest on these bits: they must be the same on every machine and in every version.
TEST(RuleDatasetTest, TheBitsNeverChange) {
  const auto digest = [](const RuleDataset& rule) {
    std::string bytes;
    for (uint64_t index = 0; index < 50; ++index) {
      const std::vector<float> features = Drawn(rule, index);
      bytes.append(reinterpret_cast<const char*>(features.data()), features.size() * sizeof(float));
    }
    return Sha256(bytes).substr(0, 16);
  };
  EXPECT_EQ(digest(*Rule(ConcentricSpheres{})), "1217d55c81878b76");
  EXPECT_EQ(digest(*Rule(ConcentricSpheres{.dimension = 33})), "d7512f86beeb9bcc");
  EXPECT_EQ(digest(*Rule(OverlyRobustFeature{})), "9136c901c1dcbe1e");
}

TEST(RuleDatasetTest, SpheresAreDrawnOnTheirRadii_WithTheRulesLabel_AlsoInGreyLevels) {
  for (const ConcentricSpheres& spheres :
       {ConcentricSpheres{}, ConcentricSpheres{2}, ConcentricSpheres{3, 0.1, 0.2, 0.11}, ConcentricSpheres{851}}) {
    const auto rule = Rule(spheres);
    uint64_t ones = 0;
    for (uint64_t index = 0; index < 400; ++index) {
      const std::vector<float> features = Drawn(*rule, index);
      const int32_t label = rule->Label(features);
      ones += static_cast<uint64_t>(label);
      EXPECT_NEAR(Radius(features), label == 1 ? spheres.outer : spheres.inner, 1e-6);
      for (const float value : features) EXPECT_TRUE(value >= 0 && value <= 1) << value;
      const std::vector<uint8_t> pixels = ToPixels(features);
      EXPECT_EQ(rule->LabelOfPixels(pixels), label);
      EXPECT_EQ(rule->Label(ToFeatures(pixels)), label);
    }
    ExpectShare(ones, 400, 0.5, "outer sphere");
  }
}

// A coordinate's share of the squared radius is Beta(1/2, (d − 1)/2), and its sign is a fair coin.
TEST(RuleDatasetTest, DirectionsAreUniform_InEvenAndOddDimensions) {
  constexpr uint64_t kDraws = 20'000;
  for (const uint32_t dimension : {2u, 3u, 4u, 7u}) {
    const auto rule = Rule(ConcentricSpheres{dimension});
    std::vector<std::vector<double>> shares(dimension);
    std::vector<uint64_t> positive(dimension, 0);
    uint64_t same_sign = 0;
    for (uint64_t index = 0; index < kDraws; ++index) {
      const std::vector<float> features = Drawn(*rule, index);
      const double radius = Radius(features);
      for (uint32_t i = 0; i < dimension; ++i) {
        const double offset = static_cast<double>(features[i]) - 0.5;
        shares[i].push_back(offset * offset / (radius * radius));
        positive[i] += offset > 0;
      }
      same_sign += (features[0] > 0.5f) == (features[dimension - 1] > 0.5f);
    }
    ExpectShare(same_sign, kDraws, 0.5, "first and last");
    for (uint32_t i = 0; i < dimension; ++i) {
      ExpectShare(positive[i], kDraws, 0.5, "sign");
      for (const double bound : {0.01, 0.1, 0.3, 0.6, 0.95}) {
        const auto below = static_cast<uint64_t>(
            std::count_if(shares[i].begin(), shares[i].end(), [&](double share) { return share < bound; }));
        ExpectShare(below, kDraws, boost::math::ibeta(0.5, (dimension - 1) / 2.0, bound), "share");
      }
    }
  }
}

// Images whose squared radius is the last below or the first above the threshold.
TEST(RuleDatasetTest, BytesAndFloatsGetOneLabel_RightAtTheThreshold) {
  std::mt19937_64 random(1);
  for (const uint32_t dimension : {2u, 3u, 16u, 500u, 4000u}) {
    const ConcentricSpheres spheres{dimension, 0.2, 0.5};
    const auto rule = Rule(spheres);
    const double threshold = std::pow(510 * LabelRadius(spheres), 2);
    const auto square_of = [](uint8_t pixel) { return (2 * int64_t{pixel} - 255) * (2 * int64_t{pixel} - 255); };
    int near = 0;
    for (uint64_t trial = 0; trial < 100; ++trial) {
      std::vector<uint8_t> pixels = ToPixels(Drawn(*rule, trial));
      int64_t square = 0;
      for (const uint8_t pixel : pixels) square += square_of(pixel);
      for (uint8_t& pixel : pixels) {
        if (random() % 8 == 0) continue;
        uint8_t best = pixel;
        const int64_t rest = square - square_of(pixel);
        for (int level = 0; level < 256; ++level) {
          const double off = std::abs(static_cast<double>(rest + square_of(static_cast<uint8_t>(level))) - threshold);
          if (off < std::abs(static_cast<double>(rest + square_of(best)) - threshold))
            best = static_cast<uint8_t>(level);
        }
        square += square_of(best) - square_of(pixel);
        pixel = best;
      }
      near += std::abs(static_cast<double>(square) - threshold) < 4.1;
      const int32_t label = static_cast<double>(square) > threshold ? 1 : 0;
      EXPECT_EQ(rule->LabelOfPixels(pixels), label);
      EXPECT_EQ(rule->Label(ToFeatures(pixels)), label) << dimension << ": " << square << " against " << threshold;
      EXPECT_GT(std::abs(static_cast<double>(square) - threshold), 3.9) << "no image lies on the threshold";
    }
    EXPECT_GE(near, dimension > 3 ? 50 : 0) << dimension;
  }
}

TEST(RuleDatasetTest, TheOverlyRobustFeatureGoesWithTheLabel_ButIsNotRead) {
  const OverlyRobustFeature parameters{
      .agreement = 0.8, .oracle_nearest = 0, .oracle_farthest = 9, .robust_nearest = 60, .robust_farthest = 63};
  const auto rule = Rule(parameters);
  constexpr uint64_t kDraws = 20'000;
  uint64_t ones = 0, agree = 0;
  std::vector<uint64_t> first(10, 0), second(4, 0);
  uint64_t both = 0;
  for (uint64_t index = 0; index < kDraws; ++index) {
    const std::vector<float> features = Drawn(*rule, index);
    const std::vector<uint8_t> pixels = ToPixels(features);
    EXPECT_EQ(ToFeatures(pixels), features) << "features are grey levels";
    const int32_t label = rule->Label(features);
    EXPECT_EQ(rule->LabelOfPixels(pixels), label);
    EXPECT_EQ(label, pixels[0] >= 128);
    ones += static_cast<uint64_t>(label);
    agree += (pixels[1] >= 128) == (label == 1);
    const auto level = [](uint8_t pixel) { return static_cast<size_t>(pixel >= 128 ? pixel - 128 : 127 - pixel); };
    ++first.at(level(pixels[0]));
    ++second.at(level(pixels[1]) - 60);
    both += level(pixels[0]) < 5 && level(pixels[1]) < 62;
    std::vector<float> flipped = features;
    flipped[1] = 1 - flipped[1];
    EXPECT_EQ(rule->Label(flipped), label);
  }
  ExpectShare(ones, kDraws, 0.5, "label 1");
  ExpectShare(agree, kDraws, 0.8, "agreement");
  ExpectShare(both, kDraws, 0.25, "levels are independent");
  for (const uint64_t count : first) ExpectShare(count, kDraws, 0.1, "first level");
  for (const uint64_t count : second) ExpectShare(count, kDraws, 0.25, "second level");
}

TEST(RuleDatasetTest, TheMiddleBelongsToClassZero_AndNaNToNone) {
  const auto two = Rule(OverlyRobustFeature{});
  EXPECT_EQ(two->Label({0.5f, 1.0f}), 0);
  EXPECT_EQ(two->Label({std::nextafter(0.5f, 1.0f), 0.0f}), 1);
  EXPECT_EQ(two->LabelOfPixels({127, 255}), 0);
  EXPECT_EQ(two->LabelOfPixels({128, 0}), 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(two->Label({nan, 0.5f}), kNoneOfThese);
  EXPECT_EQ(Rule(ConcentricSpheres{2})->Label({0.5f, nan}), kNoneOfThese);
}

TEST(RuleDatasetTest, BadParametersSayWhatToWrite) {
  const auto refused = [](const auto& parameters, const std::string& message) {
    EXPECT_THAT(MakeRuleDataset(parameters, 1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused(ConcentricSpheres{.dimension = 1}, "concentric spheres: dimension must be from 2 to 65536; got 1");
  refused(ConcentricSpheres{.dimension = 65537}, "dimension must be from 2 to 65536; got 65537");
  refused(ConcentricSpheres{2, 0, 0.5}, "inner must be above 0 and below 0.5; got 0");
  refused(ConcentricSpheres{2, std::nan(""), 0.5}, "inner must be above 0 and below 0.5; got nan");
  refused(ConcentricSpheres{2, 0.3, 0.3}, "outer must be above inner, 0.3, and at most 0.5; got 0.3");
  refused(ConcentricSpheres{2, 0.3, 0.6}, "outer must be above inner, 0.3, and at most 0.5; got 0.6");
  refused(ConcentricSpheres{2, 0.3, 0.5, 0.3},
          "threshold must be between inner, 0.3, and outer, 0.5, or 0 for halfway");
  refused(ConcentricSpheres{2, 0.3, 0.5, std::nan("")}, "threshold must be between");
  refused(ConcentricSpheres{.dimension = 1000}, "put the radii further apart or write a dimension of at most 86");
  refused(ConcentricSpheres{2, 0.3, 0.3001}, "put the radii further apart: got inner 0.3,");
  refused(OverlyRobustFeature{.agreement = 0.4}, "overly-robust feature: agreement must be from 0.5 to 1; got 0.4");
  refused(OverlyRobustFeature{.agreement = std::nan("")}, "agreement must be from 0.5 to 1; got nan");
  refused(OverlyRobustFeature{.oracle_nearest = 9, .oracle_farthest = 8},
          "levels must be 0 <= oracle_nearest <= oracle_farthest < 128; got 9 and 8");
  refused(OverlyRobustFeature{.robust_farthest = 128}, "robust_farthest < 128; got 90 and 128");
}

TEST(RuleDatasetTest, TheDimensionThatAnErrorSuggestsIsTaken) {
  for (const double inner : {0.05, 0.2, 0.3846, 0.45}) {
    const absl::Status status = MakeRuleDataset(ConcentricSpheres{60'000, inner, 0.5}, 1).status();
    const std::string text(status.message());
    const size_t at = text.find("at most ");
    ASSERT_NE(at, std::string::npos) << text;
    const auto dimension = static_cast<uint32_t>(std::stoul(text.substr(at + 8)));
    EXPECT_OK(MakeRuleDataset(ConcentricSpheres{dimension, inner, 0.5}, 1)) << dimension;
    EXPECT_FALSE(MakeRuleDataset(ConcentricSpheres{dimension + 1, inner, 0.5}, 1).ok()) << dimension;
  }
}

TEST(RuleDatasetTest, RangesAreTheSameWhereverTheyAreCut_AndReadBackFromIdx) {
  for (const auto& rule : EveryRule(3)) {
    const Dataset whole = *DrawDataset(*rule, 10, 30);
    const Dataset left = *DrawDataset(*rule, 10, 17);
    const Dataset right = *DrawDataset(*rule, 17, 30);
    std::vector<uint8_t> pixels = left.pixels, labels = left.labels;
    pixels.insert(pixels.end(), right.pixels.begin(), right.pixels.end());
    labels.insert(labels.end(), right.labels.begin(), right.labels.end());
    EXPECT_EQ(whole.pixels, pixels);
    EXPECT_EQ(whole.labels, labels);
    EXPECT_EQ(whole.width, rule->features());
    const IdxFiles files = ToIdx(whole);
    const auto read = ParseIdx(files.images, files.labels, 2);
    ASSERT_OK(read);
    EXPECT_EQ(read->pixels, whole.pixels);
    EXPECT_EQ(read->labels, whole.labels);
    EXPECT_EQ(read->height, 1u);
    EXPECT_EQ(read->width, rule->features());
  }
  const auto rule = Rule(OverlyRobustFeature{});
  for (const auto& [begin, end] : {std::pair<uint64_t, uint64_t>{3, 3}, {4, 3}, {0, ~uint64_t{0}}}) {
    EXPECT_THAT(
        DrawDataset(*rule, begin, end).status(),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must have from 1 to 536870912 of them; got [")));
  }
}

TEST(RuleDatasetTest, AsAnOracleTheRuleLabelsImages_NotSources) {
  const auto rule = Rule(OverlyRobustFeature{});
  const auto oracle = MakeRuleOracle(*rule);
  const std::vector<uint64_t> indices = {0, 0, 5};
  const std::vector<float> images = {0.4f, 0.9f, 0.6f, 0.9f, 0.51f, 0};
  EXPECT_THAT(*oracle->Label({indices, indices, images}), ::testing::ElementsAre(0, 1, 1));
  const std::vector<float> unscaled = {100, 200, 0, 0, 0, 0};
  EXPECT_THAT(oracle->Label({indices, indices, unscaled}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("divide grey levels by 255: got 100")));
}

}  // namespace
}  // namespace tightrope
