// What every attack keeps, whatever it searches: each test runs the whole list over all norms.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/robustness/attack/attack_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

class AttacksTest : public ::testing::Test {
 protected:
  // Calls back for every attack and norm; ensembles, which are slow, get one radius.
  static void ForEveryAttack(const std::function<void(const v1::AttackJob&)>& call) {
    for (const v1::Norm norm : kThreatModels) {
      for (const std::string& attack : EveryAttack(norm)) {
        SCOPED_TRACE(absl::StrCat(Norm_Name(norm), " ", attack));
        std::vector<double> radii = ToyRadii(norm);
        if (IsEnsemble(attack)) radii.resize(1);
        call(JobOf(attack, norm, radii));
      }
    }
  }

  Dataset data_ = MakeToyDataset(24, 8, 4, 0.2);
  LinearModel linear_{ToyWeights(data_)};
};

TEST_F(AttacksTest, EveryWitnessHoldsAndARepetitionIsBitIdentical) {
  const std::unique_ptr<Classifier> network = ToyNetwork(data_);
  ForEveryAttack([&](const v1::AttackJob& job) {
    const auto outcome = Attacked(job, data_, *network);
    ASSERT_OK(outcome);
    EXPECT_GT(outcome->witnesses.rows, 0);
    ExpectRecordsHold(*outcome, job, data_, *network);
    const auto again = Attacked(job, data_, *network);
    ASSERT_OK(again);
    EXPECT_EQ(BytesOf(*again), BytesOf(*outcome));
  });
}

TEST_F(AttacksTest, AnEnsembleForTwoClassesKeepsThatToo) {
  Dataset two = MakeToyDataset(24, 8, 2, 0.1);
  const std::unique_ptr<Classifier> network = ToyNetwork(two);
  for (const v1::Norm norm : kAttackNorms) {
    const v1::AttackJob job = JobOf(kAutoAttackForTwoClasses, norm, {ToyRadii(norm)[0]});
    const auto outcome = Attacked(job, two, *network);
    ASSERT_OK(outcome);
    EXPECT_GT(outcome->witnesses.rows, 0);
    ExpectRecordsHold(*outcome, job, two, *network);
    const auto again = Attacked(job, two, *network);
    ASSERT_OK(again);
    EXPECT_EQ(BytesOf(*again), BytesOf(*outcome));
  }
}

TEST_F(AttacksTest, AModelThatIsTheSameEverywhereStands) {
  data_.labels.assign(data_.labels.size(), 0);
  Made constant([](const torch::Tensor& inputs) { return torch::zeros({inputs.size(0), 4}); });  // ties, besides
  ForEveryAttack([&](const v1::AttackJob& job) {
    const auto outcome = Attacked(job, data_, constant);
    ASSERT_OK(outcome);
    EXPECT_EQ(Count(*outcome, v1::VERDICT_UNDECIDED), 24);
    ExpectRecordsHold(*outcome, job, data_, constant);
  });
}

TEST_F(AttacksTest, AModelWithoutGradientStandsWhereNothingNearIsWrong) {
  Made steps([&](const torch::Tensor& inputs) {
    const torch::Tensor predicted = linear_.Logits(inputs.detach()).argmax(1, /*keepdim=*/true);
    return torch::zeros({inputs.size(0), 4}).scatter(1, predicted, 1.0);
  });
  LabelAsPredicted(data_, steps);
  ForEveryAttack([&](v1::AttackJob job) {
    job.clear_epsilons();
    job.add_epsilons(1e-5);
    const auto outcome = Attacked(job, data_, steps);
    ASSERT_OK(outcome);
    EXPECT_EQ(Count(*outcome, v1::VERDICT_UNDECIDED), 24);
    ExpectRecordsHold(*outcome, job, data_, steps);
  });
}

TEST_F(AttacksTest, LogitsThatAreNotFiniteUnderAttackAreAnErrorAndNotARobustModel) {
  LabelAsPredicted(data_, linear_);
  const torch::Tensor clean = AllInputs(data_).flatten(1).unsqueeze(0);
  Made spoiled([&](const torch::Tensor& inputs) {
    const torch::Tensor moved = (inputs.detach().flatten(1).unsqueeze(1) - clean).abs().amax(2).amin(1) > 0;
    return linear_.Logits(inputs).masked_fill(moved.view({-1, 1}), std::numeric_limits<float>::quiet_NaN());
  });
  ForEveryAttack([&](const v1::AttackJob& job) {
    EXPECT_THAT(Attacked(job, data_, spoiled),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("robust accuracy cannot be said")));
  });
}

TEST_F(AttacksTest, OtherNamesForTheClassesGiveTheSameVerdicts) {
  const std::vector<int64_t> order = {2, 0, 3, 1};  // class k is now what was order[k]
  Made renamed(
      [&](const torch::Tensor& inputs) { return linear_.Logits(inputs).index_select(1, torch::tensor(order)); });
  Dataset other = data_;
  for (uint8_t& label : other.labels) {
    label = static_cast<uint8_t>(std::find(order.begin(), order.end(), int64_t{label}) - order.begin());
  }
  ForEveryAttack([&](const v1::AttackJob& job) {
    if (job.attack().has_autoattack()) return;  // its members are in the list
    const auto plain = Attacked(job, data_, linear_);
    const auto under_names = Attacked(job, other, renamed);
    ASSERT_OK(plain);
    ASSERT_OK(under_names);
    for (size_t i = 0; i < data_.count; ++i) {
      const v1::ExampleRecord& record = plain->records[i];
      EXPECT_EQ(under_names->records[i].verdict(), record.verdict()) << i;
      EXPECT_EQ(under_names->records[i].broken_at(), record.broken_at()) << i;
    }
  });
}

TEST_F(AttacksTest, NoExampleIsGivenMorePassesThanTheBudgetAndTheConfirmation) {
  LabelAsPredicted(data_, linear_);
  for (const uint64_t budget : {1, 2, 9, 40}) {
    ForEveryAttack([&](v1::AttackJob job) {
      job.mutable_attack()->set_query_budget(budget);
      const auto outcome = Attacked(job, data_, linear_);
      ASSERT_OK(outcome);
      uint64_t most = 0;
      for (const v1::ExampleRecord& record : outcome->records) most = std::max(most, record.forward_passes());
      EXPECT_LE(most, budget + 1);
      EXPECT_GE(most, std::min<uint64_t>(budget, 2));
      ExpectRecordsHold(*outcome, job, data_, linear_);
    });
  }
}

TEST_F(AttacksTest, GradientsThatAreAveragedOverPassesStayInTheBudgetToo) {
  LabelAsPredicted(data_, linear_);
  v1::AttackJob job = JobOf("apgd { steps: 12 restarts: 1 rho: 0.75 eot: 20 loss: ATTACK_LOSS_CE } query_budget: 30",
                            v1::NORM_LINF, {0.001});
  const auto outcome = Attacked(job, data_, linear_);
  ASSERT_OK(outcome);
  for (const v1::ExampleRecord& record : outcome->records) EXPECT_LE(record.forward_passes(), 31u);
}

TEST_F(AttacksTest, WhatCannotBeRunIsRefusedAndSaysWhatToWrite) {
  struct Case {
    const char* attack;
    uint32_t classes;
    const char* says;
  };
  const Case cases[] = {
      {"pgd { steps: 5 restarts: 1 loss: ATTACK_LOSS_DLR }", 2, "needs 3 classes or more, and the data have 2"},
      {"pgd { steps: 5 restarts: 1 loss: ATTACK_LOSS_DLR targets: 2 }", 3, "needs 4 classes or more"},
      {"pgd { steps: 5 restarts: 1 loss: ATTACK_LOSS_KL random_start: true targets: 2 }", 4, "no targeted form"},
      {"pgd { steps: 5 restarts: 1 loss: ATTACK_LOSS_KL }", 4, "random_start: true"},
      {"apgd { steps: 5 restarts: 1 eot: 1 loss: ATTACK_LOSS_DLR }", 2, "needs 3 classes or more"},
      {"apgd { steps: 5 restarts: 1 eot: 1 loss: ATTACK_LOSS_DLR targets: 2 }", 3, "needs 4 classes or more"},
      {"apgd { steps: 5 restarts: 1 eot: 1 loss: ATTACK_LOSS_KL }", 4, "`loss` of apgd is ce or dlr"},
      {"apgd { steps: 5 restarts: 1 eot: 1 loss: ATTACK_LOSS_CE larger_radii_first: true }", 4, "`norm: l1` only"},
      {"autoattack { version: AUTO_ATTACK_VERSION_STANDARD }", 3, "components: [apgd_ce, fab, square]"},
      {"autoattack { version: AUTO_ATTACK_VERSION_PLUS }", 2, "components: [apgd_ce, fab, square]"},
      {"pgd { restarts: 1 }", 4, "`steps` of pgd is a whole number, 1 to 100000; 0 is not"},
      {"apgd { restarts: 1 eot: 1 loss: ATTACK_LOSS_CE }", 4, "`steps` of apgd"},
      {"apgd { restarts: 1 steps: 5 loss: ATTACK_LOSS_CE }", 4, "`eot` of apgd"},
      {"fab { restarts: 1 eta: 1.05 }", 4, "`steps` of fab"},
      {"square { restarts: 1 p_init: 0.8 }", 4, "`queries` of square"},
      {"square { queries: 5 p_init: 0.8 }", 4, "`restarts` of square"},
      {"noise {}", 4, "`draws` of noise"},
      {"spsa { steps: 1 samples: 1 delta: 0.1 learning_rate: 1 restarts: 1 loss: ATTACK_LOSS_KL }", 4,
       "ce, margin or dlr"},
      {"", 4, "method"},
  };
  for (const Case& refused : cases) {
    const Dataset data = MakeToyDataset(4, 8, refused.classes, 0.2);
    LinearModel linear(ToyWeights(data));
    EXPECT_THAT(Attacked(JobOf(refused.attack, v1::NORM_LINF, {0.1}), data, linear),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(refused.says)))
        << refused.attack;
  }
  EXPECT_THAT(
      Attacked(JobOf("fgsm {}", v1::NORM_L0, {0.1}), data_, linear_),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("`fgsm` takes the norms linf, l2, l1; `l0` is not")));
}

TEST_F(AttacksTest, RadiiThatAreNoneOrOutOfOrderAreRefused) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const std::vector<double>& radii : std::vector<std::vector<double>>{
           {0.2, 0.1}, {0.1, 0.1}, {std::nan("")}, {0.1, std::nan("")}, {0.1, infinity}, {-0.1}}) {
    EXPECT_THAT(Attacked(JobOf("fgsm {}", v1::NORM_LINF, radii), data_, linear_),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least 0 and ascending")))
        << ::testing::PrintToString(radii);
  }
  // Jobs of old stores have one, in the attack.
  for (const double radius : {-0.1, std::nan("")}) {
    v1::AttackJob job = JobOf("fgsm {}", v1::NORM_LINF, {});
    job.mutable_attack()->set_epsilon(radius);
    EXPECT_THAT(Attacked(job, data_, linear_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("epsilons")));
  }
}

// Autograd gives the gradient of a sum as one value seen many times.
TEST_F(AttacksTest, AGradientThatIsAViewIsTakenAsAnyOther) {
  data_ = MakeToyDataset(8, 6, 2, 0.5);
  Made brightness([](const torch::Tensor& inputs) {
    const torch::Tensor total = inputs.sum({1, 2, 3});
    return torch::stack({torch::zeros_like(total), total - 18}, 1);
  });
  LabelAsPredicted(data_, brightness);
  for (const v1::Norm norm : kAttackNorms) {
    const v1::AttackJob job = JobOf("pgd { steps: 5 restarts: 1 loss: ATTACK_LOSS_CE }", norm, {36});
    EXPECT_OK(Attacked(job, data_, brightness)) << v1::Norm_Name(norm);
  }
}

}  // namespace
}  // namespace tightrope
