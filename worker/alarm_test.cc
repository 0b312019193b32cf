#include "worker/alarm.h"

#include <thread>

#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(AlarmTest, RangBefore_NobodyWaits) {
  Alarm alarm;
  alarm.Ring();
  EXPECT_TRUE(alarm.WaitFor(absl::InfiniteDuration()));
  EXPECT_TRUE(alarm.ringing()) << "it rings until it is silenced";
  alarm.Silence();
  EXPECT_FALSE(alarm.WaitFor(absl::ZeroDuration()));
}

TEST(AlarmTest, EndsTheWaitOfAnotherThread_HoweverLong) {
  for (const absl::Duration duration : {absl::Hours(1), absl::Hours(24 * 365 * 1000), absl::InfiniteDuration()}) {
    Alarm alarm;
    std::thread waiting([&] { EXPECT_TRUE(alarm.WaitFor(duration)); });
    alarm.Ring();
    waiting.join();
  }
}

TEST(AlarmTest, TimeThatHasPassedIsNotWaitedFor) {
  const Alarm alarm;
  EXPECT_FALSE(alarm.WaitFor(-absl::Seconds(1)));
  EXPECT_FALSE(alarm.WaitFor(-absl::InfiniteDuration()));
}

}  // namespace
}  // namespace tightrope
