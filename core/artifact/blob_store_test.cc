#include "core/artifact/blob_store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Every regular file below `directory`.
std::vector<std::string> FilesBelow(const std::string& directory) {
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(directory)) {
    if (entry.is_regular_file()) files.push_back(entry.path().string());
  }
  return files;
}

void MakeOlder(const std::string& path, time_t seconds) {
  struct stat status;
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  const struct timespec times[] = {status.st_mtim, {.tv_sec = status.st_mtime - seconds, .tv_nsec = 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

class BlobStoreTest : public ::testing::Test {
 protected:
  BlobStore Open() const {
    absl::StatusOr<BlobStore> store = BlobStore::Open(directory_.path());
    EXPECT_OK(store);
    return *std::move(store);
  }

  const TemporaryDirectory directory_;
};

TEST_F(BlobStoreTest, BlobIsFoundByItsDigest_InAFileOfThatName) {
  const BlobStore store = Open();
  const auto digest = store.Put("abc");
  ASSERT_OK(digest);
  EXPECT_EQ(*digest, Sha256("abc"));
  EXPECT_TRUE(store.Has(*digest));
  EXPECT_EQ(*store.Get(*digest), "abc");
  EXPECT_EQ(*store.Path(*digest), absl::StrCat(directory_.path(), "/ba/", *digest));
  EXPECT_THAT(FilesBelow(directory_.path()), ElementsAre(*store.Path(*digest)));
}

TEST_F(BlobStoreTest, EmptyBlob) {
  const BlobStore store = Open();
  const auto digest = store.Put("");
  ASSERT_OK(digest);
  EXPECT_EQ(*store.Get(*digest), "");
}

TEST_F(BlobStoreTest, BlobThatIsThereIsNotWrittenAgain) {
  const BlobStore store = Open();
  const std::string path = *store.Path(*store.Put("abc"));
  struct stat first, second;
  ASSERT_EQ(::stat(path.c_str(), &first), 0);
  ASSERT_OK(store.Put("abc"));
  ASSERT_EQ(::stat(path.c_str(), &second), 0);
  EXPECT_EQ(first.st_ino, second.st_ino);
}

TEST_F(BlobStoreTest, BlobArrivesInPieces_VisibleOnlyAfterCommit) {
  const BlobStore store = Open();
  const std::string digest = Sha256("abcdef");
  auto writer = store.StartPut(digest, 6);
  ASSERT_OK(writer);
  ASSERT_OK((*writer)->Append("abc"));
  ASSERT_OK((*writer)->Append(""));
  ASSERT_OK((*writer)->Append("def"));
  EXPECT_FALSE(store.Has(digest));
  ASSERT_OK((*writer)->Commit());
  EXPECT_EQ(*store.Get(digest), "abcdef");
  EXPECT_THAT((*writer)->Append(""), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("already committed")));
  EXPECT_THAT((*writer)->Commit(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("already committed")));
}

TEST_F(BlobStoreTest, RemovedBlobIsNotFound_AndMayBePutAgain) {
  const BlobStore store = Open();
  const std::string digest = *store.Put("abc");
  ASSERT_OK(store.Put("another"));
  ASSERT_OK(store.Remove(digest));
  EXPECT_FALSE(store.Has(digest));
  EXPECT_THAT(store.Get(digest), StatusIs(absl::StatusCode::kNotFound, HasSubstr(digest)));
  EXPECT_OK(store.Remove(digest)) << "it is gone, and that is what was asked for";
  EXPECT_EQ(*store.Put("abc"), digest);
  EXPECT_EQ(*store.Get(digest), "abc");
  EXPECT_EQ(*store.Get(Sha256("another")), "another");
}

TEST_F(BlobStoreTest, OnlyWhatIsThereIsMadeDurable) {
  const BlobStore store = Open();
  EXPECT_THAT(store.EnsureDurable(Sha256("abc")), StatusIs(absl::StatusCode::kNotFound, HasSubstr(Sha256("abc"))));
  ASSERT_OK(store.Put("abc"));
  EXPECT_OK(store.EnsureDurable(Sha256("abc")));
}

TEST_F(BlobStoreTest, DroppedWriterLeavesNothing) {
  const BlobStore store = Open();
  {
    auto writer = store.StartPut(Sha256("abc"), 3);
    ASSERT_OK((*writer)->Append("abc"));
    EXPECT_THAT(FilesBelow(directory_.path()), SizeIs(1));
  }
  EXPECT_THAT(FilesBelow(directory_.path()), IsEmpty());
}

TEST_F(BlobStoreTest, OtherDataThanAnnounced_IsDataLossAndLeavesNothing) {
  const BlobStore store = Open();
  auto writer = store.StartPut(Sha256("abc"), 3);
  ASSERT_OK((*writer)->Append("abd"));
  EXPECT_THAT((*writer)->Commit(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(Sha256("abc"))));
  EXPECT_FALSE(store.Has(Sha256("abc")));
  EXPECT_FALSE(store.Has(Sha256("abd")));
  EXPECT_THAT(FilesBelow(directory_.path()), IsEmpty());
}

TEST_F(BlobStoreTest, MoreDataThanAnnounced_IsRefusedBeforeItIsWritten_AndForGood) {
  const BlobStore store = Open();
  auto writer = store.StartPut(Sha256("abc"), 3);
  ASSERT_OK((*writer)->Append("abc"));
  const auto more = AllOf(HasSubstr("more data than announced"), HasSubstr("3 bytes"));
  EXPECT_THAT((*writer)->Append("d"), StatusIs(absl::StatusCode::kInvalidArgument, more));
  EXPECT_THAT((*writer)->Commit(), StatusIs(absl::StatusCode::kInvalidArgument, more));
  EXPECT_THAT(FilesBelow(directory_.path()), IsEmpty());
}

TEST_F(BlobStoreTest, LessDataThanAnnounced_IsRefused) {
  const BlobStore store = Open();
  auto writer = store.StartPut(Sha256("abc"), 4);
  ASSERT_OK((*writer)->Append("abc"));
  EXPECT_THAT((*writer)->Commit(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3 of 4 bytes")));
  EXPECT_THAT(FilesBelow(directory_.path()), IsEmpty());
}

TEST_F(BlobStoreTest, MalformedDigestsNeverBecomePaths) {
  const BlobStore store = Open();
  for (const std::string& digest : {std::string(), std::string(".."), std::string("../../../../etc/passwd"),
                                    std::string(64, 'G'), std::string(64, 'A'), std::string(63, 'a'),
                                    std::string(65, 'a'), std::string(64, '/'), std::string(64, '\0')}) {
    EXPECT_FALSE(store.Has(digest));
    const auto malformed = StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("malformed digest"));
    EXPECT_THAT(store.Path(digest), malformed);
    EXPECT_THAT(store.Get(digest), malformed);
    EXPECT_THAT(store.StartPut(digest, 1), malformed);
    EXPECT_THAT(store.EnsureDurable(digest), malformed);
    EXPECT_THAT(store.Remove(digest), malformed);
  }
  EXPECT_THAT(FilesBelow(directory_.path()), IsEmpty());
}

TEST_F(BlobStoreTest, MissingBlobIsNotFound) {
  const BlobStore store = Open();
  EXPECT_THAT(store.Get(Sha256("abc")), StatusIs(absl::StatusCode::kNotFound, HasSubstr(Sha256("abc"))));
  fs::create_directories(absl::StrCat(directory_.path(), "/ba/", Sha256("abc")));
  EXPECT_THAT(store.Get(Sha256("abc")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such blob")));
}

TEST_F(BlobStoreTest, AnnouncedSizeOverTheLimit_IsRefusedBeforeAnythingIsCreated) {
  const BlobStore store = Open();
  EXPECT_THAT(store.StartPut(Sha256("abc"), BlobStore::kMaxBlobBytes + 1),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("limit of 17179869184 bytes")));
  EXPECT_TRUE(fs::is_empty(directory_.path()));
  EXPECT_OK(store.StartPut(Sha256("abc"), BlobStore::kMaxBlobBytes));  // nothing is set aside for an announcement
}

TEST_F(BlobStoreTest, BlobChangedOnDisk_IsDataLoss_AndPuttingItAgainRepairsIt) {
  const BlobStore store = Open();
  const std::string digest = *store.Put("abc");
  directory_.Write("ba/" + digest, "abd");
  EXPECT_THAT(store.Get(digest), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(*store.Path(digest))));
  auto writer = store.StartPut(digest, 3);
  ASSERT_OK((*writer)->Append("abc"));
  ASSERT_OK((*writer)->Commit());
  EXPECT_EQ(*store.Get(digest), "abc");
}

TEST_F(BlobStoreTest, BlobCutShortOnDisk_IsRepairedByPut) {
  const BlobStore store = Open();
  const std::string digest = *store.Put("abc");
  directory_.Write("ba/" + digest, "ab");
  EXPECT_THAT(store.Get(digest), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("changed on disk")));
  ASSERT_OK(store.Put("abc"));
  EXPECT_EQ(*store.Get(digest), "abc");
}

TEST_F(BlobStoreTest, TwoWritersOfTheSameBlob_BothSucceed) {
  const BlobStore one = Open();
  const BlobStore other = Open();
  const std::string digest = Sha256("abc");
  auto first = one.StartPut(digest, 3);
  auto second = other.StartPut(digest, 3);
  ASSERT_OK((*first)->Append("ab"));
  ASSERT_OK((*second)->Append("abc"));
  ASSERT_OK((*second)->Commit());
  ASSERT_OK((*first)->Append("c"));
  ASSERT_OK((*first)->Commit());
  EXPECT_EQ(*one.Get(digest), "abc");
  EXPECT_THAT(FilesBelow(directory_.path()), SizeIs(1));
}

TEST_F(BlobStoreTest, ManyThreadsPutTheSameBlobs) {
  const BlobStore store = Open();
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) {
        const std::string data = absl::StrCat("blob ", i);
        const auto digest = store.Put(data);
        if (!digest.ok() || store.Get(*digest).value_or("") != data) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_THAT(FilesBelow(directory_.path()), SizeIs(20));
}

TEST_F(BlobStoreTest, WriterKilledInTheMiddle_LeavesNothingVisible_AndIsCleanedUpAfterADay) {
  const BlobStore store = Open();
  const std::string digest = Sha256("abc");
  const pid_t child = ::fork();
  if (child == 0) {
    auto writer = store.StartPut(digest, 3);
    if (writer.ok() && (*writer)->Append("abc").ok()) ::kill(::getpid(), SIGKILL);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));

  EXPECT_FALSE(store.Has(digest));
  const std::vector<std::string> left = FilesBelow(directory_.path());
  ASSERT_THAT(left, SizeIs(1));
  MakeOlder(left[0], 23 * 60 * 60);
  Open();
  EXPECT_THAT(FilesBelow(directory_.path()), SizeIs(1)) << "its writer may still be alive";
  MakeOlder(left[0], 2 * 60 * 60);
  const BlobStore reopened = Open();
  EXPECT_THAT(FilesBelow(directory_.path()), IsEmpty());
  ASSERT_OK(reopened.Put("abc"));
}

TEST_F(BlobStoreTest, CleaningUpNeverTouchesBlobs) {
  const std::string digest = *Open().Put("abc");
  MakeOlder(absl::StrCat(directory_.path(), "/ba/", digest), 365 * 24 * 60 * 60);
  EXPECT_EQ(*Open().Get(digest), "abc");
}

// The process that dies is this test, started anew by the death test: it takes the directory from the environment.
TEST(BlobStoreDeathTest, KilledBeforeRename_LeavesNothingVisible) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const TemporaryDirectory directory;
  ::setenv("TIGHTROPE_TEST_BLOBS", directory.path().c_str(), /*overwrite=*/0);
  const auto put_and_die = [] {
    ::setenv("TIGHTROPE_KILL_AT", "artifact.before-rename", 1);
    const auto store = BlobStore::Open(std::getenv("TIGHTROPE_TEST_BLOBS"));
    if (store.ok()) static_cast<void>(store->Put("abc"));
    ::_exit(1);
  };
  EXPECT_EXIT(put_and_die(), ::testing::KilledBySignal(SIGKILL), "");
  ::unsetenv("TIGHTROPE_TEST_BLOBS");

  const auto store = BlobStore::Open(directory.path());
  ASSERT_OK(store);
  EXPECT_FALSE(store->Has(Sha256("abc")));
  EXPECT_THAT(FilesBelow(directory.path()), ElementsAre(HasSubstr(".unfinished-")));
  ASSERT_OK(store->Put("abc"));
  EXPECT_EQ(*store->Get(Sha256("abc")), "abc");
}

TEST_F(BlobStoreTest, NoSpaceLeft_IsResourceExhausted_AndTheSpaceTakenIsGivenBack) {
  const BlobStore store = Open();
  // A limit on the size of files stands for a full disk: both end in a write that fails half-way.
  struct rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {.rlim_cur = 64 << 10, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto put = store.Put(std::string(1 << 20, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);

  EXPECT_THAT(put, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("File too large")));
  EXPECT_THAT(FilesBelow(directory_.path()), IsEmpty());
  EXPECT_OK(store.Put(std::string(1 << 20, 'x')));
}

TEST_F(BlobStoreTest, DirectoryThatCannotBeWritten_IsPermissionDenied) {
  const std::string path = directory_ / "store";
  fs::create_directory(path);
  fs::permissions(directory_.path(), fs::perms::all);
  fs::permissions(path,
                  fs::perms::owner_read | fs::perms::owner_exec | fs::perms::others_read | fs::perms::others_exec);
  const WithoutPrivileges without;
  EXPECT_THAT(BlobStore::Open(path), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr(path)));
  EXPECT_THAT(BlobStore::Open(path + "/below"), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("/below")));
}

TEST_F(BlobStoreTest, FileWhereTheDirectoryShouldBe_IsAnError) {
  const std::string path = directory_.Write("file", "x");
  EXPECT_THAT(BlobStore::Open(path), StatusIs(absl::StatusCode::kNotFound, HasSubstr("Not a directory")));
}

}  // namespace
}  // namespace tightrope
