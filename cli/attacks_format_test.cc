#include "cli/attacks_format.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(AttacksFormatTest, EachAttackIsALineThatSaysWhatItTakesAndNeeds) {
  const std::string table = AttacksTable({.width = 100, .unicode = false, .color = false});
  EXPECT_THAT(table, HasSubstr("method      norms"));
  EXPECT_THAT(
      table, HasSubstr("\npgd         linf l2 l1  gradients     a witness in the ball  no        Madry et al. 2018\n"));
  EXPECT_THAT(table,
              HasSubstr("\nfab         linf l2 l1  gradients     the nearest witness    can be    Croce and Hein"));
  EXPECT_THAT(table,
              HasSubstr("\nsquare      linf l2 l1  queries only  a witness in the ball  no        Andriushchenko"));
}

TEST(AttacksFormatTest, TerminalOfUtf8ShowsNormsAsTheyAreWritten) {
  EXPECT_THAT(AttacksTable({.width = 100, .unicode = true, .color = false}), HasSubstr("ℓ∞ ℓ2 ℓ1"));
  EXPECT_THAT(AttacksTable({.width = 100, .unicode = true, .color = false}), Not(HasSubstr("linf")));
}

}  // namespace
}  // namespace tightrope
