#include "core/fault_point.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(FaultPointTest, NamesAreSortedAndUnique) {
  const std::vector<std::string> names = FaultPoints();
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(FaultPointTest, UnarmedPointsDoNothing) {
  for (const std::string& name : FaultPoints()) FaultPoint(name.c_str());
}

}  // namespace
}  // namespace tightrope
