#include "core/robustness/attack/oracle_guided.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/robustness/attack/attack_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kPixels = 36;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr OracleGuidedForm kForms[] = {OracleGuidedForm::kPenalty, OracleGuidedForm::kProjected};

// One grey image of class 0: no radius below 0.49 meets the range of pixels.
Dataset GreyImage() {
  Dataset data;
  data.count = 1;
  data.channels = 1;
  data.height = data.width = 6;
  data.classes = 2;
  data.pixels.assign(kPixels, 128);
  data.labels = {0};
  return data;
}

// Two classes, the first of which has the logit 0; the other's is `margin` at the grey image and rises along `weights`.
Made TwoClasses(const std::vector<double>& weights, double margin) {
  const torch::Tensor along = torch::tensor(weights, torch::kFloat32);
  return Made([along, margin](const torch::Tensor& inputs) {
    const torch::Tensor second = ((inputs.flatten(1) - 128.0f / 255.0f) * along).sum(1) + margin;
    return torch::stack({torch::zeros_like(second), second}, 1);
  });
}

std::vector<double> OracleWeights() {
  std::vector<double> weights;
  for (int i = 0; i < kPixels; ++i) weights.push_back(std::sin(1 + 3 * i));
  return weights;
}

// What changes the oracle mostly changes the model as well.
std::vector<double> ModelWeights() {
  std::vector<double> weights = OracleWeights();
  for (int i = 0; i < kPixels; ++i) weights[i] = 0.6 * weights[i] + 0.5 * std::cos(5 * i);
  return weights;
}

// max w·δ where v·δ ≤ b and ‖δ‖ ≤ ε: by duality the least ε·‖w − λv‖* + λb over λ ≥ 0, which is convex.
double MostGain(v1::Norm norm, const std::vector<double>& w, const std::vector<double>& v, double b, double epsilon) {
  const auto bound = [&](double lambda) {
    double largest = 0, squares = 0, sum = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const double size = std::abs(w[i] - lambda * v[i]);
      largest = std::max(largest, size);
      squares += size * size;
      sum += size;
    }
    const double dual = norm == v1::NORM_LINF ? sum : norm == v1::NORM_L2 ? std::sqrt(squares) : largest;
    return epsilon * dual + lambda * b;
  };
  double low = 0, high = 100;
  for (int i = 0; i < 300; ++i) {
    const double left = low + (high - low) / 3, right = high - (high - low) / 3;
    (bound(left) < bound(right) ? high : low) = bound(left) < bound(right) ? right : left;
  }
  return bound(low);
}

OracleGuidedExample Found(Classifier& model, Classifier& oracle, const OracleGuidedOptions& options,
                          const Dataset& data = GreyImage()) {
  const RandomStream stream(1, "job", "oracle-guided");
  const auto examples = OracleGuidedAttack({.model = model, .oracle = oracle, .stream = stream}, data, {0}, options);
  EXPECT_OK(examples);
  return examples.ok() ? examples->front() : OracleGuidedExample{};
}

TEST(OracleGuidedTest, OnLinearModelsTheConstrainedMaximumIsFoundInEveryNormByBothForms) {
  const std::vector<double> w = OracleWeights(), v = ModelWeights();
  struct Case {
    v1::Norm norm;
    double epsilon, slack;  // what the model's margin may gain before its prediction changes
  };
  // The last of each norm leaves the constraint out of reach: the maximum of the ball alone.
  for (const Case& c : {Case{v1::NORM_LINF, 0.2, 0.3}, Case{v1::NORM_LINF, 0.2, 1}, Case{v1::NORM_LINF, 0.2, 100},
                        Case{v1::NORM_L2, 0.4, 0.1}, Case{v1::NORM_L2, 0.4, 0.3}, Case{v1::NORM_L2, 0.4, 100},
                        Case{v1::NORM_L1, 0.4, 0.05}, Case{v1::NORM_L1, 0.4, 0.1}, Case{v1::NORM_L1, 0.4, 100}}) {
    const double most = MostGain(c.norm, w, v, c.slack, c.epsilon);
    Made model = TwoClasses(v, -c.slack), oracle = TwoClasses(w, -most / 2);
    for (const OracleGuidedForm form : kForms) {
      for (const v1::AttackLoss loss : {v1::ATTACK_LOSS_CE, v1::ATTACK_LOSS_MARGIN}) {
        SCOPED_TRACE(testing::Message() << v1::Norm_Name(c.norm) << ", slack " << c.slack << ", form "
                                        << static_cast<int>(form) << ", " << v1::AttackLoss_Name(loss));
        const OracleGuidedExample example = Found(model, oracle,
                                                  {.norm = c.norm,
                                                   .epsilon = c.epsilon,
                                                   .form = form,
                                                   .loss = loss,
                                                   .steps = 200,
                                                   .travel = 40,
                                                   .random_start = false});
        EXPECT_TRUE(example.success);
        EXPECT_EQ(example.kept_prediction, 0);
        EXPECT_EQ(example.model_prediction, 0);
        EXPECT_EQ(example.oracle_prediction, 1);
        const double gain = example.oracle_margin + most / 2;
        EXPECT_LE(gain, most * (1 + 1e-4));
        EXPECT_GE(gain, most * 0.97);
      }
    }
  }
}

TEST(OracleGuidedTest, WhereTheOracleOnlyChangesBeyondTheModelTheNearestPointIsKeptAndIsNoSuccess) {
  // Both look at the same: the model gives way at half of what the oracle needs.
  const std::vector<double> w = OracleWeights();
  Made model = TwoClasses(w, -0.1), oracle = TwoClasses(w, -0.2);
  for (const v1::Norm norm : kAttackNorms) {
    for (const OracleGuidedForm form : kForms) {
      const OracleGuidedExample example = Found(model, oracle, {.norm = norm, .epsilon = 0.3, .form = form});
      EXPECT_FALSE(example.success);
      EXPECT_EQ(example.model_prediction, 0);
      EXPECT_EQ(example.oracle_prediction, 0);
      EXPECT_LE(example.oracle_margin, -0.1 + 1e-4);
      EXPECT_GE(example.oracle_margin, -0.12);
    }
  }
}

TEST(OracleGuidedTest, APenaltyBelowTheMultiplierLosesItsWay_AndTheConstraintComesFirstWithoutOne) {
  // The oracle's logits are a thousand times the model's, and so is the multiplier.
  const std::vector<double> w = OracleWeights(), v = ModelWeights();
  std::vector<double> large = w;
  for (double& weight : large) weight *= 1000;
  Made model = TwoClasses(v, -0.1), oracle = TwoClasses(large, -1);
  const double most = 1000 * MostGain(v1::NORM_L2, w, v, 0.1, 0.4);
  const auto gain = [&](OracleGuidedForm form, double penalty) {
    return Found(model, oracle,
                 {.norm = v1::NORM_L2, .epsilon = 0.4, .form = form, .penalty = penalty, .random_start = false})
               .oracle_margin +
           1;
  };
  EXPECT_LT(gain(OracleGuidedForm::kPenalty, 0), 0.5 * most);
  EXPECT_LT(gain(OracleGuidedForm::kPenalty, 1), 0.5 * most);
  EXPECT_GT(gain(OracleGuidedForm::kPenalty, 3000), 0.95 * most);
  EXPECT_GT(gain(OracleGuidedForm::kProjected, 0), 0.95 * most);
}

TEST(OracleGuidedTest, LogitsThatAreNotFiniteAreNeverASuccess) {
  const std::vector<double> w = OracleWeights();
  // As TwoClasses, but not finite as soon as the margin is above `end`.
  const auto broken_above = [](Made inner, double end, double value) {
    return Made([inner, end, value](const torch::Tensor& inputs) mutable {
      const torch::Tensor logits = inner.Logits(inputs);
      return torch::where(logits.slice(1, 1, 2) > end, torch::full_like(logits, value), logits);
    });
  };
  for (const double value : {kNaN, std::numeric_limits<double>::infinity()}) {
    for (const OracleGuidedForm form : kForms) {
      const OracleGuidedOptions options = {.norm = v1::NORM_L2, .epsilon = 0.4, .form = form};
      // An oracle that breaks before it changes: what it said last counts.
      Made steady = TwoClasses(ModelWeights(), -100), oracle = broken_above(TwoClasses(w, -0.5), -0.1, value);
      OracleGuidedExample example = Found(steady, oracle, options);
      EXPECT_FALSE(example.success);
      EXPECT_EQ(example.oracle_prediction, 0);
      EXPECT_LE(example.oracle_margin, -0.1);

      // A model that breaks before the oracle changes has not kept its prediction.
      Made model = broken_above(TwoClasses(w, -0.5), -0.4, value), changing = TwoClasses(w, -0.3);
      example = Found(model, changing, options);
      EXPECT_FALSE(example.success);
      EXPECT_EQ(example.model_prediction, 0);
      EXPECT_LE(example.oracle_margin, -0.2 + 1e-4);

      // With nothing to keep, the source is what comes back, even if the oracle is wrong about it.
      Made never = broken_above(TwoClasses(w, -0.5), -1, value), wrong = TwoClasses(w, 0.1);
      example = Found(never, wrong, options);
      EXPECT_FALSE(example.success);
      EXPECT_EQ(example.kept_prediction, -1);
      EXPECT_EQ(example.model_prediction, -1);
      EXPECT_EQ(example.pixels, std::vector<float>(kPixels, 128.0f / 255.0f));

      // An oracle that says nothing of the source, and nothing anywhere.
      Made silent = broken_above(TwoClasses(w, 0), -100, value);
      example = Found(steady, silent, options);
      EXPECT_FALSE(example.success);
      EXPECT_EQ(example.oracle_prediction, -1);
      EXPECT_EQ(example.pixels, std::vector<float>(kPixels, 128.0f / 255.0f));
    }
  }
}

TEST(OracleGuidedTest, ASourceThatTheOracleGetsWrongIsASuccessAndWhatIsKeptIsNotTheLabelButTheModelsWord) {
  const std::vector<double> w = OracleWeights();
  // The model says 1 of the source, whose label is 0; so it must go on saying 1.
  Made model = TwoClasses(w, 0.1), oracle = TwoClasses(w, 0.2);
  const OracleGuidedExample example = Found(model, oracle, {.norm = v1::NORM_LINF, .epsilon = 0.01});
  EXPECT_TRUE(example.success);
  EXPECT_EQ(example.kept_prediction, 1);
  EXPECT_EQ(example.model_prediction, 1);
  EXPECT_EQ(example.oracle_prediction, 1);
  EXPECT_GE(example.oracle_margin, 0.2 - 1e-6);
}

// Four classes in stripes of an image; the model does not see the odd pixels, by which the oracle can be changed alone.
class OracleGuidedToyTest : public ::testing::Test {
 protected:
  OracleGuidedToyTest() : indices_(data_.count) {
    std::iota(indices_.begin(), indices_.end(), 0);
    torch::Tensor seen = ToyWeights(data_);
    seen.mul_((torch::arange(seen.size(1)) % 2 == 0).to(torch::kFloat32));
    model_ = std::make_unique<LinearModel>(seen);
    oracle_ = std::make_unique<LinearModel>(ToyWeights(data_));
  }

  absl::StatusOr<std::vector<OracleGuidedExample>> Attacked(const std::vector<uint32_t>& indices,
                                                            const OracleGuidedOptions& options) {
    return OracleGuidedAttack({.model = *model_, .oracle = *oracle_, .stream = stream_}, data_, indices, options);
  }

  Dataset data_ = MakeToyDataset(/*count=*/12, /*side=*/8, /*classes=*/4, /*contrast=*/0.5);
  std::vector<uint32_t> indices_;
  std::unique_ptr<Classifier> model_, oracle_;
  const RandomStream stream_ = RandomStream(1, "job", "oracle-guided");
};

TEST_F(OracleGuidedToyTest, EveryExampleIsInTheBallAsStoredAndIsWhatItClaimsToBe) {
  const torch::Tensor sources = AllInputs(data_).flatten(1).contiguous();
  for (const v1::Norm norm : kAttackNorms) {
    const double wide = norm == v1::NORM_LINF ? 0.25 : norm == v1::NORM_L2 ? 1.5 : 10;
    for (const double epsilon : {1e-3, wide / 3, wide}) {
      for (const OracleGuidedForm form : kForms) {
        SCOPED_TRACE(testing::Message() << v1::Norm_Name(norm) << " " << epsilon << " " << static_cast<int>(form));
        const auto examples =
            Attacked(indices_, {.norm = norm, .epsilon = epsilon, .form = form, .steps = 40, .restarts = 2});
        ASSERT_OK(examples);
        ASSERT_EQ(examples->size(), data_.count);
        int successes = 0;
        for (size_t i = 0; i < examples->size(); ++i) {
          const OracleGuidedExample& example = (*examples)[i];
          const absl::Span<const float> from(sources.data_ptr<float>() + 64 * i, 64);
          ASSERT_EQ(example.pixels.size(), 64u);
          ASSERT_LE(Distance(norm, from, example.pixels), epsilon);
          for (size_t e = 0; e < 64; ++e) {
            ASSERT_TRUE(example.pixels[e] >= 0 && example.pixels[e] <= 1);
            if (norm == v1::NORM_LINF) {
              ASSERT_LE(double{std::abs(example.pixels[e] - from[e])}, epsilon);
            }
          }
          const torch::Tensor point = torch::tensor(example.pixels).view({1, 1, 8, 8});
          const torch::Tensor source = torch::tensor(std::vector<float>(from.begin(), from.end())).view({1, 1, 8, 8});
          EXPECT_EQ(Predictions(model_->Logits(point))[0], example.model_prediction);
          EXPECT_EQ(Predictions(oracle_->Logits(point))[0], example.oracle_prediction);
          EXPECT_EQ(Predictions(model_->Logits(source))[0], example.kept_prediction);
          EXPECT_EQ(example.model_prediction, example.kept_prediction);
          EXPECT_EQ(example.success, example.oracle_prediction != data_.labels[i]);
          EXPECT_EQ(example.success, example.oracle_margin > 0);
          successes += example.success ? 1 : 0;
        }
        if (epsilon == wide) {
          EXPECT_GT(successes, 0);
        }
      }
    }
  }
}

TEST_F(OracleGuidedToyTest, AnExampleDoesNotDependOnItsRowAndIsNoWorseForASecondRestart) {
  OracleGuidedOptions options = {.norm = v1::NORM_LINF, .epsilon = 0.1, .steps = 20};
  const auto forward = Attacked({3, 7, 9}, options), backward = Attacked({9, 7, 3}, options);
  ASSERT_OK(forward);
  ASSERT_OK(backward);
  options.restarts = 3;
  const auto again = Attacked({3, 7, 9}, options);
  ASSERT_OK(again);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*forward)[i].pixels, (*backward)[2 - i].pixels);
    EXPECT_GE((*again)[i].oracle_margin, (*forward)[i].oracle_margin);
  }
}

TEST_F(OracleGuidedToyTest, WhatCannotBeSearchedIsRefusedAndACallerCanStop) {
  const auto refused = [&](const OracleGuidedOptions& options, const std::string& message) {
    EXPECT_THAT(Attacked(indices_, options), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused({.norm = v1::NORM_L0}, "NORM_L0; give linf, l2 or l1");
  refused({.epsilon = 0}, "radius is 0");
  refused({.epsilon = kNaN}, "radius");
  refused({.loss = v1::ATTACK_LOSS_KL}, "ATTACK_LOSS_KL; give ce or margin");
  refused({.penalty = -1}, "penalty is -1");
  refused({.turning_margin = kNaN}, "turning margin");
  refused({.steps = 0}, "0 steps");
  refused({.travel = 0}, "travel");
  refused({.restarts = 0}, "0 restarts");
  EXPECT_THAT(Attacked({12}, {}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no example 12")));
  EXPECT_THAT(Attacked({}, {}), IsOk());

  LinearModel lacking(ToyWeights(data_).slice(0, 0, 3));
  EXPECT_THAT(OracleGuidedAttack({.model = *model_, .oracle = lacking, .stream = stream_}, data_, indices_, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be N×4")));
  int looks = 0;
  const auto stop = [&] { return ++looks == 3 ? absl::CancelledError("stopped") : absl::OkStatus(); };
  EXPECT_THAT(OracleGuidedAttack({.model = *model_, .oracle = *oracle_, .stream = stream_, .looked = stop}, data_,
                                 indices_, {}),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped")));
  EXPECT_EQ(looks, 3);
}

}  // namespace
}  // namespace tightrope
