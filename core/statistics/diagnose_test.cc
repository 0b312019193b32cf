#include "core/statistics/diagnose.h"

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Jobs of one model on 1,000 examples of ten classes, each a row at one radius.
class DiagnoseTest : public ::testing::Test {
 protected:
  // Returns the place of the row.
  size_t Add(const std::string& name, double epsilon, uint64_t broken, const std::function<void(v1::Attack&)>& choose,
             v1::Norm norm = v1::NORM_LINF) {
    v1::Job& job = *plan_.add_jobs();
    job.set_digest(absl::StrCat("job ", plan_.jobs_size()));
    v1::AttackJob& attack = *job.mutable_spec()->mutable_attack();
    attack.mutable_attack()->set_norm(norm);
    choose(*attack.mutable_attack());
    attack.add_epsilons(epsilon);
    attack.mutable_data()->set_channels(1);
    attack.mutable_data()->set_height(28);
    attack.mutable_data()->set_width(28);
    attack.mutable_data()->set_classes(10);
    counts_[job.digest()] = {.n = 1000,
                             .clean_correct = 990,
                             .broken_at = {{0, 10}, {epsilon, broken - 10}},
                             .broken_by = {{name, broken - 10}},
                             .largest_class = 113};
    v1::MetricRow& row = rows_.emplace_back();
    row.set_model("cnn");
    row.set_attack(name);
    row.set_norm(norm == v1::NORM_LINF ? "linf" : "l2");
    row.set_epsilon(epsilon);
    row.set_n(1000);
    row.add_seeds(1);
    row.set_job_digest(job.digest());
    return rows_.size() - 1;
  }
  size_t AddPgd(double epsilon, uint64_t broken) {
    return Add("pgd", epsilon, broken, [](v1::Attack& a) { a.mutable_pgd(); });
  }
  v1::AttackDiagnostics& Seen(size_t place) { return counts_[rows_[place].job_digest()].diagnostics; }

  std::vector<std::string> KindsOf(size_t place) {
    std::vector<v1::MetricRow> rows = rows_;
    Diagnose(plan_, counts_, rows);
    std::vector<std::string> kinds;
    for (const v1::Diagnostic& diagnostic : rows[place].diagnostics()) {
      kinds.push_back(diagnostic.kind());
      message_ = diagnostic.message();
    }
    return kinds;
  }

  v1::Plan plan_;
  std::map<std::string, VerdictCounts> counts_;
  std::vector<v1::MetricRow> rows_;
  std::string message_;  // of the last kind
};

TEST_F(DiagnoseTest, NothingIsSaidOfAnAttackThatSawNothingOdd) {
  const size_t pgd = AddPgd(0.1, 300);
  Seen(pgd).set_gradients(20000);
  Seen(pgd).set_zero_gradients(900);
  Seen(pgd).set_late_successes(9);
  Seen(pgd).set_same_outputs(999);
  Seen(pgd).set_probabilities(499);
  EXPECT_THAT(KindsOf(pgd), IsEmpty());
}

TEST_F(DiagnoseTest, GradientsThatAreZeroOrNotFiniteAreTold) {
  const size_t pgd = AddPgd(0.1, 300);
  Seen(pgd).set_gradients(20000);
  Seen(pgd).set_zero_gradients(1000);
  EXPECT_THAT(KindsOf(pgd), ElementsAre("zero_gradients"));
  EXPECT_THAT(message_, HasSubstr("1000 of 20000 (5.0 %) of the gradients were zero"));
  Seen(pgd).set_nonfinite_gradients(1);
  EXPECT_THAT(KindsOf(pgd), ElementsAre("zero_gradients", "nonfinite_gradients"));
}

TEST_F(DiagnoseTest, ProbabilitiesAndConstantsAreTold) {
  const size_t pgd = AddPgd(0.1, 300);
  Seen(pgd).set_probabilities(1000);
  Seen(pgd).set_same_outputs(1000);
  EXPECT_THAT(KindsOf(pgd), ElementsAre("probabilities", "constant_outputs"));
}

TEST_F(DiagnoseTest, WitnessesThatCameLateAskForMoreSteps) {
  const size_t pgd = AddPgd(0.1, 300);
  Seen(pgd).set_late_successes(10);
  EXPECT_THAT(KindsOf(pgd), ElementsAre("still_improving"));
}

TEST_F(DiagnoseTest, RestartsOrStepsThatStillHelpAreTold_OfTheLongerSearch) {
  const auto pgd = [](uint32_t steps, uint32_t restarts, uint32_t targets = 0) {
    return [=](v1::Attack& a) {
      a.set_name(absl::StrCat("pgd ", steps, "x", restarts));
      a.mutable_pgd()->set_steps(steps);
      a.mutable_pgd()->set_restarts(restarts);
      a.mutable_pgd()->set_targets(targets);
    };
  };
  const size_t once = Add("pgd 20x1", 0.1, 300, pgd(20, 1));
  const size_t often = Add("pgd 20x5", 0.1, 302, pgd(20, 5));
  const size_t longer = Add("pgd 200x5", 0.1, 303, pgd(200, 5));  // one more is none
  const size_t other = Add("pgd 400x5", 0.1, 400, pgd(400, 5, 9));
  EXPECT_THAT(KindsOf(once), IsEmpty());
  EXPECT_THAT(KindsOf(often), ElementsAre("still_improving"));
  EXPECT_THAT(message_, HasSubstr("fewer steps or restarts (pgd 20x1) it broke 2 examples fewer"));
  EXPECT_THAT(KindsOf(longer), IsEmpty());
  EXPECT_THAT(KindsOf(other), IsEmpty());  // it differs in more than that
}

TEST_F(DiagnoseTest, NoiseThatBreaksMoreThanAnAttackIsTold_AtTheSameRadiusOnly) {
  const size_t pgd = AddPgd(0.1, 300);
  const size_t noise = Add("noise", 0.1, 302, [](v1::Attack& a) { a.mutable_noise(); });
  Add("noise", 0.2, 900, [](v1::Attack& a) { a.mutable_noise(); });
  EXPECT_THAT(KindsOf(pgd), ElementsAre("noise_beats_attack"));
  EXPECT_THAT(message_, HasSubstr("(noise) broke 2 examples more"));
  EXPECT_THAT(KindsOf(noise), IsEmpty());
  rows_[noise].set_training("another");
  EXPECT_THAT(KindsOf(pgd), IsEmpty());
}

TEST_F(DiagnoseTest, AnAttackWithoutGradientsThatBreaksMoreIsTold_OfTheBestThatTakesThem) {
  const size_t weak = AddPgd(0.1, 200);
  const size_t strong = Add("apgd", 0.1, 300, [](v1::Attack& a) { a.mutable_apgd(); });
  const size_t square = Add("square", 0.1, 301, [](v1::Attack& a) { a.mutable_square(); });
  EXPECT_THAT(KindsOf(strong), IsEmpty());  // by one example
  counts_[rows_[square].job_digest()].broken_at[0.1] += 20;
  EXPECT_THAT(KindsOf(strong), ElementsAre("queries_beat_gradients"));
  EXPECT_THAT(KindsOf(weak), IsEmpty());
  EXPECT_THAT(KindsOf(square), IsEmpty());
}

TEST_F(DiagnoseTest, GradientsOfAnotherModelThatBreakMoreThanTheModelsOwnAreTold) {
  const size_t own = AddPgd(0.1, 200);
  const size_t transfer = AddPgd(0.1, 201);
  plan_.mutable_jobs(1)->mutable_spec()->mutable_attack()->set_surrogate_sha256("of another model");
  EXPECT_THAT(KindsOf(own), IsEmpty());
  counts_[rows_[transfer].job_digest()].broken_at[0.1] += 1;
  EXPECT_THAT(KindsOf(own), ElementsAre("transfer_beats_attack"));
  EXPECT_THAT(KindsOf(transfer), IsEmpty());
}

TEST_F(DiagnoseTest, SquareThatBreaksWhatItsEnsembleHadLeftIsTold) {
  const size_t ensemble = Add("autoattack", 0.1, 300, [](v1::Attack& a) {
    a.mutable_autoattack()->set_version(v1::AUTO_ATTACK_VERSION_STANDARD);
  });
  EXPECT_THAT(KindsOf(ensemble), IsEmpty());
  counts_[rows_[ensemble].job_digest()].broken_by = {{"apgd_ce", 280}, {"square", 2}};
  EXPECT_THAT(KindsOf(ensemble), ElementsAre("queries_beat_gradients"));
  // Alone it had nothing before it.
  v1::AutoAttack& attack =
      *plan_.mutable_jobs(0)->mutable_spec()->mutable_attack()->mutable_attack()->mutable_autoattack();
  attack.add_components(v1::AUTO_ATTACK_COMPONENT_SQUARE);
  EXPECT_THAT(KindsOf(ensemble), IsEmpty());
}

TEST_F(DiagnoseTest, WhatStandsWhereAllBallsShareAPointIsNotRobust) {
  EXPECT_THAT(KindsOf(AddPgd(0.5, 887)), IsEmpty());  // one class may
  EXPECT_THAT(KindsOf(AddPgd(0.49, 10)), IsEmpty());
  EXPECT_THAT(KindsOf(AddPgd(0.5, 886)), ElementsAre("robust_at_large_radius"));
  const auto ddn = [](v1::Attack& a) { a.mutable_ddn(); };
  EXPECT_THAT(KindsOf(Add("ddn", 13.9, 100, ddn, v1::NORM_L2)), IsEmpty());
  EXPECT_THAT(KindsOf(Add("ddn", 14, 100, ddn, v1::NORM_L2)), ElementsAre("robust_at_large_radius"));
}

TEST_F(DiagnoseTest, StochasticModelIsTold) {
  const size_t pgd = AddPgd(0.1, 300);
  plan_.mutable_jobs(0)->mutable_spec()->mutable_attack()->mutable_model()->set_stochastic(true);
  EXPECT_THAT(KindsOf(pgd), ElementsAre("stochastic_model"));
}

}  // namespace
}  // namespace tightrope
