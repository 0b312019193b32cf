#include "core/statistics/invariance_rows.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "core/oracle/oracle_label.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

v1::ExampleRecord Example(uint64_t source, int32_t label, int32_t oracle_label, int32_t clean_prediction,
                          int32_t prediction, double linf) {
  v1::ExampleRecord record;
  record.set_source(source);
  record.set_label(label);
  record.set_oracle_label(oracle_label);
  record.set_clean_prediction(clean_prediction);
  record.set_adversarial_prediction(prediction);
  record.mutable_nearest()->set_linf(linf);
  record.mutable_nearest()->set_l2(10 * linf);
  record.mutable_nearest()->set_l0(100);
  return record;
}

// Four examples: changed and kept; unchanged; none of the classes; changed as the model sees, which is wrong on its
// source.
InvarianceRecords FourExamples() {
  return {.examples = {Example(10, 3, 8, 3, 3, .1), Example(11, 3, 3, 3, 3, .2), Example(12, 4, kNoneOfThese, 4, 4, .2),
                       Example(13, 5, 6, 6, 6, .3)}};
}

// "metric norm epsilon successes/n"
std::vector<std::string> Summaries(const InvarianceRecords& records, const std::vector<AttackOfModel>& attacks,
                                   bool of_a_file = false) {
  v1::EvaluateInvarianceJob job;
  of_a_file ? job.set_array_sha256("array") : job.set_built_by("job");
  v1::MetricRow head;
  head.set_job_digest("evaluation");
  std::vector<std::string> summaries;
  for (const InvarianceRow& one : InvarianceRows(job, records, attacks, head)) {
    const v1::MetricRow& row = one.row;
    EXPECT_EQ(row.interval(), "clopper-pearson 95%");
    std::string& text = summaries.emplace_back(row.metric());
    if (!row.norm().empty()) absl::StrAppend(&text, " ", row.norm());
    if (row.has_epsilon()) absl::StrAppend(&text, " ", row.epsilon());
    absl::StrAppend(&text, " ", std::lround(row.value() * static_cast<double>(row.n())), "/", row.n());
  }
  return summaries;
}

// What attacks have added to the rows.
std::vector<std::string> OfAttacks(const InvarianceRecords& records, const std::vector<AttackOfModel>& attacks,
                                   bool of_a_file = false) {
  std::vector<std::string> summaries = Summaries(records, attacks, of_a_file);
  summaries.erase(summaries.begin(),
                  summaries.begin() + static_cast<std::ptrdiff_t>(Summaries(records, {}, of_a_file).size()));
  return summaries;
}

TEST(InvarianceRowsTest, SharesOfNothingAreNoRows) {
  EXPECT_THAT(Summaries(FourExamples(), {}),
              ElementsAre("changed 2/4", "none_of_these 1/4", "undecided 0/4", "agreement 2/3", "agreement_changed 1/2",
                          "agreement_unchanged 1/1", "keep_rate 1/2", "third_class_rate 0/2", "prediction_kept 2/2",
                          "invariance_error 1/1"));
  EXPECT_THAT(Summaries({.examples = {Example(1, 3, kUndecided, 3, 3, .1)}}, {}),
              ElementsAre("changed 0/1", "none_of_these 0/1", "undecided 1/1"));
  EXPECT_THAT(Summaries({}, {}), IsEmpty());
}

TEST(InvarianceRowsTest, RobustRadiusIsTheLargestThatNoAttackBreaks_AndSensitivityTheWorstCase) {
  InvarianceRecords records = FourExamples();
  records.broken_at["pgd"] = {{10, std::nullopt}, {11, .2}, {12, .1}, {13, 0.}};
  records.broken_at["square"] = {{10, std::nullopt}, {11, std::nullopt}, {12, .2}, {13, 0.}};
  const std::vector<AttackOfModel> attacks = {{"pgd", v1::NORM_LINF, .1},
                                              {"pgd", v1::NORM_LINF, .2},
                                              {"pgd", v1::NORM_LINF, .3},
                                              {"square", v1::NORM_LINF, .2}};
  // Of the changed ones, that of source 10 withstands .3 and lies at .1; that of source 13 is wrong as it is.
  EXPECT_THAT(OfAttacks(records, attacks),
              ElementsAre("inside_robust_radius linf 1/2", "sensitivity_error linf 0.1 2/4",
                          "sensitivity_error linf 0.2 3/4", "sensitivity_error linf 0.3 3/4"));
  records.broken_at["square"][10] = .2;  // and so the example at .1 is inside, one at .15 would not be
  EXPECT_THAT(OfAttacks(records, attacks)[0], "inside_robust_radius linf 1/2");
  records.examples[0].mutable_nearest()->set_linf(.15);
  EXPECT_THAT(OfAttacks(records, attacks),
              ElementsAre("inside_robust_radius linf 0/2", "sensitivity_error linf 0.1 2/4",
                          "sensitivity_error linf 0.2 4/4", "sensitivity_error linf 0.3 4/4"));
}

TEST(InvarianceRowsTest, EachNormHasItsOwnRadiiAndDistances_AndWhatHasNoDistanceHasNoRadius) {
  InvarianceRecords records = FourExamples();
  for (const char* job : {"linf", "l2", "spatial"}) records.broken_at[job] = {{10, std::nullopt}, {13, std::nullopt}};
  EXPECT_THAT(
      OfAttacks(records, {{"spatial", v1::NORM_SPATIAL, 1}, {"l2", v1::NORM_L2, 1}, {"linf", v1::NORM_LINF, .3}}),
      ElementsAre("inside_robust_radius linf 2/2", "sensitivity_error linf 0.3 0/2", "inside_robust_radius l2 1/2",
                  "sensitivity_error l2 1 0/2", "sensitivity_error spatial 1 0/2"));
}

TEST(InvarianceRowsTest, AnAttackOfTheNormIsNotCommitted_ItsWorstCaseIsNotKnown) {
  InvarianceRecords records = FourExamples();
  records.broken_at["pgd"] = {{10, std::nullopt}};
  EXPECT_THAT(OfAttacks(records, {{"pgd", v1::NORM_LINF, .1}, {"square", v1::NORM_LINF, .1}}), IsEmpty());
  EXPECT_THAT(OfAttacks(records, {{"pgd", v1::NORM_LINF, .1}, {"ddn", v1::NORM_L2, 1}}),
              ElementsAre("inside_robust_radius linf 1/1", "sensitivity_error linf 0.1 0/1"));
}

TEST(InvarianceRowsTest, SourcesThatNoAttackHasSeenCountNowhere_AndOneWithTwoExamplesOnce) {
  InvarianceRecords records = FourExamples();
  records.broken_at["pgd"] = {};
  EXPECT_THAT(OfAttacks(records, {{"pgd", v1::NORM_LINF, .3}}), IsEmpty());
  records.examples[3].set_source(10);
  records.broken_at["pgd"] = {{10, .2}};
  EXPECT_THAT(OfAttacks(records, {{"pgd", v1::NORM_LINF, .3}}),
              ElementsAre("inside_robust_radius linf 0/2", "sensitivity_error linf 0.3 1/1"));
}

TEST(InvarianceRowsTest, RoundingPutsNoExampleOutside_AndFilesMayOverstepInLinfByAGreyLevel) {
  const auto inside = [](double linf, v1::Norm norm, double radius, bool of_a_file) {
    InvarianceRecords records = {.examples = {Example(10, 3, 8, 3, 3, linf)}};
    records.broken_at["pgd"] = {{10, std::nullopt}};
    return OfAttacks(records, {{"pgd", norm, radius}}, of_a_file)[0].ends_with("1/1");
  };
  EXPECT_TRUE(inside(.4, v1::NORM_LINF, .4, false));
  EXPECT_TRUE(inside(.4f, v1::NORM_LINF, .4, false));
  EXPECT_FALSE(inside(103. / 255, v1::NORM_LINF, .4, false));
  EXPECT_TRUE(inside(103. / 255, v1::NORM_LINF, .4, true));  // the published set
  EXPECT_FALSE(inside(104. / 255, v1::NORM_LINF, .4, true));
  EXPECT_TRUE(inside(.1, v1::NORM_L2, 1, true));
  EXPECT_FALSE(inside(.1001, v1::NORM_L2, 1, true));
  EXPECT_TRUE(inside(.1, v1::NORM_L0, 100, false));
  EXPECT_FALSE(inside(.1, v1::NORM_L0, 99, true));
  EXPECT_FALSE(inside(std::numeric_limits<double>::quiet_NaN(), v1::NORM_LINF, 1, true));
}

TEST(InvarianceRowsTest, RowsSayWhichJobsTheyAreMadeOf) {
  InvarianceRecords records = FourExamples();
  records.broken_at["pgd"] = {{10, std::nullopt}};
  v1::MetricRow head;
  head.set_job_digest("evaluation");
  const std::vector<InvarianceRow> rows = InvarianceRows({}, records, {{"pgd", v1::NORM_LINF, .1}}, head);
  EXPECT_EQ(rows.front().jobs, "evaluation");
  EXPECT_EQ(rows.back().jobs, "evaluation pgd");
  EXPECT_EQ(rows.back().row.job_digest(), "evaluation");
}

TEST(AttacksBesideEvaluationsTest, EvaluationThatSeedsShareHasTheAttacksOfAll_AndOneWithoutAttacksNone) {
  v1::Plan plan;
  const auto add_cell = [&](const char* model, uint64_t seed, const char* job, double epsilon) {
    v1::Cell& cell = *plan.add_cells();
    cell.set_model(model);
    cell.set_seed(seed);
    cell.set_job_digest(job);
    cell.set_epsilon(epsilon);
  };
  for (const char* evaluation : {"on a", "on b"}) {
    v1::Job& job = *plan.add_jobs();
    job.set_digest(evaluation);
    job.mutable_spec()->mutable_evaluate_invariance();
  }
  for (const char* attack : {"pgd 1", "pgd 2", "of others"}) {
    v1::Job& job = *plan.add_jobs();
    job.set_digest(attack);
    job.mutable_spec()->mutable_attack()->add_epsilons(.1);
    job.mutable_spec()->mutable_attack()->add_epsilons(.2);
  }
  for (const double epsilon : {.1, .2}) {
    add_cell("a", 1, "pgd 1", epsilon);
    add_cell("a", 2, "pgd 2", epsilon);
    add_cell("c", 1, "of others", epsilon);
  }
  add_cell("a", 1, "on a", 0);
  add_cell("a", 2, "on a", 0);
  add_cell("b", 1, "on b", 0);
  EXPECT_THAT(AttacksBesideEvaluations(plan),
              ElementsAre(Pair("on a", ElementsAre("pgd 1", "pgd 2")), Pair("on b", IsEmpty())));
}

}  // namespace
}  // namespace tightrope
