#include "core/plan/plan.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

v1::DatasetRef Dataset(v1::Split split, char digit, uint64_t count) {
  v1::DatasetRef data;
  data.set_name("mnist");
  data.set_split(split);
  data.set_images_sha256(std::string(64, digit));
  data.set_labels_sha256(std::string(64, static_cast<char>(digit + 1)));
  data.set_count(count);
  data.set_channels(1);
  data.set_height(28);
  data.set_width(28);
  data.set_classes(10);
  return data;
}

v1::Inputs TestInputs() {
  v1::Inputs inputs;
  *inputs.mutable_train() = Dataset(v1::SPLIT_TRAIN, '1', 60'000);
  *inputs.mutable_test() = Dataset(v1::SPLIT_TEST, '3', 10'000);
  (*inputs.mutable_file_sha256())["golden/at03.pt"] = std::string(64, 'a');
  return inputs;
}

v1::Training StandardEntry(const std::string& name, uint32_t epochs) {
  v1::Training training;
  training.set_name(name);
  training.mutable_standard();
  training.set_epochs(epochs);
  training.set_batch_size(128);
  training.set_optimizer(v1::OPTIMIZER_ADAM);
  training.set_learning_rate(0.001);
  training.set_schedule(v1::SCHEDULE_CONSTANT);
  training.set_decay(0.1);
  training.set_examples(60'000);
  return training;
}

v1::Attack PgdEntry(const std::string& name, double epsilon) {
  v1::Attack attack;
  attack.set_name(name);
  attack.mutable_pgd()->set_steps(20);
  attack.mutable_pgd()->set_restarts(1);
  attack.mutable_pgd()->set_random_start(true);
  attack.set_norm(v1::NORM_LINF);
  attack.set_epsilon(epsilon);
  return attack;
}

// One trained model and one TorchScript model, two trainings, two seeds, two attacks.
v1::Experiment TestExperiment() {
  v1::Experiment experiment;
  experiment.set_name("test");
  experiment.set_dataset("mnist");
  experiment.mutable_examples()->set_start(100);
  experiment.mutable_examples()->set_count(600);
  experiment.set_shard_size(250);
  experiment.add_seeds(1);
  experiment.add_seeds(2);
  v1::Model& trained = *experiment.add_models();
  trained.set_name("cnn");
  trained.mutable_architecture()->mutable_small_cnn();
  v1::Model& imported = *experiment.add_models();
  imported.set_name("at03");
  imported.mutable_architecture()->set_torchscript("golden/at03.pt");
  *experiment.add_training() = StandardEntry("short", 5);
  *experiment.add_training() = StandardEntry("long", 50);
  *experiment.add_attacks() = PgdEntry("pgd", 0.1);
  *experiment.add_attacks() = PgdEntry("pgd", 0.3);
  return experiment;
}

std::map<std::string, v1::Job> JobsByDigest(const v1::Plan& plan) {
  std::map<std::string, v1::Job> jobs;
  for (const v1::Job& job : plan.jobs()) jobs[job.digest()] = job;
  return jobs;
}

std::vector<std::pair<uint64_t, uint64_t>> Ranges(const v1::Job& job) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const v1::Shard& shard : job.shards()) ranges.emplace_back(shard.begin(), shard.end());
  return ranges;
}

TEST(PlanTest, SameArgumentsGiveTheSameBytes) {
  const v1::Plan plan = MakePlan(TestExperiment(), TestInputs());
  EXPECT_EQ(plan.SerializeAsString(), MakePlan(TestExperiment(), TestInputs()).SerializeAsString());
  for (const v1::Job& job : plan.jobs()) EXPECT_EQ(job.digest(), JobDigest(job.spec()));
}

TEST(PlanTest, DependenciesComeFirstAndAllTrainingBeforeAllElse) {
  const v1::Plan plan = MakePlan(TestExperiment(), TestInputs());
  std::set<std::string> before;
  bool training_is_over = false;
  for (const v1::Job& job : plan.jobs()) {
    for (const std::string& needed : job.depends_on()) EXPECT_TRUE(before.count(needed)) << job.DebugString();
    EXPECT_FALSE(training_is_over && job.spec().has_train());
    training_is_over = training_is_over || !job.spec().has_train();
    EXPECT_TRUE(before.insert(job.digest()).second) << "twice: " << job.digest();
  }
  // 2 trainings × 2 seeds; an evaluation and an attack at both radii of each; of the file 1 evaluation and 2 seeds'
  // attacks.
  EXPECT_THAT(plan.jobs(), SizeIs(4 + 4 * 2 + 1 + 2));
}

TEST(PlanTest, CellsFollowTheFileModelThenTrainingThenSeed) {
  const v1::Experiment experiment = TestExperiment();
  const v1::Plan plan = MakePlan(experiment, TestInputs());
  const std::map<std::string, v1::Job> jobs = JobsByDigest(plan);
  std::vector<std::string> described;
  for (const v1::Cell& cell : plan.cells()) described.push_back(Describe(cell, jobs.at(cell.job_digest())));
  ASSERT_THAT(described, SizeIs(4 * 4 + 2 * 3));
  EXPECT_THAT(std::vector<std::string>(described.begin(), described.begin() + 5),
              ElementsAre("train cnn / short, seed 1", "evaluate cnn / short, seed 1",
                          "attack cnn / short, seed 1, pgd linf 0.1 to 0.3",
                          "attack cnn / short, seed 1, pgd linf 0.1 to 0.3", "train cnn / short, seed 2"));
  EXPECT_EQ(plan.cells(1).epsilon(), 0);
  EXPECT_EQ(plan.cells(2).epsilon(), 0.1);
  EXPECT_EQ(plan.cells(3).epsilon(), 0.3);
  EXPECT_EQ(described[8], "train cnn / long, seed 1");
  EXPECT_THAT(std::vector<std::string>(described.begin() + 16, described.end()),
              ElementsAre("evaluate at03, seed 1", "attack at03, seed 1, pgd linf 0.1 to 0.3",
                          "attack at03, seed 1, pgd linf 0.1 to 0.3", "evaluate at03, seed 2",
                          "attack at03, seed 2, pgd linf 0.1 to 0.3", "attack at03, seed 2, pgd linf 0.1 to 0.3"));
}

TEST(PlanTest, ImportedModelIsEvaluatedOnceForAllSeedsAndAttackedForEach) {
  v1::Experiment experiment = TestExperiment();
  experiment.clear_training();
  experiment.mutable_models()->DeleteSubrange(0, 1);
  const v1::Plan plan = MakePlan(experiment, TestInputs());
  ASSERT_THAT(plan.cells(), SizeIs(6));
  EXPECT_EQ(plan.cells(0).job_digest(), plan.cells(3).job_digest());
  EXPECT_NE(plan.cells(1).job_digest(), plan.cells(4).job_digest());
  for (const v1::Cell& cell : plan.cells()) EXPECT_THAT(cell.train_job_digest(), IsEmpty());
  for (const v1::Job& job : plan.jobs()) {
    EXPECT_THAT(job.depends_on(), IsEmpty());
    EXPECT_THAT(job.artifacts(), ElementsAre(std::string(64, '3'), std::string(64, '4'), std::string(64, 'a')));
  }
}

TEST(PlanTest, AnAttackThatDrawsNothingIsOneJobForAllSeedsOfAnImportedModel) {
  v1::Experiment experiment = TestExperiment();
  experiment.clear_training();
  experiment.mutable_models()->DeleteSubrange(0, 1);
  experiment.mutable_attacks(0)->mutable_pgd()->set_random_start(false);
  experiment.mutable_attacks(1)->mutable_fgsm();
  v1::Plan plan = MakePlan(experiment, TestInputs());
  EXPECT_EQ(plan.cells(1).job_digest(), plan.cells(4).job_digest());
  EXPECT_EQ(plan.cells(2).job_digest(), plan.cells(5).job_digest());
  experiment.mutable_attacks(0)->mutable_pgd()->set_restarts(2);  // the second one starts at random
  plan = MakePlan(experiment, TestInputs());
  EXPECT_NE(plan.cells(1).job_digest(), plan.cells(4).job_digest());
}

TEST(PlanTest, EntriesThatDifferInNameOnlyShareTheirJobs) {
  v1::Experiment experiment = TestExperiment();
  const int jobs = MakePlan(experiment, TestInputs()).jobs_size();
  *experiment.add_training() = StandardEntry("short again", 5);
  *experiment.add_attacks() = PgdEntry("the same pgd", 0.1);
  v1::Model& model = *experiment.add_models();
  model.set_name("the same cnn");
  model.mutable_architecture()->mutable_small_cnn();
  const v1::Plan plan = MakePlan(experiment, TestInputs());
  EXPECT_EQ(plan.jobs_size(), jobs);
  EXPECT_THAT(plan.cells(), SizeIs(2 * 3 * 2 * 5 + 2 * 4));
}

// The attack jobs that a model without training gets from these attacks.
std::vector<v1::AttackJob> AttackJobs(const std::vector<v1::Attack>& attacks) {
  v1::Experiment experiment = TestExperiment();
  experiment.clear_training();
  experiment.mutable_models()->DeleteSubrange(0, 1);
  experiment.mutable_seeds()->RemoveLast();
  experiment.mutable_attacks()->Assign(attacks.begin(), attacks.end());
  std::vector<v1::AttackJob> jobs;
  const v1::Plan plan = MakePlan(experiment, TestInputs());
  for (const v1::Job& job : plan.jobs()) {
    if (job.spec().has_attack()) jobs.push_back(job.spec().attack());
  }
  return jobs;
}

TEST(PlanTest, RadiiOfAttacksThatAreElseEqualAreOneJob_AscendingAndEachOnce) {
  const std::vector<v1::AttackJob> jobs = AttackJobs({PgdEntry("a", 0.3), PgdEntry("b", 0.1), PgdEntry("c", 0.3)});
  ASSERT_THAT(jobs, SizeIs(1));
  EXPECT_THAT(jobs[0].epsilons(), ElementsAre(0.1, 0.3));
  EXPECT_EQ(jobs[0].attack().epsilon(), 0);
  EXPECT_EQ(jobs[0].attack().name(), "");
}

TEST(PlanTest, RadiiOfAttacksThatDifferInAnythingElseAreJobsOfTheirOwn) {
  v1::Attack longer = PgdEntry("pgd", 0.3);
  longer.mutable_pgd()->set_steps(21);
  v1::Attack other_norm = PgdEntry("pgd", 0.3);
  other_norm.set_norm(v1::NORM_L2);
  v1::Attack budgeted = PgdEntry("pgd", 0.3);
  budgeted.set_query_budget(100);
  v1::Attack given_step = PgdEntry("pgd", 0.3);
  given_step.mutable_pgd()->set_step_size(2.5 * 0.3 / 20);
  EXPECT_THAT(AttackJobs({PgdEntry("pgd", 0.1), longer, other_norm, budgeted, given_step}), SizeIs(5));
}

TEST(PlanTest, IndependentRadiiAreAJobEach_AndOneRadiusIsTheSameWorkUnderEitherProtocol) {
  std::vector<v1::Attack> attacks = {PgdEntry("pgd", 0.1), PgdEntry("pgd", 0.3)};
  for (v1::Attack& attack : attacks) attack.set_protocol(v1::RADIUS_PROTOCOL_INDEPENDENT);
  const std::vector<v1::AttackJob> jobs = AttackJobs(attacks);
  ASSERT_THAT(jobs, SizeIs(2));
  EXPECT_THAT(jobs[0].epsilons(), ElementsAre(0.1));
  EXPECT_THAT(jobs[1].epsilons(), ElementsAre(0.3));

  v1::Attack shared = PgdEntry("pgd", 0.1);
  shared.set_protocol(v1::RADIUS_PROTOCOL_SHARED);
  EXPECT_THAT(AttackJobs({attacks[0], shared}), SizeIs(1));
}

TEST(PlanTest, OldJobHasItsOneRadiusInTheAttack) {
  v1::AttackJob old;
  old.mutable_attack()->set_epsilon(0.2);
  EXPECT_THAT(RadiiOf(old), ElementsAre(0.2));
  EXPECT_EQ(RadiusOf({}, old), 0.2);
}

TEST(PlanTest, SeedHasNoSayInAttacksThatDrawNothing) {
  const auto seed = [](const v1::Attack& attack) { return AttackJobs({attack})[0].seed(); };
  v1::Attack attack;
  attack.mutable_fgsm();
  EXPECT_EQ(seed(attack), 0u);
  attack.mutable_fab()->set_restarts(1);
  EXPECT_EQ(seed(attack), 0u);
  attack.mutable_fab()->set_restarts(2);
  EXPECT_EQ(seed(attack), 1u);
  for (auto draw : {+[](v1::Attack& a) { a.mutable_apgd(); }, +[](v1::Attack& a) { a.mutable_square(); },
                    +[](v1::Attack& a) { a.mutable_autoattack(); }, +[](v1::Attack& a) { a.mutable_noise(); }}) {
    draw(attack);
    EXPECT_EQ(seed(attack), 1u) << attack.DebugString();
  }
}

TEST(PlanTest, NamesAndShardSizeAreNotPartOfAJobsIdentity) {
  v1::Experiment renamed = TestExperiment();
  renamed.set_name("another");
  renamed.set_shard_size(7);
  renamed.mutable_models(0)->set_name("another model");
  renamed.mutable_training(0)->set_name("another training");
  renamed.mutable_attacks(0)->set_name("another attack");
  v1::Inputs inputs = TestInputs();
  inputs.mutable_test()->set_name("another data set");
  const v1::Plan plan = MakePlan(TestExperiment(), TestInputs());
  const v1::Plan other = MakePlan(renamed, inputs);
  ASSERT_EQ(plan.jobs_size(), other.jobs_size());
  for (int i = 0; i < plan.jobs_size(); ++i) EXPECT_EQ(plan.jobs(i).digest(), other.jobs(i).digest());
}

TEST(PlanTest, AnyValueOfAJobIsPartOfItsIdentity) {
  const auto digest = [](const v1::Experiment& experiment, const v1::Inputs& inputs, int job) {
    return MakePlan(experiment, inputs).jobs(job).digest();
  };
  const v1::Experiment experiment = TestExperiment();
  const v1::Inputs inputs = TestInputs();
  const std::string train = digest(experiment, inputs, 0);

  v1::Experiment changed = experiment;
  changed.mutable_training(0)->set_weight_decay(1e-4);
  EXPECT_NE(train, digest(changed, inputs, 0));
  changed = experiment;
  changed.set_seeds(0, 9);
  EXPECT_NE(train, digest(changed, inputs, 0));
  changed = experiment;
  changed.mutable_models(0)->mutable_architecture()->mutable_madry_cnn();
  EXPECT_NE(train, digest(changed, inputs, 0));
  v1::Inputs other_data = inputs;
  other_data.mutable_train()->set_labels_sha256(std::string(64, 'f'));
  EXPECT_NE(train, digest(experiment, other_data, 0));

  // An evaluation changes with the model that it is of.
  const std::string evaluate = digest(experiment, inputs, 4);
  EXPECT_NE(evaluate, digest(experiment, other_data, 4));
}

TEST(PlanTest, ShardsCoverTheExamplesWithoutGapsAlsoWhenTheCountDoesNotDivide) {
  const v1::Plan plan = MakePlan(TestExperiment(), TestInputs());
  for (const v1::Job& job : plan.jobs()) {
    if (job.spec().has_train()) {
      EXPECT_THAT(Ranges(job), ElementsAre(std::make_pair(0, 1)));
    } else {
      EXPECT_THAT(Ranges(job),
                  ElementsAre(std::make_pair(100, 350), std::make_pair(350, 600), std::make_pair(600, 700)));
    }
  }
}

TEST(PlanTest, ShardLargerThanTheRangeIsCutToIt) {
  v1::Experiment experiment = TestExperiment();
  experiment.set_shard_size(100'000);
  EXPECT_THAT(Ranges(MakePlan(experiment, TestInputs()).jobs(4)), ElementsAre(std::make_pair(100, 700)));
}

TEST(PlanTest, JobsNeedOnlyTheSplitThatTheyRead) {
  const v1::Plan plan = MakePlan(TestExperiment(), TestInputs());
  EXPECT_THAT(plan.jobs(0).artifacts(), ElementsAre(std::string(64, '1'), std::string(64, '2')));
  EXPECT_THAT(plan.jobs(4).artifacts(), ElementsAre(std::string(64, '3'), std::string(64, '4')));
}

TEST(PlanTest, WhatANewerClientSentAlongIsNotPartOfAnIdentity) {
  v1::Experiment experiment = TestExperiment();
  auto* pgd = experiment.mutable_attacks(0)->mutable_pgd();
  pgd->GetReflection()->MutableUnknownFields(pgd)->AddVarint(1000, 1);
  EXPECT_EQ(MakePlan(experiment, TestInputs()).SerializeAsString(),
            MakePlan(TestExperiment(), TestInputs()).SerializeAsString());
}

// The identities that stores out there hold. If one changes by accident, every cached result is lost; if on purpose,
// raise that kind's revision and write the new digest here.
TEST(PlanTest, DigestsAreWhatTheyWere) {
  const v1::Plan plan = MakePlan(TestExperiment(), TestInputs());
  EXPECT_EQ(plan.jobs(0).digest(), "7df2695442c2e2f1316ac2ba4e7dae6290e5c612af7a0eb199789954d4f111c7");
  EXPECT_EQ(plan.jobs(4).digest(), "e7dbddd2c4ccde3b16186850a6c3defcc39f41780743e3ced1bd485e25c3d088");
  EXPECT_EQ(plan.jobs(5).digest(), "af66c4382e99a1f209380f5b85466ad3c9a27af07ea049e8f490f87f194b43c0");
  EXPECT_EQ(DatasetDigest(TestInputs().test()), "325d74340e5e7f0dbd13b845acc6eb8f0d6f5397585728ac34b59172251cc574");
}

}  // namespace
}  // namespace tightrope
