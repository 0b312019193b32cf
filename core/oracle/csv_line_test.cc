#include "core/oracle/csv_line.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

auto At(uint64_t column, const std::string& text) {
  return AllOf(Field(&CsvField::column, column), Field(&CsvField::text, text));
}

TEST(CsvLineTest, FieldsKeepTheirPlaces) {
  EXPECT_THAT(*SplitCsvLine("0,anna,7"), ElementsAre(At(1, "0"), At(3, "anna"), At(8, "7")));
  EXPECT_THAT(*SplitCsvLine(" 0 ,\tanna , 7 "), ElementsAre(At(2, "0"), At(6, "anna"), At(13, "7")));
  EXPECT_THAT(*SplitCsvLine("0,,"), ElementsAre(At(1, "0"), At(3, ""), At(4, "")));
  EXPECT_THAT(*SplitCsvLine(""), ElementsAre(At(1, "")));
}

TEST(CsvLineTest, QuotedFieldsHoldCommasAndQuotes) {
  EXPECT_THAT(*SplitCsvLine(R"("a, b",7)"), ElementsAre(At(1, "a, b"), At(8, "7")));
  EXPECT_THAT(*SplitCsvLine(R"(0, "say ""7""" ,"")"), ElementsAre(At(1, "0"), At(4, "say \"7\""), At(17, "")));
}

TEST(CsvLineTest, BrokenQuotesSayWhere) {
  struct Case {
    std::string line, message;
  };
  for (const Case& broken : {Case{R"(0,"anna)", "column 3: a quote that is not closed"},
                             Case{R"(0,"anna"")", "column 3: a quote that is not closed"},
                             Case{R"(0,"anna"b,7)", "column 9: text after a closing quote"},
                             Case{R"(0,an"na,7)", "column 5: a quote inside a field"}}) {
    EXPECT_THAT(SplitCsvLine(broken.line), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(broken.message)))
        << broken.line;
  }
}

}  // namespace
}  // namespace tightrope
