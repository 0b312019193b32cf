#include "core/artifact/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(FileTest, WhatWasWrittenIsRead) {
  const TemporaryDirectory directory;
  const std::string bytes("a\0b\n\xff", 5);
  ASSERT_OK(WriteFileAtomically(directory / "file", bytes));
  const auto read = ReadFile(directory / "file", /*max_bytes=*/5);
  ASSERT_OK(read);
  EXPECT_EQ(*read, bytes);
}

TEST(FileTest, ReplacingLeavesNoOtherFile) {
  const TemporaryDirectory directory;
  ASSERT_OK(WriteFileAtomically(directory / "file", "a long first text"));
  ASSERT_OK(WriteFileAtomically(directory / "file", "second"));
  EXPECT_EQ(*ReadFile(directory / "file", 100), "second");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(FileTest, LargerThanTheLimit_IsRefusedWithTheLimitAndThePath) {
  const TemporaryDirectory directory;
  const std::string path = directory.Write("file", "123456");
  EXPECT_THAT(ReadFile(path, 5), StatusIs(absl::StatusCode::kInvalidArgument,
                                          AllOf(HasSubstr("larger than the limit of 5 bytes"), HasSubstr(path))));
}

TEST(FileTest, MissingFileNamesItself) {
  const TemporaryDirectory directory;
  EXPECT_THAT(ReadFile(directory / "missing", 5),
              StatusIs(absl::StatusCode::kNotFound, AllOf(HasSubstr("No such file"), HasSubstr("/missing"))));
  EXPECT_THAT(ReadFile(directory.Write("file", "") + "/below", 5),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("Not a directory")));
}

TEST(FileTest, DirectoryIsNotAFile) {
  const TemporaryDirectory directory;
  EXPECT_THAT(ReadFile(directory.path(), 5), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Is a directory")));
}

TEST(FileTest, PipeWithoutAWriter_IsRefusedInsteadOfWaitedFor) {
  const TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(ReadFile(directory / "pipe", 5),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a regular file")));
}

TEST(FileTest, UnreadableFile_IsPermissionDenied) {
  const TemporaryDirectory directory;
  std::filesystem::permissions(directory.path(), std::filesystem::perms::all);
  const std::string path = directory.Write("secret", "123");
  std::filesystem::permissions(path, std::filesystem::perms::none);
  const WithoutPrivileges without;
  EXPECT_THAT(ReadFile(path, 5), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("Permission denied")));
}

TEST(FileTest, ReadError_IsUnavailable) {
  // The first page of a process is never mapped, so reading its memory from there is an input/output error.
  EXPECT_THAT(ReadFile("/proc/self/mem", 5), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot read file")));
}

TEST(FileTest, FullDevice_IsResourceExhausted) {
  const FileDescriptor full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full.is_open());
  EXPECT_THAT(WriteAll(full, "/dev/full", "x"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("No space left on device")));
}

TEST(FileTest, ReplacingFailsForWantOfSpace_TheOldFileStaysAndNothingBesideIt) {
  const TemporaryDirectory directory;
  ASSERT_OK(WriteFileAtomically(directory / "file", "old"));
  // A limit on the size of files stands for a full disk; without the signal, writing over it is an error.
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 4;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileAtomically(directory / "file", "longer than four bytes");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, handler);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("cannot write file")));
  EXPECT_EQ(*ReadFile(directory / "file", 100), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(FileTest, ReplacingADirectory_IsRefusedAndLeavesNothingBeside) {
  const TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "place");
  EXPECT_THAT(WriteFileAtomically(directory / "place", "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Is a directory")));
  EXPECT_FALSE(std::filesystem::exists(directory / "place.new"));
}

TEST(FileTest, WritingBelowAMissingDirectory_NamesTheFile) {
  const TemporaryDirectory directory;
  EXPECT_THAT(WriteFileAtomically(directory / "missing/file", "x"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing/file.new")));
}

TEST(FileTest, SystemErrorsKeepTheirMeaning) {
  for (const auto& [number, code] :
       {std::pair{ENOENT, absl::StatusCode::kNotFound}, std::pair{EROFS, absl::StatusCode::kPermissionDenied},
        std::pair{EDQUOT, absl::StatusCode::kResourceExhausted}, std::pair{EIO, absl::StatusCode::kUnavailable}}) {
    EXPECT_THAT(SystemError(number, "cannot do", "there"), StatusIs(code, HasSubstr("cannot do (")));
  }
}

}  // namespace
}  // namespace tightrope
