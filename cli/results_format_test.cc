#include "cli/results_format.h"

#include <optional>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace tightrope {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::MetricRow Row(const std::string& training, std::vector<uint64_t> seeds, double value) {
  v1::MetricRow row;
  row.set_experiment("quick");
  row.set_model("small_cnn");
  row.set_training(training);
  row.set_dataset("fashion-mnist");
  row.set_metric("clean_accuracy");
  row.set_value(value);
  row.set_lower(value - 0.02);
  row.set_upper(value + 0.01);
  row.set_n(1000 * seeds.size());
  row.mutable_seeds()->Assign(seeds.begin(), seeds.end());
  row.set_dataset_digest("dd");
  if (seeds.size() == 1) {
    row.set_job_digest("job" + std::to_string(seeds[0]) + training);
    row.set_model_digest("mm");
    row.set_interval("clopper-pearson 95%");
  } else {
    row.set_interval("min-max over seeds");
    row.set_spread(0.0125);
  }
  return row;
}

v1::MetricRow Attacked(v1::MetricRow row, double epsilon, double value) {
  row.set_metric("robust_accuracy");
  row.set_attack("pgd");
  row.set_norm("linf");
  row.set_epsilon(epsilon);
  row.set_value(value);
  row.set_lower(value / 2);
  row.set_upper(value * 2);
  return row;
}

std::string Written(const std::vector<v1::MetricRow>& rows, RecordFormat format) {
  std::ostringstream out;
  WriteResults(rows, format, out);
  return out.str();
}

TEST(ResultsFormatTest, JsonHasEveryColumnInOrderAndNullWhereOneDoesNotApply) {
  EXPECT_EQ(
      Written({Row("pgd", {1}, 0.85), Attacked(Row("pgd", {1, 2}, 0.85), 0.1, 0.3)}, RecordFormat::kJson),
      "[\n"
      R"({"experiment":"quick","model":"small_cnn","training":"pgd","dataset":"fashion-mnist",)"
      R"("metric":"clean_accuracy","norm":null,"epsilon":null,"attack":null,"value":0.85,"lower":0.83,"upper":0.86,)"
      R"("n":1000,"seeds":"1","job_digest":"job1pgd","interval":"clopper-pearson 95%","spread":null,)"
      R"("model_digest":"mm","dataset_digest":"dd","diagnostics":null},)"
      "\n"
      R"({"experiment":"quick","model":"small_cnn","training":"pgd","dataset":"fashion-mnist",)"
      R"("metric":"robust_accuracy","norm":"linf","epsilon":0.1,"attack":"pgd","value":0.3,"lower":0.15,"upper":0.6,)"
      R"("n":2000,"seeds":"1 2","job_digest":null,"interval":"min-max over seeds","spread":0.0125,)"
      R"("model_digest":null,"dataset_digest":"dd","diagnostics":null})"
      "\n]\n");
}

TEST(ResultsFormatTest, NoRowsAreAnEmptyArrayAndAHeaderLine) {
  EXPECT_EQ(Written({}, RecordFormat::kJson), "[]\n");
  EXPECT_EQ(
      Written({}, RecordFormat::kCsv),
      "experiment,model,training,dataset,metric,norm,epsilon,attack,value,lower,upper,n,seeds,job_digest,interval,"
      "spread,model_digest,dataset_digest,diagnostics\n");
}

TEST(ResultsFormatTest, CsvQuotesWhatHasCommasAndLeavesEmptyWhatDoesNotApply) {
  v1::MetricRow row = Row("pgd steps=7, \"long\"", {3}, 1);
  row.clear_job_digest();
  EXPECT_THAT(
      Written({row}, RecordFormat::kCsv),
      HasSubstr("\nquick,small_cnn,\"pgd steps=7, \"\"long\"\"\",fashion-mnist,clean_accuracy,,,,1,0.98,1.01,1000,"
                "3,,clopper-pearson 95%,,mm,dd,\n"));
}

TEST(ResultsFormatTest, EveryFigureReadsBackToTheSameBits) {
  const double awkward = 0.1 + 0.2;
  const std::string json = Written({Row("pgd", {1}, awkward)}, RecordFormat::kJson);
  EXPECT_EQ(nlohmann::json::parse(json)[0]["value"].get<double>(), awkward);
  const std::string csv = Written({Row("pgd", {1}, awkward)}, RecordFormat::kCsv);
  EXPECT_THAT(csv, HasSubstr(",0.30000000000000004,"));
}

TEST(ResultsFormatTest, TableShowsTheRowOverSeedsInPlaceOfItsSeeds) {
  const std::vector<v1::MetricRow> rows = {Row("standard", {1}, 0.9), Attacked(Row("standard", {1}, 0.9), 0.1, 0.02),
                                           Row("pgd", {1}, 0.85),     Attacked(Row("pgd", {1}, 0.85), 0.1, 0.4),
                                           Row("pgd", {2}, 0.87),     Attacked(Row("pgd", {2}, 0.87), 0.1, 0.44),
                                           Row("pgd", {1, 2}, 0.86),  Attacked(Row("pgd", {1, 2}, 0.86), 0.1, 0.42)};
  EXPECT_EQ(ResultsTable(rows, {.style = {.width = 100, .unicode = false, .color = false}, .each_seed = false}),
            R"(quick on fashion-mnist

model      training  attack   norm  epsilon  accuracy %    +-      interval %      n  seeds
small_cnn  standard  (clean)                      90.00        [88.00, 91.00]  1,000  1
                     pgd      linf  0.1            2.00          [1.00, 4.00]  1,000  1

           pgd       (clean)                      86.00  1.25  [84.00, 87.00]  2,000  1 2
                     pgd      linf  0.1           42.00  1.25  [21.00, 84.00]  2,000  1 2

interval: clopper-pearson 95%, or min-max over seeds. +-: sample standard deviation across seeds, in points.
)");
  const std::string each =
      ResultsTable(rows, {.style = {.width = 100, .unicode = true, .color = false}, .each_seed = true});
  EXPECT_THAT(each, HasSubstr("ℓ∞"));
  EXPECT_THAT(each, HasSubstr("44.00"));
}

TEST(ResultsFormatTest, TableFitsTheTerminalByClippingLongNames) {
  v1::MetricRow row =
      Attacked(Row("pgd epsilon=0.1 steps=40 learning_rate=0.0003", {1}, 0.5), 0.30000000000000004, 0.1);
  row.set_model("a_model_with_quite_a_long_name_indeed");
  std::istringstream lines(
      ResultsTable({row}, {.style = {.width = 100, .unicode = true, .color = false}, .each_seed = false}));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(DisplayWidth(line), 100u) << line;
}

TEST(ResultsFormatTest, OneJobOfSeveralSeedsIsOneLine) {
  v1::MetricRow first = Row("", {1}, 0.97), second = Row("", {2}, 0.97);
  second.set_job_digest(first.job_digest());
  const std::string table =
      ResultsTable({first, second}, {.style = {.width = 100, .unicode = false, .color = false}, .each_seed = false});
  EXPECT_THAT(table, HasSubstr("1,000  1 2\n"));
}

TEST(ResultsFormatTest, DoubtsStandUnderTheTable_OnceForRadiiOfWhichTheSameIsSaid_AndInAColumn) {
  std::vector<v1::MetricRow> rows;
  for (const double epsilon : {0.1, 0.2}) {
    v1::MetricRow& row = rows.emplace_back(Attacked(Row("pgd", {1}, 0.85), epsilon, 0.3));
    v1::Diagnostic& diagnostic = *row.add_diagnostics();
    diagnostic.set_kind("probabilities");
    diagnostic.set_message("no logits");
  }
  v1::Diagnostic& second = *rows[1].add_diagnostics();
  second.set_kind("noise_beats_attack");
  second.set_message("by 3");
  const std::string table =
      ResultsTable(rows, {.style = {.width = 100, .unicode = false, .color = false}, .each_seed = false});
  EXPECT_THAT(table, HasSubstr("interval: clopper-pearson 95%.\n\n"
                               "warning: small_cnn, pgd, pgd linf 0.1 0.2:\n    no logits (probabilities)\n\n"
                               "warning: small_cnn, pgd, pgd linf 0.2:\n    by 3 (noise_beats_attack)\n"));
  EXPECT_THAT(Written(rows, RecordFormat::kJson),
              HasSubstr("\"diagnostics\":\"probabilities: no logits; noise_beats_attack: by 3\""));
}

// Of a set "l0" or of a distance; lower and upper as of Row.
v1::MetricRow Named(v1::MetricRow row, const std::string& metric, const std::string& name, double value, uint64_t n) {
  row.set_dataset("mnist");
  row.set_metric(metric);
  row.set_attack(name);
  row.set_value(value);
  row.set_lower(value - 0.02);
  row.set_upper(value + 0.01);
  row.set_n(n);
  return row;
}
v1::MetricRow InLinf(v1::MetricRow row, std::optional<double> epsilon) {
  row.set_norm("linf");
  if (epsilon.has_value()) row.set_epsilon(*epsilon);
  return row;
}
v1::MetricRow Between(v1::MetricRow row, double lower, double upper) {
  row.set_lower(lower);
  row.set_upper(upper);
  return row;
}

constexpr ResultsTableOptions kAscii = {.style = {.width = 100, .unicode = false, .color = false}, .each_seed = false};

TEST(ResultsFormatTest, SetShowsPredictionsAndBothErrorsSideBySide_RowOverSeedsWithWhatSeedsShare) {
  const v1::MetricRow standard = Row("standard", {1}, 0), first = Row("pgd", {1}, 0), second = Row("pgd", {2}, 0),
                      over = Row("pgd", {1, 2}, 0);
  const std::vector<v1::MetricRow> rows = {
      Named(standard, "changed", "l0", .55, 100),
      Named(standard, "none_of_these", "l0", 0, 100),
      Named(standard, "undecided", "l0", .01, 100),
      Named(standard, "agreement", "l0", .5, 99),
      Named(standard, "agreement_changed", "l0", .2, 55),
      Named(standard, "keep_rate", "l0", .6, 55),
      Named(standard, "third_class_rate", "l0", .2, 55),
      Named(standard, "invariance_error", "l0", .625, 48),
      InLinf(Named(standard, "inside_robust_radius", "l0", .1, 55), std::nullopt),
      InLinf(Named(standard, "sensitivity_error", "l0", .3, 100), .1),
      InLinf(Named(standard, "sensitivity_error", "l0", .9, 100), .2),
      Named(first, "agreement_changed", "l0", .1, 45),
      Named(first, "keep_rate", "l0", .7, 45),
      Named(first, "invariance_error", "l0", .6, 45),
      InLinf(Named(first, "sensitivity_error", "l0", .2, 100), .1),
      Named(second, "keep_rate", "l0", .9, 45),
      Named(second, "invariance_error", "l0", .8, 45),
      InLinf(Named(second, "sensitivity_error", "l0", .3, 100), .1),
      Between(Named(over, "keep_rate", "l0", .8, 90), .7, .9),
      Between(Named(over, "invariance_error", "l0", .7, 90), .6, .8),
      InLinf(Between(Named(over, "sensitivity_error", "l0", .25, 200), .2, .3), .1)};
  EXPECT_EQ(ResultsTable(rows, kAscii), R"(quick on mnist

invariance-based examples

l0
of 100 examples, the label changed in 55.00 %, is none of the classes in 0.00 %, undecided in 1.00 %

model      training   n  agree %  keep %  third %  error %      interval %  all %  in linf %  seeds
small_cnn  standard  55    20.00   60.00    20.00    62.50  [60.50, 63.50]  50.00      10.00  1
           pgd       90            80.00             70.00  [60.00, 80.00]                    1 2

trade-off: errors on the same examples, %

model      training  norm  epsilon  sensitivity      interval %  invariance      interval %  seeds
small_cnn  standard  linf  0.1            30.00  [28.00, 31.00]       62.50  [60.50, 63.50]  1
                     linf  0.2            90.00  [88.00, 91.00]                              1

           pgd       linf  0.1            25.00  [20.00, 30.00]       70.00  [60.00, 80.00]  1 2

n: changed examples, whose label is another than their source's. Of these, agree: the prediction
is the oracle's label; keep: the source's; third: neither; error: it is what it was on the source,
where that was classified right. all: agreement with the oracle on all that it labels. in a norm:
changed ones no farther from their source than the radius at which no attack breaks it.

interval: clopper-pearson 95%, or min-max over seeds.
)");
  ResultsTableOptions each = kAscii;
  each.each_seed = true;
  const std::string all = ResultsTable(rows, each);
  EXPECT_THAT(all, HasSubstr("[58.00, 61.00]"));
  EXPECT_THAT(all, HasSubstr("[78.00, 81.00]"));
  EXPECT_THAT(all, HasSubstr("[60.00, 80.00]"));
}

TEST(ResultsFormatTest, SetWithoutAttacksHasNoTradeOff_AndSeedsThatShareItsEvaluationAreOneLine) {
  v1::MetricRow first = Named(Row("", {1}, 0), "invariance_error", "file", .5, 10);
  v1::MetricRow second = Named(Row("", {2}, 0), "invariance_error", "file", .5, 10);
  second.set_job_digest(first.job_digest());
  const std::string table = ResultsTable({first, second}, kAscii);
  EXPECT_THAT(table, HasSubstr("[48.00, 51.00]         1 2\n"));
  EXPECT_THAT(table, Not(HasSubstr("trade-off")));
}

TEST(ResultsFormatTest, FigureThatAllSeedsShareStandsBesideThoseOverSeeds) {
  v1::MetricRow first = Named(Row("", {1}, 0), "invariance_error", "file", .5, 10);
  v1::MetricRow second = Named(Row("", {2}, 0), "invariance_error", "file", .5, 10);
  second.set_job_digest(first.job_digest());
  const v1::MetricRow over = InLinf(Named(Row("", {1, 2}, 0), "sensitivity_error", "file", .25, 20), .1);
  EXPECT_THAT(ResultsTable({first, second, over}, kAscii),
              HasSubstr("linf  0.1            25.00  [23.00, 26.00]       50.00  [48.00, 51.00]  1 2\n"));
}

TEST(ResultsFormatTest, DistancesAreALineEach_AndALineForEachRadius) {
  v1::MetricRow head;
  head.set_experiment("quick");
  head.set_norm("linf");
  head.set_interval("clopper-pearson 95%");
  v1::MetricRow squares = head;
  squares.set_norm("l2");
  const auto within = [&](double epsilon, double value) {
    v1::MetricRow row = Named(head, "within_radius", "linf", value, 60'000);
    row.set_epsilon(epsilon);
    return row;
  };
  const std::vector<v1::MetricRow> rows = {Named(head, "misaligned_share", "linf", .765, 1'000'000),
                                           Named(head, "strictly_misaligned_share", "linf", .6025, 1'000'000),
                                           Named(head, "tied_share", "linf", .1625, 1'000'000),
                                           Named(head, "misaligned_anchors", "linf", 1, 60'000),
                                           Named(head, "nearest_neighbour_error", "linf", .2075, 60'000),
                                           within(.3, 0),
                                           within(.4, .02),
                                           Named(head, "distance_to_other_class_min", "linf", 77. / 255, 60'000),
                                           Named(head, "distance_to_other_class_q01", "linf", 175. / 255, 60'000),
                                           Named(head, "distance_to_other_class_median", "linf", 254. / 255, 60'000),
                                           Named(squares, "misaligned_share", "squares", .23, 1'000'000),
                                           Named(squares, "strictly_misaligned_share", "squares", .23, 1'000'000),
                                           Named(squares, "tied_share", "squares", 0, 1'000'000),
                                           Named(squares, "misaligned_anchors", "squares", .995, 60'000),
                                           Named(squares, "nearest_neighbour_error", "squares", .03, 60'000),
                                           Named(squares, "distance_to_other_class_min", "squares", 1.2341, 60'000),
                                           Named(squares, "distance_to_other_class_q01", "squares", 3.5, 60'000),
                                           Named(squares, "distance_to_other_class_median", "squares", 6.25, 60'000)};
  EXPECT_EQ(ResultsTable(rows, kAscii), R"(quick on mnist

alignment

distance  norm   >= %    > %    = %  anchors %  1-NN error %      interval %    min     1 %  median
linf      linf  76.50  60.25  16.25     100.00         20.75  [18.75, 21.75]  0.302  0.6863  0.9961
squares   l2    23.00  23.00   0.00      99.50          3.00    [1.00, 4.00]  1.234     3.5    6.25

>=, >, =: of all triples, the distance from an anchor to another example of its class against
that to one of another class. anchors: with a triple >=. min, 1 % and median: of the distances
from anchors to the nearest example of another class, in input units.

anchors with an example of another class within epsilon

distance  norm  epsilon  anchors %     interval %       n
linf      linf  0.3           0.00  [-2.00, 1.00]  60,000
                0.4           2.00   [0.00, 3.00]  60,000

interval: clopper-pearson 95%.
)");
}

TEST(ResultsFormatTest, AccuraciesSetsAndDistancesOfOneExperimentStandUnderOneTitle) {
  v1::MetricRow accuracy = Row("pgd", {1}, 0.85);
  accuracy.set_dataset("mnist");
  v1::MetricRow distance = Named(accuracy, "misaligned_share", "l2", .5, 10);
  distance.clear_model();
  distance.clear_seeds();
  const std::string table = ResultsTable({Named(accuracy, "changed", "l0", .5, 10), distance, accuracy}, kAscii);
  const size_t title = table.find("quick on mnist\n"), accuracies = table.find("accuracy %"),
               sets = table.find("invariance-based examples\n"), distances = table.find("alignment\n");
  EXPECT_LT(title, accuracies);
  EXPECT_LT(accuracies, sets);
  EXPECT_LT(sets, distances);
  EXPECT_NE(distances, std::string::npos);
  EXPECT_EQ(table.find("quick on mnist", title + 1), std::string::npos);
  EXPECT_THAT(table, Not(HasSubstr("changed l0"))) << "among the accuracies";
}

TEST(ResultsFormatTest, TableWithoutRowsSaysSo) {
  EXPECT_EQ(ResultsTable({}, {}), "no results yet: no evaluation or attack has been committed\n");
}

}  // namespace
}  // namespace tightrope
