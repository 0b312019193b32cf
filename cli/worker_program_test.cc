#include "cli/worker_program.h"

#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(ShellLineTest, WordsThatAShellWouldReadOtherwiseAreQuoted) {
  EXPECT_EQ(ShellLine({"tightrope", "run", "my file.yaml", "--dir", "it's", ""}),
            "tightrope run 'my file.yaml' --dir 'it'\\''s' ''");
}

TEST(AddressForOthersTest, WildcardIsNoAddressToConnectTo) {
  EXPECT_EQ(AddressForOthers("0.0.0.0:7777", "node1"), "node1:7777");
  EXPECT_EQ(AddressForOthers("[::]:7777", "node1"), "node1:7777");
  EXPECT_EQ(AddressForOthers("127.0.0.1:7777", "node1"), "127.0.0.1:7777");
  EXPECT_EQ(AddressForOthers("10.0.0.0:7777", "node1"), "10.0.0.0:7777");
}

}  // namespace
}  // namespace tightrope
