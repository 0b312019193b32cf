#include "cli/text_layout.h"

#include <cstdlib>

#include "cli/number_format.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(TextLayoutTest, WidthCountsCharactersAndNoColours) {
  EXPECT_EQ(DisplayWidth("ℓ∞ ≤ 8/255"), 10u);
  EXPECT_EQ(DisplayWidth("\x1b[32m━━\x1b[0m"), 2u);
}

TEST(TextLayoutTest, ClippingNeverCutsThroughACharacter) {
  EXPECT_EQ(Clip("ℓ∞ℓ∞", 4, true), "ℓ∞ℓ∞");
  EXPECT_EQ(Clip("ℓ∞ℓ∞", 3, true), "ℓ∞…");
  EXPECT_EQ(Clip("training", 4, false), "tra~");
  EXPECT_EQ(Clip("training", 1, true), "…");
  EXPECT_EQ(Clip("training", 0, true), "");
}

TEST(TextLayoutTest, NumbersReadAsPeopleWriteThem) {
  EXPECT_EQ(Grouped(0), "0");
  EXPECT_EQ(Grouped(999), "999");
  EXPECT_EQ(Grouped(1234567), "1,234,567");
  EXPECT_EQ(Rounded(0), "0");
  EXPECT_EQ(Rounded(999.4), "999");
  EXPECT_EQ(Rounded(999.7), "1.00 k");
  EXPECT_EQ(Rounded(12345), "12.3 k");
  EXPECT_EQ(Rounded(9.999e6), "10.0 M");
  EXPECT_EQ(Rounded(1.2e9), "1.20 G");
  EXPECT_EQ(Shortest(0.1), "0.1");
  EXPECT_EQ(Shortest(97), "97");
  EXPECT_EQ(Shortest(1.0 / 3), "0.3333333333333333");
}

TEST(TextLayoutTest, ClockShowsHoursOnlyWhereThereAreSome) {
  EXPECT_EQ(Clock(absl::Seconds(7)), "0:07");
  EXPECT_EQ(Clock(absl::Seconds(750)), "12:30");
  EXPECT_EQ(Clock(absl::Hours(3) + absl::Seconds(309)), "3:05:09");
  EXPECT_EQ(Clock(absl::InfiniteDuration()), "-");
  EXPECT_EQ(Clock(-absl::Seconds(2)), "-");
}

TEST(TextLayoutTest, LocaleVariablesOverrideEachOtherAsInPosix) {
  setenv("LC_ALL", "", 1);
  setenv("LC_CTYPE", "C.UTF-8", 1);
  setenv("LANG", "C", 1);
  EXPECT_TRUE(LocaleIsUtf8());
  setenv("LC_ALL", "C", 1);
  EXPECT_FALSE(LocaleIsUtf8());
  unsetenv("LC_ALL");
  unsetenv("LC_CTYPE");
  setenv("LANG", "de_DE.utf8", 1);
  EXPECT_TRUE(LocaleIsUtf8());
  unsetenv("LANG");
  EXPECT_FALSE(LocaleIsUtf8());
}

TEST(TextLayoutTest, ColumnsThatMayShrinkDoSoUntilTheTableFits) {
  TextTable table({{"name", TextTable::Align::kLeft, true}, {"n", TextTable::Align::kRight, false}});
  table.AddRow({"a name that is long", "7"});
  table.AddGap();
  table.AddRow({"short", "12"});
  EXPECT_EQ(table.Render({.width = 14, .unicode = true, .color = false}),
            "name         n\n"
            "a name th…   7\n"
            "\n"
            "short       12\n");
  // Narrower than the columns can become: whole numbers win over the width.
  EXPECT_EQ(table.Render({.width = 3, .unicode = true, .color = false}),
            "name       n\n"
            "a name …   7\n"
            "\n"
            "short     12\n");
}

}  // namespace
}  // namespace tightrope
