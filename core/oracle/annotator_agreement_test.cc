#include "core/oracle/annotator_agreement.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using Rows = std::vector<std::vector<int32_t>>;  // a row an annotator; -2: no answer

LabelTable TableOf(const Rows& rows, uint32_t classes) {
  std::string text = "index,annotator,label\n";
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < rows[i].size(); ++j) {
      if (rows[i][j] != LabelTable::kNoAnswer) absl::StrAppend(&text, j, ",", i, ",", rows[i][j], "\n");
    }
  }
  auto table = LabelTable::Parse(text, {rows[0].size(), classes});
  EXPECT_OK(table);
  return *std::move(table);
}

// The definition, pair by pair: disagreement observed within examples over that among all pairable answers.
double SlowAlpha(const Rows& rows) {
  std::vector<int32_t> pool;
  double observed = 0;
  for (size_t j = 0; j < rows[0].size(); ++j) {
    std::vector<int32_t> answers;
    for (const auto& row : rows) {
      if (row[j] != LabelTable::kNoAnswer) answers.push_back(row[j]);
    }
    if (answers.size() < 2) continue;
    double unequal = 0;
    for (const int32_t a : answers)
      unequal += static_cast<double>(answers.size() - std::count(answers.begin(), answers.end(), a));
    observed += unequal / static_cast<double>(answers.size() - 1);
    pool.insert(pool.end(), answers.begin(), answers.end());
  }
  double expected = 0;
  for (size_t a = 0; a < pool.size(); ++a) {
    for (size_t b = 0; b < pool.size(); ++b) expected += a != b && pool[a] != pool[b];
  }
  const auto n = static_cast<double>(pool.size());
  return 1 - (observed / n) / (expected / (n * (n - 1)));
}

// Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C: four observers, twelve units, values 1 to
// 5 (with 0 unused here); the last unit has one value only and is not pairable.
const Rows kPublished = {{1, 2, 3, 3, 2, 1, 4, 1, 2, -2, -2, -2},
                         {1, 2, 3, 3, 2, 2, 4, 1, 2, 5, -2, 3},
                         {-2, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, -2},
                         {1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, -2}};

TEST(AnnotatorAgreementTest, KrippendorffsOwnExample) {
  const AnnotatorAgreement agreement = MeasureAgreement(TableOf(kPublished, 6));
  ASSERT_TRUE(agreement.alpha.has_value());
  EXPECT_NEAR(*agreement.alpha, 0.743, 0.0005);
  EXPECT_NEAR(*agreement.alpha, SlowAlpha(kPublished), 1e-14);
  EXPECT_EQ(agreement.examples, 12u);
  EXPECT_EQ(agreement.pairable, 11u);
  EXPECT_EQ(agreement.unanimous, 8u);
  EXPECT_EQ(agreement.undecided, 1u);  // the sixth unit: 1, 2, 3, 4
  EXPECT_EQ(agreement.unanswered, 0u);
}

// Sections A and B of the same paper: two observers, without missing values.
TEST(AnnotatorAgreementTest, KrippendorffsOtherExamples) {
  const Rows binary = {{0, 1, 0, 0, 0, 0, 0, 0, 1, 0}, {1, 1, 1, 0, 0, 1, 0, 0, 0, 0}};
  EXPECT_NEAR(*MeasureAgreement(TableOf(binary, 2)).alpha, 0.095, 0.0005);
  EXPECT_DOUBLE_EQ(*MeasureAgreement(TableOf(binary, 2)).observed, 0.6);
  const Rows five = {{0, 0, 1, 1, 3, 2, 2, 2, 4, 3, 3, 0}, {1, 0, 1, 1, 1, 2, 2, 2, 4, 3, 3, 3}};
  EXPECT_NEAR(*MeasureAgreement(TableOf(five, 5)).alpha, 0.692, 0.0005);
}

TEST(AnnotatorAgreementTest, EqualsTheDefinition_WithAnswersMissing_InAnyOrderOfAnnotatorsAndExamples) {
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    Rows rows(2 + random() % 4, std::vector<int32_t>(3 + random() % 20));
    for (auto& row : rows) {
      for (int32_t& answer : row) answer = static_cast<int32_t>(random() % 6) - 2;
    }
    rows[0][0] = 0, rows[1][0] = 1, rows[0][1] = rows[1][1] = 2;  // pairs, and not all the same
    const AnnotatorAgreement agreement = MeasureAgreement(TableOf(rows, 4));
    EXPECT_NEAR(agreement.alpha.value(), SlowAlpha(rows), 1e-12);
    std::reverse(rows.begin(), rows.end());
    for (auto& row : rows) std::rotate(row.begin(), row.begin() + 1, row.end());
    EXPECT_EQ(MeasureAgreement(TableOf(rows, 4)).alpha, agreement.alpha) << "to the last bit";
  }
}

TEST(AnnotatorAgreementTest, NothingToCompare_NoFigure) {
  const AnnotatorAgreement alone = MeasureAgreement(TableOf({{1, 2, 3}, {-2, -2, -2}}, 4));
  EXPECT_FALSE(alone.alpha.has_value());
  EXPECT_FALSE(alone.observed.has_value());
  EXPECT_EQ(alone.pairable, 0u);
  const AnnotatorAgreement constant = MeasureAgreement(TableOf({{1, 1, 1}, {1, 1, -2}}, 4));
  EXPECT_FALSE(constant.alpha.has_value()) << "0/0: one class is all that was ever said";
  EXPECT_EQ(constant.observed, 1.0);
  EXPECT_EQ(constant.unanimous, 2u);
}

TEST(AnnotatorAgreementTest, FullAgreementIsOne_SwappedAnswersAreBelowZero) {
  EXPECT_EQ(MeasureAgreement(TableOf({{0, 1, -1}, {0, 1, -1}}, 2)).alpha, 1.0);
  EXPECT_LT(*MeasureAgreement(TableOf({{0, 1, 0, 1}, {1, 0, 1, 0}}, 2)).alpha, 0);
  EXPECT_EQ(MeasureAgreement(TableOf({{0, 1, -1}, {0, 1, -1}}, 2)).none_of_these, 1u);
}

}  // namespace
}  // namespace tightrope
