#include "core/experiment/mistake.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(MistakeTest, MisspelledWordsAreRecognisedAndOthersAreNot) {
  const std::vector<std::string> names = {"run", "plan", "results", "export", "status", "watch", "submit"};
  EXPECT_EQ(Nearest("rnu", names), "run");
  EXPECT_EQ(Nearest("result", names), "results");
  EXPECT_EQ(Nearest("stats", names), "status");
  EXPECT_EQ(Nearest("sumbit", names), "submit");
  EXPECT_EQ(Nearest("deploy", names), "");
  EXPECT_EQ(Nearest("x", names), "");
}

TEST(MistakeTest, StatusesOfOthersCountNoMistakes) {
  EXPECT_EQ(CountMistakes(absl::InvalidArgumentError("one line")), 0u);
  MistakeList mistakes;
  EXPECT_EQ(CountMistakes(mistakes.ToStatus("x.yaml")), 0u);
  mistakes.Add(1, 1, "wrong");
  mistakes.Add(1, 1, "wrong");
  mistakes.Add(2, 1, "wrong");
  EXPECT_EQ(CountMistakes(mistakes.ToStatus("x.yaml")), 2u);
}

}  // namespace
}  // namespace tightrope
