#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class OutputFileTest : public ::testing::Test {
 protected:
  static absl::Status WriteText(std::ostream& out) {
    out << "new";
    return absl::OkStatus();
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const TemporaryDirectory root_;
};

TEST_F(OutputFileTest, WriterThatFails_LeavesTheOldFileAndNoOther) {
  const std::string path = root_.Write("rows.csv", "old");
  EXPECT_THAT(WriteOutput(path,
                          [](std::ostream& out) {
                            out << "half";
                            return absl::UnavailableError("gone");
                          }),
              StatusIs(absl::StatusCode::kUnavailable, "gone"));
  EXPECT_EQ(Read(path), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(root_.path()), {}), 1);
  ASSERT_OK(WriteOutput(path, WriteText));
  EXPECT_EQ(Read(path), "new");
  EXPECT_EQ(std::distance(fs::directory_iterator(root_.path()), {}), 1);
}

TEST_F(OutputFileTest, LinkStaysALink_AndWhatItPointsToIsWritten) {
  const std::string target = root_.Write("there/rows.csv", "old");
  for (const char* name : {"there/rows.csv", "there/not-yet.csv"}) {
    fs::create_symlink(name, root_ / "link");
    ASSERT_OK(WriteOutput(root_ / "link", WriteText));
    EXPECT_TRUE(fs::is_symlink(root_ / "link"));
    EXPECT_EQ(Read(root_ / name), "new");
    fs::remove(root_ / "link");
  }
}

TEST_F(OutputFileTest, PipeIsWrittenInto_NotReplaced) {
  const std::string pipe = root_ / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = open(pipe.c_str(), O_RDWR);
  ASSERT_GE(reader, 0);
  EXPECT_TRUE(WritesThrough(pipe));
  ASSERT_OK(WriteOutput(pipe, WriteText));
  std::array<char, 3> text = {};
  ASSERT_EQ(read(reader, text.data(), text.size()), 3);
  EXPECT_EQ(std::string(text.data(), text.size()), "new");
  close(reader);
  EXPECT_TRUE(fs::is_fifo(pipe));
}

TEST_F(OutputFileTest, DirectoryIsRefusedByName) {
  EXPECT_THAT(WriteOutput(root_.path(), WriteText),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("this is a directory")));
  EXPECT_THAT(WriteOutput(root_ / "absent/rows.csv", WriteText),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("absent/rows.csv")));
}

}  // namespace
}  // namespace tightrope
