// The jobs about distances and invariance-based examples.
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/plan/plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

std::string Digest(char digit) { return std::string(64, digit); }

v1::DatasetRef Dataset(v1::Split split, char digit, uint64_t count) {
  v1::DatasetRef data;
  data.set_name("mnist");
  data.set_split(split);
  data.set_images_sha256(Digest(digit));
  data.set_labels_sha256(Digest(static_cast<char>(digit + 1)));
  data.set_count(count);
  data.set_channels(1);
  data.set_height(28);
  data.set_width(28);
  data.set_classes(10);
  return data;
}

class InvariancePlanTest : public testing::Test {
 protected:
  InvariancePlanTest() {
    *inputs_.mutable_train() = Dataset(v1::SPLIT_TRAIN, '1', 60'000);
    *inputs_.mutable_test() = Dataset(v1::SPLIT_TEST, '3', 10'000);
    (*inputs_.mutable_file_sha256())["at03.pt"] = Digest('a');
    (*inputs_.mutable_file_sha256())["judge.pt"] = Digest('b');
    (*inputs_.mutable_file_sha256())["labels.csv"] = Digest('c');
    v1::ArrayRef& sources = (*inputs_.mutable_arrays())["sources.npy"];
    sources.set_sha256(Digest('d'));
    sources.set_count(120);
    v1::ArrayRef& examples = (*inputs_.mutable_arrays())["examples.npy"];
    examples.set_sha256(Digest('e'));
    examples.set_count(120);

    experiment_.set_name("test");
    experiment_.set_dataset("mnist");
    experiment_.mutable_examples()->set_start(100);
    experiment_.mutable_examples()->set_count(600);
    experiment_.set_shard_size(250);
    experiment_.add_seeds(1);
    experiment_.add_seeds(2);
  }

  void AddFileModel() {
    v1::Model& model = *experiment_.add_models();
    model.set_name("at03");
    model.mutable_architecture()->set_torchscript("at03.pt");
  }
  void AddTrainedModel() {
    v1::Model& model = *experiment_.add_models();
    model.set_name("cnn");
    model.mutable_architecture()->mutable_small_cnn();
    v1::Training& training = *experiment_.add_training();
    training.set_name("standard");
    training.mutable_standard();
    training.set_epochs(5);
  }
  v1::InvarianceSet& AddSet(const std::string& name) {
    v1::InvarianceSet& set = *experiment_.add_invariance();
    set.set_name(name);
    set.mutable_oracle()->mutable_dataset();
    set.set_shard_size(50);
    return set;
  }
  v1::InvarianceSet& AddLinf(const std::string& name) {
    v1::InvarianceSet& set = AddSet(name);
    set.mutable_linf()->set_epsilon(0.3);
    set.mutable_linf()->set_targets("all");
    set.mutable_linf()->set_form(v1::INVARIANCE_FORM_CORRECTED);
    set.mutable_linf()->set_shifts(5);
    set.mutable_linf()->set_rotations(31);
    set.mutable_linf()->set_candidates(54'000);
    return set;
  }
  v1::InvarianceSet& AddL0(const std::string& name) {
    v1::InvarianceSet& set = AddSet(name);
    set.mutable_l0()->set_transforms(1000);
    set.mutable_l0()->set_candidates(54'000);
    return set;
  }
  v1::Alignment& AddAlignment(const std::string& name) {
    v1::Alignment& alignment = *experiment_.add_alignment();
    alignment.set_name(name);
    alignment.set_norm(v1::NORM_L2);
    alignment.set_split(v1::SPLIT_TRAIN);
    alignment.set_anchors(2500);
    alignment.set_most_misaligned(20);
    alignment.set_shard_size(1000);
    return alignment;
  }

  v1::Plan Plan() const { return MakePlan(experiment_, inputs_); }

  static v1::Job JobOf(const v1::Plan& plan, const v1::Cell& cell) {
    for (const v1::Job& job : plan.jobs()) {
      if (job.digest() == cell.job_digest()) return job;
    }
    ADD_FAILURE() << "no job of " << cell.DebugString();
    return {};
  }
  static std::vector<std::string> Descriptions(const v1::Plan& plan) {
    std::vector<std::string> descriptions;
    for (const v1::Cell& cell : plan.cells()) descriptions.push_back(Describe(cell, JobOf(plan, cell)));
    return descriptions;
  }
  // The one job of the kind.
  static v1::Job OnlyJob(const v1::Plan& plan, v1::JobSpec::KindCase kind) {
    v1::Job only;
    int count = 0;
    for (const v1::Job& job : plan.jobs()) {
      if (job.spec().kind_case() != kind) continue;
      only = job;
      ++count;
    }
    EXPECT_EQ(count, 1);
    return only;
  }
  static std::vector<std::pair<uint64_t, uint64_t>> Ranges(const v1::Job& job) {
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
    for (const v1::Shard& shard : job.shards()) ranges.emplace_back(shard.begin(), shard.end());
    return ranges;
  }

  v1::Experiment experiment_;
  v1::Inputs inputs_;
};

TEST_F(InvariancePlanTest, CellsAreModelsFirst_ThenWhatIsMadeForEachSeed_ThenDistances) {
  AddTrainedModel();
  AddLinf("eps03");
  AddL0("l0");
  AddAlignment("l2");
  const v1::Plan plan = Plan();
  EXPECT_THAT(Descriptions(plan),
              ElementsAre("train cnn / standard, seed 1", "evaluate cnn / standard, seed 1",
                          "evaluate cnn / standard, seed 1, on eps03", "evaluate cnn / standard, seed 1, on l0",
                          "train cnn / standard, seed 2", "evaluate cnn / standard, seed 2",
                          "evaluate cnn / standard, seed 2, on eps03", "evaluate cnn / standard, seed 2, on l0",
                          "make eps03, seed 1", "make eps03, seed 2", "make l0, seed 1", "make l0, seed 2",
                          "alignment l2 of train"));
  const v1::Cell& evaluated = plan.cells(2);
  EXPECT_EQ(evaluated.model(), "cnn");
  EXPECT_EQ(evaluated.training(), "standard");
  EXPECT_EQ(evaluated.train_job_digest(), plan.cells(0).job_digest());
  EXPECT_EQ(evaluated.invariance(), "eps03");
  EXPECT_EQ(evaluated.attack(), "");
  const v1::Cell& made = plan.cells(9);
  EXPECT_EQ(made.model(), "");
  EXPECT_EQ(made.seed(), 2u);
  EXPECT_EQ(made.invariance(), "eps03");
  v1::Cell distance;
  distance.set_alignment("l2");
  distance.set_job_digest(plan.cells(12).job_digest());
  EXPECT_EQ(plan.cells(12).SerializeAsString(), distance.SerializeAsString());
}

TEST_F(InvariancePlanTest, DependenciesComeFirst_TrainingBeforeAllElse) {
  AddTrainedModel();
  AddLinf("eps03");
  AddAlignment("l2");
  const v1::Plan plan = Plan();
  std::vector<std::string> kinds;
  std::set<std::string> before;
  for (const v1::Job& job : plan.jobs()) {
    kinds.emplace_back(JobKind(job.spec()));
    for (const std::string& needed : job.depends_on()) EXPECT_TRUE(before.count(needed)) << job.DebugString();
    EXPECT_TRUE(before.insert(job.digest()).second);
    EXPECT_EQ(job.digest(), JobDigest(job.spec()));
  }
  EXPECT_THAT(kinds, ElementsAre("train", "train", "invariance", "evaluate", "evaluate_invariance", "evaluate",
                                 "evaluate_invariance", "alignment"));
}

TEST_F(InvariancePlanTest, OnlyWhatDrawsAtRandomIsMadeForEachSeed) {
  AddFileModel();
  AddLinf("linf");
  AddL0("l0");
  const v1::Plan plan = Plan();
  std::map<std::string, std::set<std::string>> jobs_of;  // by what is made or evaluated
  for (const v1::Cell& cell : plan.cells()) jobs_of[cell.model() + " " + cell.invariance()].insert(cell.job_digest());
  EXPECT_THAT(jobs_of[" linf"], SizeIs(1));
  EXPECT_THAT(jobs_of["at03 linf"], SizeIs(1));
  EXPECT_THAT(jobs_of[" l0"], SizeIs(2));
  EXPECT_THAT(jobs_of["at03 l0"], SizeIs(2));
  for (const v1::Cell& cell : plan.cells()) {
    const v1::Job job = JobOf(plan, cell);
    if (job.spec().has_invariance()) {
      EXPECT_EQ(job.spec().invariance().seed(), cell.invariance() == "l0" ? cell.seed() : 0) << cell.DebugString();
    }
    if (!job.spec().has_evaluate_invariance()) continue;
    // Each seed's evaluation is of that seed's examples.
    for (const v1::Cell& made : plan.cells()) {
      if (!made.model().empty() || made.invariance() != cell.invariance() || made.seed() != cell.seed()) continue;
      EXPECT_EQ(job.spec().evaluate_invariance().built_by(), made.job_digest());
    }
  }
}

TEST_F(InvariancePlanTest, JobThatMakesExamplesSaysHowTheyAreMade_AndNothingElse) {
  v1::InvarianceSet& set = AddLinf("eps03");
  set.mutable_linf()->set_targets("7: 3 2, 0: 4");
  set.set_sources("sources.npy");
  set.mutable_oracle()->set_labels("labels.csv");
  const v1::Job job = OnlyJob(Plan(), v1::JobSpec::kInvariance);
  const v1::InvarianceJob& made = job.spec().invariance();
  v1::InvarianceSet method;
  *method.mutable_linf() = set.linf();
  method.mutable_linf()->clear_targets();
  EXPECT_EQ(made.set().SerializeAsString(), method.SerializeAsString());
  ASSERT_THAT(made.targets(), SizeIs(2));
  EXPECT_EQ(made.targets(0).label(), 0u);
  EXPECT_THAT(made.targets(0).targets(), ElementsAre(4));
  EXPECT_EQ(made.targets(1).label(), 7u);
  EXPECT_THAT(made.targets(1).targets(), ElementsAre(2, 3));
  EXPECT_EQ(made.sources().count(), 120u);
  EXPECT_EQ(made.sources().indices_sha256(), Digest('d'));
  EXPECT_EQ(made.sources().first(), 0u);
  EXPECT_EQ(made.data().name(), "");
  EXPECT_EQ(made.training().name(), "");
  EXPECT_THAT(job.depends_on(), IsEmpty());
  EXPECT_THAT(job.artifacts(), ElementsAre(Digest('3'), Digest('4'), Digest('1'), Digest('2'), Digest('d')));
  EXPECT_THAT(Ranges(job), ElementsAre(std::make_pair(0, 50), std::make_pair(50, 100), std::make_pair(100, 120)));
}

TEST_F(InvariancePlanTest, WithoutSources_PositionsAreThoseOfTheExperimentsExamples) {
  experiment_.mutable_seeds()->RemoveLast();
  AddL0("l0").set_shard_size(400);
  const v1::Job job = OnlyJob(Plan(), v1::JobSpec::kInvariance);
  EXPECT_EQ(job.spec().invariance().sources().count(), 600u);
  EXPECT_EQ(job.spec().invariance().sources().first(), 100u);
  EXPECT_EQ(job.spec().invariance().sources().indices_sha256(), "");
  EXPECT_THAT(Ranges(job), ElementsAre(std::make_pair(0, 400), std::make_pair(400, 600)));
}

TEST_F(InvariancePlanTest, EvaluationWaitsForItsModelItsExamplesAndItsOracle) {
  AddTrainedModel();
  experiment_.mutable_seeds()->RemoveLast();
  AddLinf("eps03").set_sources("sources.npy");
  v1::InvarianceSet& set = *experiment_.mutable_invariance(0);

  v1::Plan plan = Plan();
  v1::Job job = OnlyJob(plan, v1::JobSpec::kEvaluateInvariance);
  const std::string train = OnlyJob(plan, v1::JobSpec::kTrain).digest();
  const std::string made = OnlyJob(plan, v1::JobSpec::kInvariance).digest();
  EXPECT_THAT(job.depends_on(), ElementsAre(train, made));
  EXPECT_THAT(job.artifacts(), ElementsAre(Digest('3'), Digest('4'), Digest('d')));
  EXPECT_TRUE(job.spec().evaluate_invariance().oracle().has_dataset());

  set.mutable_oracle()->mutable_nearest()->set_first(54'000);
  job = OnlyJob(Plan(), v1::JobSpec::kEvaluateInvariance);
  EXPECT_THAT(job.artifacts(), ElementsAre(Digest('3'), Digest('4'), Digest('d'), Digest('1'), Digest('2')));
  EXPECT_EQ(job.spec().evaluate_invariance().oracle().nearest().first(), 54'000u);
  EXPECT_EQ(job.spec().evaluate_invariance().oracle().training().name(), "");

  set.mutable_oracle()->set_labels("labels.csv");
  job = OnlyJob(Plan(), v1::JobSpec::kEvaluateInvariance);
  EXPECT_THAT(job.artifacts(), ElementsAre(Digest('3'), Digest('4'), Digest('d'), Digest('c')));
  EXPECT_EQ(job.spec().evaluate_invariance().oracle().labels_sha256(), Digest('c'));

  set.mutable_oracle()->set_model("judge.pt");
  job = OnlyJob(Plan(), v1::JobSpec::kEvaluateInvariance);
  EXPECT_THAT(job.artifacts(), ElementsAre(Digest('3'), Digest('4'), Digest('d'), Digest('b')));
  EXPECT_EQ(job.spec().evaluate_invariance().oracle().torchscript_sha256(), Digest('b'));
  EXPECT_THAT(job.depends_on(), ElementsAre(train, made)) << "the oracle has no say in what is made";
}

TEST_F(InvariancePlanTest, ExamplesMadeElsewhereAreAnArtifact_AndNothingIsMade) {
  AddFileModel();
  v1::InvarianceSet& set = AddSet("published");
  set.mutable_file()->set_path("examples.npy");
  set.set_sources("sources.npy");
  set.mutable_oracle()->set_model("at03.pt");
  const v1::Plan plan = Plan();
  const v1::Job job = OnlyJob(plan, v1::JobSpec::kEvaluateInvariance);
  EXPECT_EQ(job.spec().evaluate_invariance().array_sha256(), Digest('e'));
  EXPECT_THAT(job.depends_on(), IsEmpty());
  // The model is its own oracle here, and named once.
  EXPECT_THAT(job.artifacts(), ElementsAre(Digest('3'), Digest('4'), Digest('a'), Digest('d'), Digest('e')));
  EXPECT_THAT(Descriptions(plan), ElementsAre("evaluate at03, seed 1", "evaluate at03, seed 1, on published",
                                              "evaluate at03, seed 2", "evaluate at03, seed 2, on published"));
}

TEST_F(InvariancePlanTest, SetsThatDifferInNameOrOracleShareTheExamples) {
  AddFileModel();
  AddLinf("a");
  AddLinf("b").mutable_oracle()->set_labels("labels.csv");
  AddLinf("c").set_shard_size(7);
  const v1::Plan plan = Plan();
  OnlyJob(plan, v1::JobSpec::kInvariance);
  std::set<std::string> evaluations;
  for (const v1::Job& job : plan.jobs()) {
    if (job.spec().has_evaluate_invariance()) evaluations.insert(job.digest());
  }
  EXPECT_THAT(evaluations, SizeIs(2)) << "by oracle";
}

TEST_F(InvariancePlanTest, AnyValueOfASetIsPartOfTheIdentityOfItsExamples) {
  AddLinf("a");
  const auto digest = [&](const std::function<void(v1::InvarianceSet&)>& change) {
    v1::Experiment experiment = experiment_;
    change(*experiment.mutable_invariance(0));
    return OnlyJob(MakePlan(experiment, inputs_), v1::JobSpec::kInvariance).digest();
  };
  const std::string as_it_is = digest([](v1::InvarianceSet&) {});
  std::set<std::string> others = {
      digest([](v1::InvarianceSet& s) { s.mutable_linf()->set_epsilon(0.4); }),
      digest([](v1::InvarianceSet& s) { s.mutable_linf()->set_targets("published"); }),
      digest([](v1::InvarianceSet& s) { s.mutable_linf()->set_form(v1::INVARIANCE_FORM_PUBLISHED); }),
      digest([](v1::InvarianceSet& s) { s.mutable_linf()->set_candidates(60'000); }),
      digest([](v1::InvarianceSet& s) { s.set_sources("sources.npy"); })};
  EXPECT_THAT(others, SizeIs(5));
  EXPECT_EQ(others.count(as_it_is), 0u);
  EXPECT_EQ(digest([](v1::InvarianceSet& s) { s.set_name("b"); }), as_it_is);
  EXPECT_EQ(digest([](v1::InvarianceSet& s) { s.set_shard_size(7); }), as_it_is);
  EXPECT_EQ(digest([](v1::InvarianceSet& s) { s.mutable_oracle()->mutable_nearest(); }), as_it_is);
}

TEST_F(InvariancePlanTest, AlignmentIsAJobOfTheSplitAlone_WithShardsOfItsOwn) {
  v1::Alignment& alignment = AddAlignment("l2");
  const v1::Job job = OnlyJob(Plan(), v1::JobSpec::kAlignment);
  EXPECT_THAT(job.artifacts(), ElementsAre(Digest('1'), Digest('2')));
  EXPECT_THAT(job.depends_on(), IsEmpty());
  EXPECT_THAT(Ranges(job),
              ElementsAre(std::make_pair(0, 1000), std::make_pair(1000, 2000), std::make_pair(2000, 2500)));
  EXPECT_EQ(job.spec().alignment().anchors().start(), 0u);
  EXPECT_EQ(job.spec().alignment().anchors().count(), 2500u);
  EXPECT_EQ(job.spec().alignment().data().name(), "");

  alignment.set_name("again");
  alignment.add_radii(0.3);  // counted when results are read
  alignment.set_shard_size(7);
  EXPECT_EQ(OnlyJob(Plan(), v1::JobSpec::kAlignment).digest(), job.digest());
  alignment.set_threshold(1);
  EXPECT_NE(OnlyJob(Plan(), v1::JobSpec::kAlignment).digest(), job.digest());
  alignment.set_threshold(0);
  alignment.set_split(v1::SPLIT_TEST);
  const v1::Job of_test = OnlyJob(Plan(), v1::JobSpec::kAlignment);
  EXPECT_THAT(of_test.artifacts(), ElementsAre(Digest('3'), Digest('4')));
  EXPECT_EQ(Describe(Plan().cells(0), of_test), "alignment again of test");
}

TEST_F(InvariancePlanTest, SetsAndDistancesChangeNoOtherJob) {
  AddTrainedModel();
  const v1::Plan before = Plan();
  AddLinf("a");
  AddAlignment("l2");
  std::set<std::string> digests;
  const v1::Plan whole = Plan();
  for (const v1::Job& job : whole.jobs()) digests.insert(job.digest());
  for (const v1::Job& job : before.jobs()) EXPECT_EQ(digests.count(job.digest()), 1u);
}

}  // namespace
}  // namespace tightrope
