#include "cli/plan_format.h"

#include <functional>
#include <sstream>
#include <utility>

#include "core/plan/plan.h"
#include "core/plan/work_estimate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

v1::DatasetRef Split(v1::Split split, uint64_t count) {
  v1::DatasetRef ref;
  ref.set_name("mnist");
  ref.set_split(split);
  ref.set_images_sha256(std::string(64, split == v1::SPLIT_TRAIN ? 'a' : 'b'));
  ref.set_labels_sha256(std::string(64, 'c'));
  ref.set_count(count);
  ref.set_channels(1);
  ref.set_height(28);
  ref.set_width(28);
  ref.set_classes(10);
  return ref;
}

class PlanFormatTest : public ::testing::Test {
 protected:
  PlanFormatTest() {
    *inputs_.mutable_train() = Split(v1::SPLIT_TRAIN, 60000);
    *inputs_.mutable_test() = Split(v1::SPLIT_TEST, 10000);
    experiment_.set_name("quick");
    experiment_.set_dataset("mnist");
    experiment_.mutable_examples()->set_count(500);
    experiment_.add_seeds(1);
    experiment_.set_shard_size(250);
    v1::Model& model = *experiment_.add_models();
    model.set_name("small_cnn");
    model.mutable_architecture()->mutable_small_cnn();
    v1::Training& training = *experiment_.add_training();
    training.set_name("pgd");
    training.mutable_pgd()->set_steps(7);
    training.set_epochs(2);
    for (const double epsilon : {0.1, 0.3}) {
      v1::Attack& attack = *experiment_.add_attacks();
      attack.set_name("pgd");
      attack.set_norm(v1::NORM_LINF);
      attack.set_epsilon(epsilon);
      attack.mutable_pgd()->set_steps(20);
      attack.mutable_pgd()->set_restarts(3);
    }
    plan_ = MakePlan(experiment_, inputs_);
  }
  PlanReport Report() const {
    return {.experiment = experiment_, .inputs = inputs_, .plan = plan_, .store_asked = false, .committed = {}};
  }

  v1::Experiment experiment_;
  v1::Inputs inputs_;
  v1::Plan plan_;
};

TEST_F(PlanFormatTest, WorkIsCountedInPassesOfOneExample) {
  ASSERT_EQ(plan_.jobs_size(), 3);
  EXPECT_EQ(EstimateWork(plan_.jobs(0)).forward_passes, 60000.0 * 2 * 8);
  EXPECT_EQ(EstimateWork(plan_.jobs(0)).backward_passes, 60000.0 * 2 * 8);
  EXPECT_EQ(EstimateWork(plan_.jobs(1)).forward_passes, 500);
  EXPECT_EQ(EstimateWork(plan_.jobs(1)).backward_passes, 0);
  EXPECT_EQ(EstimateWork(plan_.jobs(2)).forward_passes, 500.0 * (1 + 2 * (3 * 21 + 1)));
  EXPECT_EQ(EstimateWork(plan_.jobs(2)).backward_passes, 500.0 * 2 * 3 * 20);
}

TEST_F(PlanFormatTest, WorkOfAnAttack_IsThatOfItsBalls_UnlessItNeedsNoneOrHasABudget) {
  const auto passes = [&](const std::function<void(v1::Attack&)>& choose) {
    for (v1::Attack& attack : *experiment_.mutable_attacks()) choose(attack);
    const WorkEstimate work = EstimateWork(MakePlan(experiment_, inputs_).jobs(2));
    return std::pair(work.forward_passes / 500, work.backward_passes / 500);
  };
  EXPECT_EQ(passes([](v1::Attack& a) { a.mutable_noise()->set_draws(7); }), std::pair(1.0 + 2 * (7 + 1), 0.0));
  EXPECT_EQ(passes([](v1::Attack& a) { a.mutable_fgsm(); }), std::pair(1.0 + 2 * 3, 2.0));
  const auto choose_fab = [](v1::Attack& a) {
    a.mutable_fab()->set_restarts(1);
    a.mutable_fab()->set_targets(9);
    a.mutable_fab()->set_steps(10);
  };
  EXPECT_EQ(passes(choose_fab), std::pair(1.0 + 9 * 20 + 1, 90.0));
  // Untargeted: a look and a gradient for each of the nine other classes, and one look more a step.
  EXPECT_EQ(passes([](v1::Attack& a) {
              a.mutable_fab()->set_restarts(1);
              a.mutable_fab()->set_targets(0);
              a.mutable_fab()->set_steps(10);
            }),
            std::pair(1.0 + 10 * 10 + 1, 90.0));
  EXPECT_EQ(passes([](v1::Attack& a) {
              a.mutable_square()->set_restarts(1);
              a.mutable_square()->set_queries(5000);
              a.set_query_budget(600);
            }),
            std::pair(600.0, 0.0));
}

TEST_F(PlanFormatTest, TrainingOnFewExamplesCountsThoseOnly) {
  experiment_.mutable_training(0)->set_examples(1000);
  plan_ = MakePlan(experiment_, inputs_);
  EXPECT_EQ(ExamplesOf(plan_.jobs(0)), 1000u);
}

TEST_F(PlanFormatTest, TableHasTheGridALineAJobAndTheTotals) {
  const std::string table = PlanTable(Report(), {.width = 100, .unicode = false, .color = false});
  EXPECT_THAT(table,
              AllOf(HasSubstr("quick on mnist: 60,000 training images of 1x28x28, 10,000 test images of 1x28x28\n"),
                    HasSubstr("attacks    pgd linf 0.1 0.3\n"), HasSubstr("examples   test 0 to 500\n"),
                    HasSubstr(plan_.jobs(0).digest().substr(0, 12) + "  train small_cnn / pgd, seed 1"),
                    HasSubstr("attack small_cnn / pgd, seed 1, pgd linf 0.1 to 0.3"),
                    HasSubstr("3 jobs in 5 shards\nat most 1.02 M forward and 1.02 M backward passes"),
                    Not(HasSubstr("cached"))));
}

TEST_F(PlanFormatTest, CachedJobsAreMarkedAndNotCountedAsWork) {
  PlanReport report = Report();
  report.store_asked = true;
  report.committed = {plan_.jobs(0).digest()};
  EXPECT_THAT(PlanTable(report, {}),
              AllOf(HasSubstr("  cached\n"), HasSubstr("3 jobs in 5 shards; 1 job (1 shard) cached\n"),
                    HasSubstr("at most 65.0 k forward and 60.0 k backward")));
  for (const v1::Job& job : plan_.jobs()) report.committed.insert(job.digest());
  EXPECT_THAT(PlanTable(report, {}), HasSubstr("nothing is left to do\n"));
}

TEST_F(PlanFormatTest, SetsOfExamplesAndDistances_AreNamedInTheGridAndInTheirJobs) {
  v1::InvarianceSet& set = *experiment_.add_invariance();
  set.set_name("eps03");
  set.mutable_linf()->set_epsilon(0.3);
  set.mutable_linf()->set_targets("all");
  set.mutable_linf()->set_shifts(5);
  set.mutable_linf()->set_rotations(31);
  set.mutable_linf()->set_candidates(54000);
  set.mutable_oracle()->mutable_dataset();
  set.set_shard_size(50);
  v1::Alignment& alignment = *experiment_.add_alignment();
  alignment.set_name("l2");
  alignment.set_norm(v1::NORM_L2);
  alignment.set_split(v1::SPLIT_TRAIN);
  alignment.set_anchors(2000);
  alignment.set_shard_size(1000);
  plan_ = MakePlan(experiment_, inputs_);
  EXPECT_THAT(
      PlanTable(Report(), {.width = 100, .unicode = false, .color = false}),
      AllOf(HasSubstr("  alignment  l2\n"), HasSubstr("  invariance eps03\n"), HasSubstr("  make eps03, seed 1"),
            HasSubstr("  evaluate small_cnn / pgd, seed 1, on eps03"), HasSubstr("  alignment l2 of train")));
  std::ostringstream out;
  WritePlanJson(Report(), out);
  const nlohmann::json json = nlohmann::json::parse(out.str());
  ASSERT_EQ(json["cells"].size(), 7u);
  EXPECT_EQ(json["cells"][4]["model"], "small_cnn");
  EXPECT_EQ(json["cells"][4]["invariance"], "eps03");
  EXPECT_TRUE(json["cells"][5]["model"].is_null());
  EXPECT_EQ(json["cells"][5]["invariance"], "eps03");
  EXPECT_EQ(json["cells"][6]["alignment"], "l2");
  EXPECT_TRUE(json["cells"][6]["seed"].is_null());
  EXPECT_TRUE(json["cells"][0]["invariance"].is_null());
  EXPECT_EQ(json["jobs"][1]["kind"], "invariance");
}

// No model works on these: they are counted in passes that take about as long.
TEST_F(PlanFormatTest, WorkOfSearchesAndDistances_GrowsWithWhatTheyCompare) {
  v1::Job job;
  v1::Shard& shard = *job.add_shards();
  shard.set_end(100);
  v1::LinfInvariance& linf = *job.mutable_spec()->mutable_invariance()->mutable_set()->mutable_linf();
  linf.set_candidates(54000);
  linf.set_shifts(5);
  linf.set_rotations(31);
  EXPECT_EQ(EstimateWork(job).forward_passes, 100 * 54000.0 * 775 / 10000);
  v1::L0Invariance& l0 = *job.mutable_spec()->mutable_invariance()->mutable_set()->mutable_l0();
  l0.set_candidates(54000);
  l0.set_transforms(1000);
  EXPECT_EQ(EstimateWork(job).forward_passes, 100 * 54000.0);
  v1::InterpolatedInvariance& line = *job.mutable_spec()->mutable_invariance()->mutable_set()->mutable_interpolate();
  line.set_candidates(54000);
  line.set_path(v1::INTERPOLATION_PATH_STRAIGHT);
  EXPECT_EQ(EstimateWork(job).forward_passes, 100 * 54.0);
  *job.mutable_spec()->mutable_alignment()->mutable_data() = Split(v1::SPLIT_TRAIN, 60000);
  EXPECT_EQ(EstimateWork(job).forward_passes, 100 * 60.0);
  v1::EvaluateInvarianceJob& evaluate = *job.mutable_spec()->mutable_evaluate_invariance();
  evaluate.mutable_oracle()->mutable_dataset();
  EXPECT_EQ(EstimateWork(job).forward_passes, 200);
  *evaluate.mutable_oracle()->mutable_training() = Split(v1::SPLIT_TRAIN, 60000);
  evaluate.mutable_oracle()->mutable_nearest()->set_first(54000);
  EXPECT_EQ(EstimateWork(job).forward_passes, 100 * (2 + 6.0));
  EXPECT_EQ(EstimateWork(job).backward_passes, 0);
  EXPECT_EQ(ExamplesOf(job), 100u);
}

TEST_F(PlanFormatTest, JsonHasWholeDigestsAndWhoNeedsWhom) {
  std::ostringstream out;
  WritePlanJson(Report(), out);
  const nlohmann::json json = nlohmann::json::parse(out.str());
  EXPECT_EQ(json["jobs"].size(), 3u);
  EXPECT_EQ(json["jobs"][0]["digest"], plan_.jobs(0).digest());
  EXPECT_EQ(json["jobs"][1]["depends_on"][0], plan_.jobs(0).digest());
  EXPECT_EQ(json["cells"].size(), 4u);
  EXPECT_TRUE(json["cells"][1]["epsilon"].is_null());
  EXPECT_EQ(json["cells"][3]["epsilon"], 0.3);
  EXPECT_EQ(json["cells"][3]["job_digest"], json["cells"][2]["job_digest"]);
  EXPECT_EQ(json["totals"]["shards"], 5);
}

}  // namespace
}  // namespace tightrope
