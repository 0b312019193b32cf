#include "core/artifact/data_directory.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <optional>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class DataDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_OK(data_.Create()); }

  const TemporaryDirectory directory_;
  const DataDirectory data_{directory_ / "new/data"};
};

TEST_F(DataDirectoryTest, NamesItsFiles) {
  const std::string root = directory_ / "new/data";
  EXPECT_EQ(data_.root(), root);
  EXPECT_EQ(data_.StorePath(), root + "/results.sqlite");
  EXPECT_EQ(data_.ArtifactsPath(), root + "/artifacts");
  EXPECT_EQ(data_.CachePath(), root + "/cache");
  EXPECT_EQ(data_.WorkerLogPath(3), root + "/logs/worker-03.log");
  EXPECT_EQ(data_.WorkerLogPath(123), root + "/logs/worker-123.log");
}

TEST_F(DataDirectoryTest, CreatedTwice_KeepsWhatIsThere) {
  directory_.Write("new/data/results.sqlite", "x");
  EXPECT_OK(data_.Create());
  EXPECT_TRUE(data_.HasStore());
  EXPECT_TRUE(fs::is_directory(data_.ArtifactsPath()));
  EXPECT_TRUE(fs::is_directory(data_.CachePath()));
  EXPECT_TRUE(fs::is_directory(fs::path(data_.WorkerLogPath(0)).parent_path()));
}

TEST_F(DataDirectoryTest, NamedWithSlashesOrRelative_IsCreatedAllTheSame) {
  const fs::path before = fs::current_path();
  fs::current_path(directory_.path());
  for (const std::string root : {"one/", "two//", "three/deep/", "four", "./five", "six/."}) {
    EXPECT_OK(DataDirectory(root).Create()) << root;
    EXPECT_TRUE(fs::is_directory(directory_ / root + "/artifacts")) << root;
  }
  fs::current_path(before);
}

TEST_F(DataDirectoryTest, HasNoStoreBeforeThereIsAFile) {
  EXPECT_FALSE(data_.HasStore());
  fs::create_directory(data_.StorePath());
  EXPECT_FALSE(data_.HasStore());
}

TEST_F(DataDirectoryTest, FileInTheWay_IsTheUsersMistake) {
  const std::string file = directory_.Write("file", "x");
  for (const std::string& root : {file, file + "/below"}) {
    EXPECT_THAT(DataDirectory(root).Create(),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("give another --dir"), HasSubstr(root))));
  }
}

TEST_F(DataDirectoryTest, DirectoryThatCannotBeMade_IsPermissionDenied) {
  fs::permissions(directory_.path(), fs::perms::owner_all | fs::perms::others_read | fs::perms::others_exec);
  if (::geteuid() != 0) fs::permissions(directory_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  {
    const WithoutPrivileges without;
    EXPECT_THAT(DataDirectory(directory_ / "other").Create(),
                StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("/other")));
  }
  fs::permissions(directory_.path(), fs::perms::owner_all);
}

TEST_F(DataDirectoryTest, SecondCoordinator_IsRefusedAndToldWhereTheFirstListens) {
  const auto lock = data_.Acquire();
  ASSERT_OK(lock);
  EXPECT_THAT(data_.Acquire(),
              StatusIs(absl::StatusCode::kAborted, AllOf(HasSubstr("another coordinator"), HasSubstr(data_.root()))));
  ASSERT_OK(data_.WriteAddress("127.0.0.1:4242"));
  EXPECT_THAT(data_.Acquire(), StatusIs(absl::StatusCode::kAborted, HasSubstr("127.0.0.1:4242")));
}

TEST_F(DataDirectoryTest, AddressIsThatOfTheRunningCoordinator) {
  auto lock = std::make_optional(data_.Acquire());
  ASSERT_OK(*lock);
  EXPECT_THAT(data_.RunningAddress(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("not started to listen")));
  ASSERT_OK(data_.WriteAddress("127.0.0.1:1"));
  ASSERT_OK(data_.WriteAddress("127.0.0.1:4242"));
  EXPECT_EQ(*data_.RunningAddress(), "127.0.0.1:4242");
  lock.reset();
  EXPECT_THAT(data_.RunningAddress(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no coordinator is running")));
}

TEST_F(DataDirectoryTest, AskingForTheAddressNeverGetsInTheWayOfTheLock) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(data_.RunningAddress(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no coordinator")));
    EXPECT_OK(data_.Acquire());
  }
}

TEST_F(DataDirectoryTest, MovedLockIsHeldOnce) {
  auto first = data_.Acquire();
  ASSERT_OK(first);
  {
    DataDirectory::Lock moved = *std::move(first);
    DataDirectory::Lock again = std::move(moved);
    EXPECT_THAT(data_.Acquire(), StatusIs(absl::StatusCode::kAborted, HasSubstr("another coordinator")));
  }
  EXPECT_OK(data_.Acquire());
}

TEST_F(DataDirectoryTest, CoordinatorKilled_ItsStaleAddressIsNotFound_AndAnotherTakesOver) {
  std::array<int, 2> ready;
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto lock = data_.Acquire();
    const bool up = lock.ok() && data_.WriteAddress("127.0.0.1:4242").ok();
    const char byte = up ? 'y' : 'n';
    if (::write(ready[1], &byte, 1) == 1) ::pause();
    ::_exit(1);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  ::close(ready[1]);
  ASSERT_EQ(byte, 'y');
  EXPECT_EQ(*data_.RunningAddress(), "127.0.0.1:4242");
  EXPECT_THAT(data_.Acquire(), StatusIs(absl::StatusCode::kAborted, HasSubstr("127.0.0.1:4242")));

  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ASSERT_TRUE(fs::exists(data_.root() + "/coordinator.address"));
  EXPECT_THAT(data_.RunningAddress(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no coordinator is running")));

  const auto successor = data_.Acquire();
  ASSERT_OK(successor);
  EXPECT_THAT(data_.RunningAddress(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("not started to listen")));
}

TEST_F(DataDirectoryTest, DirectoryThatIsNotThere_HasNoCoordinator) {
  const DataDirectory missing(directory_ / "missing");
  EXPECT_FALSE(missing.HasStore());
  EXPECT_THAT(missing.RunningAddress(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no coordinator is running")));
}

}  // namespace
}  // namespace tightrope
