#include "core/printable_text.h"

#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(PrintableTextTest, KeepsUtf8AndReplacesWhatIsNot) {
  EXPECT_EQ(PrintableText("ε ≤ 0.3 𝒙", 100), "ε ≤ 0.3 𝒙");
  EXPECT_EQ(PrintableText("a\xff\xfe z\xc3", 100), "a?? z?");
  EXPECT_EQ(PrintableText("\xe0\x80\x80 \xed\xa0\x80 \xf5\x80\x80\x80", 100), "??? ??? ????");
}

TEST(PrintableTextTest, CutsBetweenCharacters) { EXPECT_EQ(PrintableText("abε", 3), "ab"); }

}  // namespace
}  // namespace tightrope
