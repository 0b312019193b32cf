#include "core/device_list.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(DeviceListTest, NamesAreReadInOrder) {
  EXPECT_THAT(*ParseDeviceList("auto"), IsEmpty());
  EXPECT_THAT(*ParseDeviceList("cpu"), ElementsAre(std::nullopt));
  EXPECT_THAT(*ParseDeviceList("cuda:12, cpu,cuda:0"), ElementsAre(12u, std::nullopt, 0u));
}

TEST(DeviceListTest, MalformedListsAreRefusedWithWhatToWrite) {
  for (const char* bad :
       {"", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:99999999999", "cpu,", "auto,cpu", "cpu;cuda:0"}) {
    EXPECT_THAT(ParseDeviceList(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cuda:N"))) << bad;
  }
}

TEST(DeviceListTest, ADeviceNamedTwiceIsRefusedHoweverItIsWritten) {
  for (const char* bad : {"cpu,cpu", "cuda:0,cuda:00", "cuda:1,cpu, cuda:1"}) {
    EXPECT_THAT(ParseDeviceList(bad), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("twice"))) << bad;
  }
}

}  // namespace
}  // namespace tightrope
