#include "core/statistics/aggregate.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "core/artifact/digest.h"
#include "core/plan/plan.h"
#include "core/statistics/proportion.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// A grid of one trained model with two seeds (clean, and PGD at two radii and by FGSM in l2) as the planner makes it,
// and a TorchScript model with the same seeds.
class AggregateTest : public ::testing::Test {
 protected:
  AggregateTest() {
    experiment_.set_name("sweep");
    experiment_.set_dataset("mnist");
    experiment_.mutable_examples()->set_count(100);
    experiment_.set_shard_size(50);
    experiment_.add_seeds(1);
    experiment_.add_seeds(2);
    v1::Model& trained = *experiment_.add_models();
    trained.set_name("small_cnn");
    trained.mutable_architecture()->mutable_small_cnn();
    v1::Training& training = *experiment_.add_training();
    training.set_name("standard");
    training.mutable_standard();
    for (const double epsilon : {.1, .2}) {
      v1::PgdAttack& pgd = *AddAttack("pgd", v1::NORM_LINF, epsilon).mutable_pgd();
      pgd.set_steps(20);
      pgd.set_random_start(true);
    }
    AddAttack("fgsm", v1::NORM_L2, 1).mutable_fgsm();
    inputs_.mutable_test()->set_images_sha256(Sha256("images"));
    inputs_.mutable_test()->set_labels_sha256(Sha256("labels"));
    inputs_.mutable_train()->set_images_sha256(Sha256("train images"));
  }

  v1::Attack& AddAttack(const std::string& name, v1::Norm norm, double epsilon) {
    v1::Attack& attack = *experiment_.add_attacks();
    attack.set_name(name);
    attack.set_norm(norm);
    attack.set_epsilon(epsilon);
    return attack;
  }

  void AddTorchScript() {
    v1::Model& model = *experiment_.add_models();
    model.set_name("imported");
    model.mutable_architecture()->set_torchscript("model.pt");
    (*inputs_.mutable_file_sha256())["model.pt"] = Sha256("model.pt");
  }

  // Every job committed: the i-th has 100 examples, 90 − i correct, 50 − i not broken at any radius.
  std::map<std::string, VerdictCounts> AllCommitted(const v1::Plan& plan) const {
    std::map<std::string, VerdictCounts> counts;
    uint64_t i = 0;
    for (const v1::Job& job : plan.jobs()) {
      counts[job.digest()] = {.n = 100, .clean_correct = 90 - i, .broken_at = {{0, 50 + i}}};
      ++i;
    }
    return counts;
  }

  std::vector<v1::MetricRow> RowsOf(const v1::Plan& plan, const std::map<std::string, VerdictCounts>& verdicts) const {
    return Aggregate(experiment_, plan, {.verdicts = verdicts});
  }

  v1::Experiment experiment_;
  v1::Inputs inputs_;
};

// "metric attack norm epsilon seeds"
std::vector<std::string> Summaries(const std::vector<v1::MetricRow>& rows) {
  std::vector<std::string> summaries;
  for (const v1::MetricRow& row : rows) {
    std::string summary = absl::StrCat(row.model(), " ", row.metric());
    if (row.has_epsilon()) absl::StrAppend(&summary, " ", row.attack(), " ", row.norm(), " ", row.epsilon());
    for (const uint64_t seed : row.seeds()) absl::StrAppend(&summary, " #", seed);
    summaries.push_back(summary);
  }
  return summaries;
}

TEST_F(AggregateTest, RowsOfCellsInTheOrderOfThePlan_ThenRowsOverSeeds) {
  const v1::Plan plan = MakePlan(experiment_, inputs_);
  EXPECT_THAT(Summaries(RowsOf(plan, AllCommitted(plan))),
              ElementsAre("small_cnn clean_accuracy #1", "small_cnn robust_accuracy pgd linf 0.1 #1",
                          "small_cnn robust_accuracy pgd linf 0.2 #1", "small_cnn robust_accuracy fgsm l2 1 #1",
                          "small_cnn clean_accuracy #2", "small_cnn robust_accuracy pgd linf 0.1 #2",
                          "small_cnn robust_accuracy pgd linf 0.2 #2", "small_cnn robust_accuracy fgsm l2 1 #2",
                          "small_cnn clean_accuracy #1 #2", "small_cnn robust_accuracy pgd linf 0.1 #1 #2",
                          "small_cnn robust_accuracy pgd linf 0.2 #1 #2", "small_cnn robust_accuracy fgsm l2 1 #1 #2"));
}

TEST_F(AggregateTest, RowOfOneSeed_CarriesItsIntervalAndItsProvenance) {
  const v1::Plan plan = MakePlan(experiment_, inputs_);
  const v1::Cell* attack = nullptr;
  for (const v1::Cell& cell : plan.cells()) {
    if (attack == nullptr && cell.attack() == "pgd") attack = &cell;
  }
  ASSERT_NE(attack, nullptr);
  const std::vector<v1::MetricRow> rows = RowsOf(
      plan, {{attack->job_digest(), {.n = 1000, .clean_correct = 999, .broken_at = {{0, 1}, {.1, 95}, {.2, 300}}}}});
  ASSERT_THAT(rows, SizeIs(2));  // the job has two radii
  EXPECT_EQ(rows[1].epsilon(), .2);
  EXPECT_EQ(rows[1].value(), .604);
  EXPECT_EQ(rows[1].job_digest(), rows[0].job_digest());
  v1::MetricRow want;
  want.set_experiment("sweep");
  want.set_model("small_cnn");
  want.set_training("standard");
  want.set_dataset("mnist");
  want.set_metric("robust_accuracy");
  want.set_norm("linf");
  want.set_epsilon(.1);
  want.set_attack("pgd");
  want.set_value(.904);
  want.set_lower(ClopperPearson(904, 1000, .95).lower);
  want.set_upper(ClopperPearson(904, 1000, .95).upper);
  want.set_n(1000);
  want.add_seeds(1);
  want.set_job_digest(attack->job_digest());
  want.set_model_digest(attack->train_job_digest());
  want.set_dataset_digest(DatasetDigest(inputs_.test()));
  want.set_interval("clopper-pearson 95%");
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(rows[0], want)) << rows[0].DebugString();
}

TEST_F(AggregateTest, RowOverSeeds_HasMeanRangeAndSpread_AndNoOneJob) {
  const v1::Plan plan = MakePlan(experiment_, inputs_);
  std::map<std::string, VerdictCounts> counts;
  uint64_t correct = 90;
  for (const v1::Cell& cell : plan.cells()) {
    if (cell.attack().empty() && cell.job_digest() != cell.train_job_digest()) {
      counts[cell.job_digest()] = {.n = 100, .clean_correct = correct};
      correct += 4;
    }
  }
  const std::vector<v1::MetricRow> rows = RowsOf(plan, counts);
  ASSERT_THAT(Summaries(rows), ElementsAre("small_cnn clean_accuracy #1", "small_cnn clean_accuracy #2",
                                           "small_cnn clean_accuracy #1 #2"));
  EXPECT_FALSE(rows[0].has_spread());
  EXPECT_FALSE(rows[0].has_epsilon());
  EXPECT_EQ(rows[0].norm(), "");
  EXPECT_EQ(rows[0].attack(), "");
  const v1::MetricRow& over = rows[2];
  EXPECT_DOUBLE_EQ(over.value(), .92);
  EXPECT_EQ(over.lower(), .90);
  EXPECT_EQ(over.upper(), .94);
  EXPECT_NEAR(over.spread(), .04 / std::sqrt(2), 1e-15);
  EXPECT_EQ(over.n(), 200u);
  EXPECT_EQ(over.interval(), "min-max over seeds");
  EXPECT_EQ(over.job_digest(), "");
  EXPECT_EQ(over.model_digest(), "");
  EXPECT_EQ(over.dataset_digest(), rows[0].dataset_digest());
}

TEST_F(AggregateTest, OneSeedMissing_NoRowOverSeeds) {
  const v1::Plan plan = MakePlan(experiment_, inputs_);
  std::map<std::string, VerdictCounts> counts = AllCommitted(plan);
  const v1::Cell& last = *plan.cells().rbegin();
  ASSERT_EQ(last.attack(), "fgsm");
  counts.erase(last.job_digest());
  const std::vector<std::string> summaries = Summaries(RowsOf(plan, counts));
  EXPECT_THAT(summaries, SizeIs(10));
  EXPECT_THAT(summaries, ::testing::Contains("small_cnn robust_accuracy fgsm l2 1 #1"));
  EXPECT_THAT(summaries, ::testing::Not(::testing::Contains("small_cnn robust_accuracy fgsm l2 1 #2")));
  EXPECT_THAT(summaries, ::testing::Not(::testing::Contains("small_cnn robust_accuracy fgsm l2 1 #1 #2")));
}

TEST_F(AggregateTest, OneSeedOnly_NoRowOverSeeds) {
  experiment_.mutable_seeds()->RemoveLast();
  const v1::Plan plan = MakePlan(experiment_, inputs_);
  EXPECT_THAT(RowsOf(plan, AllCommitted(plan)), SizeIs(4));
}

TEST_F(AggregateTest, TorchScriptModel_IsNamedByItsFile_AndWhatDrawsNothingIsNotCountedOnceASeed) {
  experiment_.clear_models();
  AddTorchScript();
  const v1::Plan plan = MakePlan(experiment_, inputs_);
  const std::vector<v1::MetricRow> rows = RowsOf(plan, AllCommitted(plan));
  for (const v1::MetricRow& row : rows) {
    EXPECT_EQ(row.training(), "");
    EXPECT_EQ(row.model_digest(), row.seeds_size() == 1 ? Sha256("model.pt") : "");
  }
  const std::vector<std::string> summaries = Summaries(rows);
  EXPECT_THAT(summaries, ::testing::Contains("imported robust_accuracy pgd linf 0.1 #1 #2"));
  EXPECT_THAT(summaries, ::testing::Not(::testing::Contains("imported clean_accuracy #1 #2")));
  EXPECT_THAT(summaries, ::testing::Not(::testing::Contains("imported robust_accuracy fgsm l2 1 #1 #2")));
}

TEST_F(AggregateTest, NothingCommitted_NoRows) {
  const v1::Plan plan = MakePlan(experiment_, inputs_);
  EXPECT_THAT(RowsOf(plan, {}), IsEmpty());
  std::map<std::string, VerdictCounts> only_training;
  for (const v1::Job& job : plan.jobs()) {
    if (job.spec().has_train()) only_training[job.digest()] = {.n = 1, .clean_correct = 0};
  }
  EXPECT_THAT(only_training, SizeIs(2));
  EXPECT_THAT(RowsOf(plan, only_training), IsEmpty());
}

TEST_F(AggregateTest, JobsWithoutRecordsOrUnknownToThePlan_GiveNoFigure) {
  v1::Plan plan = MakePlan(experiment_, inputs_);
  std::map<std::string, VerdictCounts> counts = AllCommitted(plan);
  for (auto& [digest, count] : counts) count = {};
  EXPECT_THAT(RowsOf(plan, counts), IsEmpty());
  counts = AllCommitted(plan);
  plan.clear_jobs();
  EXPECT_THAT(RowsOf(plan, counts), IsEmpty());
}

TEST(VerdictCountsTest, ExampleIsBrokenFromItsRadiusOn) {
  const VerdictCounts counts = {.n = 10, .clean_correct = 9, .broken_at = {{0, 1}, {.1, 2}, {.3, 3}}};
  EXPECT_EQ(counts.NotBrokenAt(0), 9u);
  EXPECT_EQ(counts.NotBrokenAt(.1), 7u);
  EXPECT_EQ(counts.NotBrokenAt(.2), 7u);
  EXPECT_EQ(counts.NotBrokenAt(.3), 4u);
}

TEST(AtRadiusTest, WitnessBeyondTheRadiusIsNone) {
  v1::ExampleRecord record;
  record.set_label(3);
  record.set_clean_prediction(3);
  record.set_verdict(v1::VERDICT_BROKEN);
  record.set_adversarial_prediction(4);
  record.set_distance(.15);
  record.set_broken_at(.2);
  record.set_broken_by("pgd");
  record.set_first_success(5);
  record.set_forward_passes(9);
  record.mutable_nearest()->set_linf(.15);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(AtRadius(record, .2), record));
  v1::ExampleRecord want;
  want.set_label(3);
  want.set_clean_prediction(3);
  want.set_verdict(v1::VERDICT_UNDECIDED);
  want.set_adversarial_prediction(-1);
  want.set_witness_row(-1);
  want.set_forward_passes(9);
  want.mutable_nearest()->set_linf(.15);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(AtRadius(record, .1), want));
  // Written before jobs had several radii: of the only one.
  record.clear_broken_at();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(AtRadius(record, .1), record));
}

// A plan of an evaluation of one model on a set for each of two seeds, and of an attack on the model.
class AggregateSetsTest : public ::testing::Test {
 protected:
  AggregateSetsTest() {
    experiment_.set_name("sets");
    experiment_.set_dataset("mnist");
    experiment_.add_seeds(1);
    experiment_.add_seeds(2);
    data_.set_images_sha256(Sha256("images"));
  }

  // `evaluation` and `attack`: digests.
  void AddSeed(uint64_t seed, const std::string& evaluation, const std::string& attack, bool broken) {
    v1::Cell cell;
    cell.set_model("cnn");
    cell.set_seed(seed);
    cell.set_attack("pgd");
    cell.set_epsilon(.1);
    cell.set_job_digest(attack);
    *plan_.add_cells() = cell;
    cell.clear_attack();
    cell.clear_epsilon();
    cell.set_invariance("l0");
    cell.set_job_digest(evaluation);
    *plan_.add_cells() = cell;

    v1::Job& attacks = *plan_.add_jobs();
    attacks.set_digest(attack);
    attacks.mutable_spec()->mutable_attack()->mutable_attack()->set_norm(v1::NORM_LINF);
    attacks.mutable_spec()->mutable_attack()->add_epsilons(.1);
    counted_.verdicts[attack] = {.n = 1, .clean_correct = 1};
    v1::Job& evaluates = *plan_.add_jobs();
    evaluates.set_digest(evaluation);
    v1::EvaluateInvarianceJob& job = *evaluates.mutable_spec()->mutable_evaluate_invariance();
    *job.mutable_data() = data_;
    job.mutable_model()->set_torchscript_sha256("model");

    // One example, whose label changed and prediction did not.
    InvarianceRecords& records = counted_.invariance[evaluation];
    records.examples.resize(1);
    v1::ExampleRecord& record = records.examples[0];
    record.set_source(7);
    record.set_oracle_label(3);
    record.mutable_nearest()->set_linf(.05);
    records.broken_at[attack][7] = broken ? std::optional(.1) : std::nullopt;
  }

  // "metric attack norm epsilon value seeds" of those in linf, and of the invariance error.
  std::vector<std::string> Rows() const {
    std::vector<std::string> texts;
    for (const v1::MetricRow& row : Aggregate(experiment_, plan_, counted_)) {
      if (row.metric() != "invariance_error" && (row.norm() != "linf" || row.metric() == "robust_accuracy")) continue;
      std::string& text = texts.emplace_back(absl::StrCat(row.metric(), " ", row.attack(), " ", row.norm(), " "));
      absl::StrAppend(&text, row.epsilon(), " ", row.value());
      for (const uint64_t seed : row.seeds()) absl::StrAppend(&text, " #", seed);
    }
    return texts;
  }

  v1::DatasetRef data_;
  v1::Experiment experiment_;
  v1::Plan plan_;
  CountedJobs counted_;
};

TEST_F(AggregateSetsTest, EvaluationsOfEverySeedAreSummarised) {
  AddSeed(1, "evaluation 1", "attack 1", /*broken=*/false);
  AddSeed(2, "evaluation 2", "attack 2", /*broken=*/true);
  EXPECT_THAT(Rows(), ElementsAre("invariance_error l0  0 1 #1", "inside_robust_radius l0 linf 0 1 #1",
                                  "sensitivity_error l0 linf 0.1 0 #1", "invariance_error l0  0 1 #2",
                                  "inside_robust_radius l0 linf 0 0 #2", "sensitivity_error l0 linf 0.1 1 #2",
                                  "invariance_error l0  0 1 #1 #2", "inside_robust_radius l0 linf 0 0.5 #1 #2",
                                  "sensitivity_error l0 linf 0.1 0.5 #1 #2"));
  counted_.invariance.erase("evaluation 2");
  EXPECT_THAT(Rows(), SizeIs(3)) << "a seed is missing";
}

TEST_F(AggregateSetsTest, SeedsShareTheEvaluationButNotTheAttack_OnlyWhatTheAttackDecidesIsSummarised) {
  AddSeed(1, "evaluation", "attack 1", /*broken=*/false);
  AddSeed(2, "evaluation", "attack 2", /*broken=*/true);
  EXPECT_THAT(Rows(),
              ElementsAre("invariance_error l0  0 1 #1", "inside_robust_radius l0 linf 0 1 #1",
                          "sensitivity_error l0 linf 0.1 0 #1", "invariance_error l0  0 1 #2",
                          "inside_robust_radius l0 linf 0 0 #2", "sensitivity_error l0 linf 0.1 1 #2",
                          "inside_robust_radius l0 linf 0 0.5 #1 #2", "sensitivity_error l0 linf 0.1 0.5 #1 #2"));
}

TEST_F(AggregateSetsTest, RowOnASet_CarriesItsProvenance) {
  AddSeed(1, "evaluation 1", "attack 1", /*broken=*/false);
  const std::vector<v1::MetricRow> rows = Aggregate(experiment_, plan_, counted_);
  const auto row =
      std::find_if(rows.begin(), rows.end(), [](const auto& one) { return one.metric() == "sensitivity_error"; });
  ASSERT_NE(row, rows.end());
  v1::MetricRow want;
  want.set_experiment("sets");
  want.set_model("cnn");
  want.set_dataset("mnist");
  want.set_metric("sensitivity_error");
  want.set_norm("linf");
  want.set_epsilon(.1);
  want.set_attack("l0");
  want.set_value(0);
  want.set_upper(ClopperPearson(0, 1, .95).upper);
  want.set_n(1);
  want.add_seeds(1);
  want.set_job_digest("evaluation 1");
  want.set_model_digest("model");
  want.set_dataset_digest(DatasetDigest(data_));
  want.set_interval("clopper-pearson 95%");
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*row, want)) << row->DebugString();
}

TEST_F(AggregateSetsTest, ExperimentOfADistanceAlone_HasRowsWithoutAModelAndWithoutSeeds) {
  v1::Alignment& entry = *experiment_.add_alignment();
  entry.set_name("by squares");
  entry.add_radii(.5);
  v1::Cell& cell = *plan_.add_cells();
  cell.set_alignment("by squares");
  cell.set_job_digest("job");
  v1::Job& job = *plan_.add_jobs();
  job.set_digest("job");
  v1::AlignmentJob& alignment = *job.mutable_spec()->mutable_alignment();
  *alignment.mutable_data() = data_;
  alignment.mutable_data()->set_classes(2);
  alignment.set_norm(v1::NORM_L2);
  EXPECT_THAT(Aggregate(experiment_, plan_, counted_), IsEmpty()) << "nothing is committed";

  v1::AlignmentResult& shard = counted_.alignments["job"].emplace_back();
  v1::AnchorAlignment& anchor = *shard.add_anchors();
  anchor.set_nearest_same(1);
  anchor.set_nearest_other(2);
  for (const uint32_t distance : {255 * 255, 4 * 255 * 255}) anchor.add_nearest_by_class(distance);
  anchor.set_distance_same(anchor.nearest_by_class(0));
  anchor.set_distance_other(anchor.nearest_by_class(1));
  const std::vector<v1::MetricRow> rows = Aggregate(experiment_, plan_, counted_);
  std::vector<std::string> texts;
  for (const v1::MetricRow& row : rows) {
    EXPECT_EQ(row.attack(), "by squares");
    EXPECT_EQ(row.norm(), "l2");
    EXPECT_EQ(row.model(), "");
    EXPECT_EQ(row.model_digest(), "");
    EXPECT_EQ(row.dataset_digest(), DatasetDigest(data_));
    EXPECT_THAT(row.seeds(), IsEmpty());
    texts.push_back(
        absl::StrCat(row.metric(), " ", row.has_epsilon() ? absl::StrCat(row.epsilon(), " ") : "", row.value()));
  }
  EXPECT_THAT(texts, ElementsAre("nearest_neighbour_error 0", "nearest_neighbour_ties 0", "within_radius 0.5 0",
                                 "distance_to_other_class_min 2", "distance_to_other_class_q01 2",
                                 "distance_to_other_class_q10 2", "distance_to_other_class_median 2"));
}

TEST_F(AggregateTest, SameArguments_SameRows) {
  AddTorchScript();
  const v1::Plan plan = MakePlan(experiment_, inputs_);
  const auto first = RowsOf(plan, AllCommitted(plan));
  const auto second = RowsOf(plan, AllCommitted(plan));
  ASSERT_EQ(first.size(), second.size());
  for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].SerializeAsString(), second[i].SerializeAsString());
}

}  // namespace
}  // namespace tightrope
