#include "core/robustness/attack/loss.h"

#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

torch::Tensor Row(std::vector<float> logits) { return torch::tensor(logits).view({1, -1}); }
torch::Tensor Classes(std::vector<int64_t> classes) { return torch::tensor(classes); }

// What the losses compare logits with, a row each.
struct Truth {
  torch::Tensor labels, targets, clean;
};

struct NamedLoss {
  const char* name;
  std::function<torch::Tensor(const torch::Tensor& logits, const Truth& truth)> of;
};

// In the logits' precision.
const std::vector<NamedLoss>& Losses() {
  using torch::Tensor;
  static const auto* losses = new std::vector<NamedLoss>{
      {"cross-entropy", [](const Tensor& z, const Truth& t) { return CrossEntropyLoss(z, t.labels); }},
      {"targeted cross-entropy",
       [](const Tensor& z, const Truth& t) { return TargetedCrossEntropyLoss(z, t.targets); }},
      {"margin", [](const Tensor& z, const Truth& t) { return MarginLoss(z, t.labels); }},
      {"targeted margin", [](const Tensor& z, const Truth& t) { return TargetedMarginLoss(z, t.labels, t.targets); }},
      {"dlr", [](const Tensor& z, const Truth& t) { return DlrLoss(z, t.labels); }},
      {"targeted dlr", [](const Tensor& z, const Truth& t) { return TargetedDlrLoss(z, t.labels, t.targets); }},
      {"kl", [](const Tensor& z, const Truth& t) { return KlLoss(z, t.clean.to(z.scalar_type())); }},
  };
  return *losses;
}

// Random rows of five classes, with each label and target.
class LossTest : public ::testing::Test {
 protected:
  static constexpr int64_t kRows = 40;

  LossTest() {
    torch::manual_seed(1);
    logits_ = torch::randn({kRows, 5}, torch::kFloat64) * 3;
    truth_.labels = torch::arange(kRows) % 5;
    truth_.targets = (truth_.labels + 1 + torch::arange(kRows) % 4) % 5;
    truth_.clean = torch::randn({kRows, 5}, torch::kFloat64) * 3;
  }

  torch::Tensor logits_;  // float64
  Truth truth_;
};

TEST_F(LossTest, TheDifferenceOfLogitsRatioHasItsPublishedValues) {
  const torch::Tensor z = Row({4, 2, 1, 0});
  EXPECT_FLOAT_EQ(DlrLoss(z, Classes({0})).item<float>(), -2.0f / 3);
  EXPECT_FLOAT_EQ(DlrLoss(z, Classes({1})).item<float>(), 2.0f / 3);
  EXPECT_FLOAT_EQ(TargetedDlrLoss(z, Classes({0}), Classes({1})).item<float>(), -4.0f / 7);
}

TEST_F(LossTest, TheDifferenceOfLogitsRatioDoesNotSeeScaleOrShift) {
  const torch::Tensor untargeted = DlrLoss(logits_, truth_.labels);
  const torch::Tensor targeted = TargetedDlrLoss(logits_, truth_.labels, truth_.targets);
  for (const double a : {0.01, 3.0, 1e3}) {
    for (const double b : {-2.0, 5.0}) {
      const torch::Tensor z = logits_ * a + b;
      EXPECT_TRUE(torch::allclose(DlrLoss(z, truth_.labels), untargeted, 1e-5, 1e-8)) << a << " " << b;
      EXPECT_TRUE(torch::allclose(TargetedDlrLoss(z, truth_.labels, truth_.targets), targeted, 1e-5, 1e-8))
          << a << " " << b;
    }
  }
}

TEST_F(LossTest, TheMarginIsAboveZeroExactlyWhereTheRowIsMisclassified) {
  const torch::Tensor wrong = logits_.argmax(1) != truth_.labels;
  EXPECT_TRUE(wrong.any().item<bool>() && !wrong.all().item<bool>());
  EXPECT_TRUE(torch::equal(MarginLoss(logits_.to(torch::kFloat32), truth_.labels) > 0, wrong));
  EXPECT_TRUE(torch::equal(DlrLoss(logits_.to(torch::kFloat32), truth_.labels) > 0, wrong));
  // The best of the targets is the margin.
  torch::Tensor best = torch::full({kRows}, -1e9, torch::kFloat64);
  for (int64_t step = 1; step < 5; ++step) {
    best = torch::maximum(best, TargetedMarginLoss(logits_, truth_.labels, (truth_.labels + step) % 5));
  }
  EXPECT_TRUE(torch::equal(best, MarginLoss(logits_, truth_.labels)));
}

TEST_F(LossTest, CrossEntropyIsTheLogarithmOfTheSoftmaxAlsoWhereTheSoftmaxUnderflows) {
  for (const double scale : {1.0, 100.0}) {
    const torch::Tensor logits = (logits_ * scale).to(torch::kFloat32);
    const torch::Tensor exact = logits.to(torch::kFloat64).log_softmax(1);
    const auto at = [&](const torch::Tensor& classes) { return exact.gather(1, classes.view({-1, 1})).squeeze(1); };
    const auto close = [](const torch::Tensor& loss, const torch::Tensor& wanted) {
      return torch::allclose(loss.to(torch::kFloat64), wanted, 1e-5, 1e-5);
    };
    EXPECT_TRUE(close(CrossEntropyLoss(logits, truth_.labels), -at(truth_.labels)));
    EXPECT_TRUE(close(TargetedCrossEntropyLoss(logits, truth_.targets), at(truth_.targets)));
  }
}

TEST_F(LossTest, TheDivergenceIsZeroAndFlatAtTheCleanLogitsAndAboveZeroElsewhere) {
  const torch::Tensor clean = truth_.clean.to(torch::kFloat32);
  const Loss loss = [&](const torch::Tensor& z) { return KlLoss(z, clean); };
  const LossSlope at_clean = SlopeOf(loss, clean);
  EXPECT_TRUE(torch::equal(at_clean.values, torch::zeros({kRows})));
  EXPECT_LE(at_clean.gradient.abs().max().item<float>(), 1e-6f);
  EXPECT_GT(loss(logits_.to(torch::kFloat32)).min().item<float>(), 0);
}

TEST_F(LossTest, SlopesAreThoseOfFiniteDifferences) {
  constexpr double kStep = 1e-6;
  for (const NamedLoss& loss : Losses()) {
    const LossSlope slope =
        SlopeOf([&](const torch::Tensor& z) { return loss.of(z, truth_); }, logits_.to(torch::kFloat32));
    torch::Tensor wanted = torch::empty_like(logits_);
    for (int64_t k = 0; k < 5; ++k) {
      torch::Tensor up = logits_.clone(), down = logits_.clone();
      up.select(1, k).add_(kStep);
      down.select(1, k).sub_(kStep);
      wanted.select(1, k).copy_((loss.of(up, truth_) - loss.of(down, truth_)) / (2 * kStep));
    }
    EXPECT_TRUE(torch::allclose(slope.gradient.to(torch::kFloat64), wanted, 1e-3, 1e-5)) << loss.name;
    EXPECT_GT(wanted.abs().max().item<double>(), 1e-2) << loss.name;
    EXPECT_TRUE(torch::allclose(slope.values.to(torch::kFloat64), loss.of(logits_, truth_), 1e-4, 1e-5)) << loss.name;
    EXPECT_FALSE(slope.values.requires_grad() || slope.gradient.requires_grad()) << loss.name;
  }
}

TEST_F(LossTest, OtherNamesForTheClassesGiveTheSameLossAndTheGradientUnderThem) {
  const torch::Tensor order = Classes({3, 0, 4, 2, 1});  // class k is now what was order[k]
  const torch::Tensor names = order.argsort();
  const Truth renamed = {.labels = names.index_select(0, truth_.labels),
                         .targets = names.index_select(0, truth_.targets),
                         .clean = truth_.clean.index_select(1, order)};
  for (const NamedLoss& loss : Losses()) {
    const LossSlope plain = SlopeOf([&](const torch::Tensor& z) { return loss.of(z, truth_); }, logits_);
    const LossSlope other =
        SlopeOf([&](const torch::Tensor& z) { return loss.of(z, renamed); }, logits_.index_select(1, order));
    EXPECT_TRUE(torch::allclose(other.values, plain.values, 1e-9, 1e-12)) << loss.name;
    EXPECT_TRUE(torch::allclose(other.gradient, plain.gradient.index_select(1, order), 1e-9, 1e-12)) << loss.name;
  }
}

TEST_F(LossTest, EqualLogitsGiveNeitherNanNorInfinity) {
  const std::vector<std::vector<float>> rows = {
      {0, 0, 0, 0, 0}, {1, 1, 0, 0, 0}, {1, 1, 1, 0, 0}, {1, 1, 1, 1, 0}, {1e3, 1e3, 1e3, -1e3, -1e3}, {0, 1, 1, 1, 1}};
  for (const std::vector<float>& row : rows) {
    const torch::Tensor logits = Row(row).repeat({kRows, 1});
    const Truth truth = {.labels = truth_.labels, .targets = truth_.targets, .clean = logits.flip({1})};
    for (const NamedLoss& loss : Losses()) {
      const LossSlope slope = SlopeOf([&](const torch::Tensor& z) { return loss.of(z, truth); }, logits);
      EXPECT_TRUE(slope.values.isfinite().all().item<bool>()) << loss.name << ::testing::PrintToString(row);
      EXPECT_TRUE(slope.gradient.isfinite().all().item<bool>()) << loss.name << ::testing::PrintToString(row);
    }
  }
}

std::string ThrownBy(const std::function<void()>& work) {
  try {
    work();
  } catch (const c10::Error& thrown) {
    return thrown.what_without_backtrace();
  }
  return "nothing was thrown";
}

TEST_F(LossTest, ALossThatNeedsMoreClassesSaysHowMany) {
  EXPECT_THAT(ThrownBy([] { DlrLoss(Row({1, 0}), Classes({0})); }), HasSubstr("at least 3 classes, not 2"));
  EXPECT_THAT(ThrownBy([] {
                TargetedDlrLoss(Row({2, 1, 0}), Classes({0}), Classes({1}));
              }),
              HasSubstr("at least 4 classes, not 3"));
  EXPECT_THAT(ThrownBy([] { MarginLoss(Row({1}), Classes({0})); }), HasSubstr("at least 2 classes, not 1"));
}

TEST_F(LossTest, ALossThatIsNoNumberARowIsRefused) {
  EXPECT_THAT(ThrownBy([] {
                SlopeOf([](const torch::Tensor& z) { return z.sum(); }, Row({1, 0}));
              }),
              HasSubstr("a value a row"));
}

}  // namespace
}  // namespace tightrope
