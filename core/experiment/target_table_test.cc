#include "core/experiment/target_table.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

std::string TextOf(const absl::StatusOr<std::vector<v1::TargetRow>>& rows) {
  EXPECT_OK(rows);
  std::string text;
  if (!rows.ok()) return text;
  for (const v1::TargetRow& row : *rows) {
    text += std::to_string(row.label()) + ":";
    for (const uint32_t target : row.targets()) text += " " + std::to_string(target);
    text += ";";
  }
  return text;
}

TEST(TargetTableTest, AllHasNoRows) {
  EXPECT_EQ(TextOf(ParseTargets("all", 10)), "");
  EXPECT_EQ(TextOf(ParseTargets("all", 0)), "");
}

// From the authors' notebook.
TEST(TargetTableTest, PublishedIsTheAuthorsTable) {
  EXPECT_EQ(TextOf(ParseTargets("published", 10)),
            "0: 4 6 8 9;1: 4 6 7 9;2: 8;3: 8;4: 8 9;5: 3 8;6: 0;7: 2 3;8: 3;9: 3 4 5;");
}

TEST(TargetTableTest, PublishedIsForTenDigits) {
  EXPECT_OK(ParseTargets("published", 0));
  EXPECT_OK(ParseTargets("published", 11));
  EXPECT_THAT(ParseTargets("published", 9),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "`targets: published` is a table for the ten digits, and the data have 9 classes; write `all` "
                       "or a table of your own"));
}

TEST(TargetTableTest, TheSameTableWrittenInOtherWaysIsTheSame) {
  const std::string wanted = "0: 4 6 8;9: 3;";
  for (const char* text : {"0: 4 6 8, 9: 3", "9:3,0:8 6 4", "  0 :4   6\t8 ,\n 9: 3 "}) {
    EXPECT_EQ(TextOf(ParseTargets(text, 10)), wanted) << text;
  }
}

TEST(TargetTableTest, WhatIsWrongIsToldWithItsRow) {
  const struct {
    const char* text;
    const char* told;
  } cases[] = {
      {"", "`targets` is all, published or a table such as \"0: 4 6 8 9, 1: 7\"; `` is not"},
      {"alll", "; `alll` is not; did you mean `all`?"},
      {"3", "; `3` is not"},
      {"0: 4,", "row 2 of `targets`, ``: a row is a class, a colon and the classes that it may be turned into, as in"},
      {"0: 4, 1 7", "row 2 of `targets`, `1 7`: a row is a class, a colon"},
      {"0:", "row 1 of `targets`, `0:`: no class follows the colon; leave the row out"},
      {": 4", "`: 4`: `` is not a class; write its number"},
      {"zero: 4", "`zero: 4`: `zero` is not a class; write its number"},
      {"0: 4;6", "`4;6` is not a class; write its number"},
      {"0: +4", "`+4` is not a class"},
      {"0: 4.0", "`4.0` is not a class"},
      {"0: 4 6: 7", "`6:` is not a class"},
      {"0: 99999999999", "`99999999999` is not a class"},
      {"0: 10", "there is no class 10; the data have 10, numbered from 0"},
      {"10: 1", "there is no class 10"},
      {"4: 3 4", "class 4 cannot be its own target"},
      {"4: 3 5 3", "class 3 is named twice; keep one"},
      {"4: 3, 5: 6, 4: 8", "row 3 of `targets`, `4: 8`: class 4 has a row already; write all of its targets in one"},
  };
  for (const auto& broken : cases) {
    EXPECT_THAT(ParseTargets(broken.text, 10), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(broken.told)))
        << broken.text;
  }
}

TEST(TargetTableTest, ClassesAreNotComparedWithDataThatAreNotKnown) { EXPECT_OK(ParseTargets("0: 4000000000", 0)); }

}  // namespace
}  // namespace tightrope
