#include "core/usable_cores.h"

#include <sched.h>

#include <thread>

#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(UsableCoresTest, AtLeastOne) { EXPECT_GE(UsableCores(), 1); }

TEST(UsableCoresTest, BoundToOneCoreOfMany_ThereIsOne) {
  int usable = 0;
  std::thread bound([&] {
    cpu_set_t mine;
    CPU_ZERO(&mine);
    CPU_SET(sched_getcpu(), &mine);
    ASSERT_EQ(sched_setaffinity(0, sizeof(mine), &mine), 0);  // of this thread
    usable = UsableCores();
  });
  bound.join();
  EXPECT_EQ(usable, 1);
}

}  // namespace
}  // namespace tightrope
