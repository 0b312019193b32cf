#include "cli/results_format.h"

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

TEST(ResultsFormatTest, TableWithoutRowsSaysSo) {
  EXPECT_EQ(ResultsTable({}, {}), "no results yet: no evaluation or attack has been committed\n");
}

}  // namespace
}  // namespace tightrope
