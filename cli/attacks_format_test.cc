#include "cli/attacks_format.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(AttacksFormatTest, EachAttackIsALineThatSaysWhatItTakesAndNeeds) {
  const std::string table = AttacksTable({.width = 100, .unicode = false, .color = false});
  EXPECT_THAT(table, HasSubstr("method          norms"));
  EXPECT_THAT(table,
              HasSubstr("\nfgsm            linf l2 l1     gradients  a witness in the ball  no        Goodfellow"));
  EXPECT_THAT(table,
              HasSubstr("\nfab             linf l2 l1     gradients  the nearest witness    can be    Croce and"));
  EXPECT_THAT(table,
              HasSubstr("\nsquare          linf l2 l1     logits     a witness in the ball  can be    Andriush"));
  EXPECT_THAT(table, HasSubstr("\nboundary        l2             decisions  the nearest witness    no        Brendel"));
}

TEST(AttacksFormatTest, TerminalOfUtf8ShowsNormsAsTheyAreWritten) {
  EXPECT_THAT(AttacksTable({.width = 100, .unicode = true, .color = false}), HasSubstr("ℓ∞ ℓ2 ℓ1"));
  EXPECT_THAT(AttacksTable({.width = 100, .unicode = true, .color = false}), Not(HasSubstr("linf")));
}

}  // namespace
}  // namespace tightrope
