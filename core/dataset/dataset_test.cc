#include "core/dataset/dataset.h"

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/artifact/digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/gzipped.h"
#include "tests/idx_bytes.h"
#include "tests/shared_data.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kLabels("\x00\x02\x01", 3);

// Sets an environment variable while it lives; null unsets it.
class WithEnvironment {
 public:
  WithEnvironment(const char* name, const char* value) : name_(name) {
    if (const char* was = std::getenv(name)) was_ = was;
    Set(value);
  }
  WithEnvironment(const WithEnvironment&) = delete;
  WithEnvironment& operator=(const WithEnvironment&) = delete;
  ~WithEnvironment() { Set(was_ ? was_->c_str() : nullptr); }

 private:
  void Set(const char* value) { value != nullptr ? ::setenv(name_, value, 1) : ::unsetenv(name_); }

  const char* name_;
  std::optional<std::string> was_;
};

TEST(ParseIdxTest, PixelsAndLabelsInTheOrderOfTheFile) {
  const auto dataset = ParseIdx(IdxImageBytes(3, 1, 2, "\x01\x02\x03\x04\x05\xff"), IdxLabelBytes(kLabels), 10);
  ASSERT_OK(dataset);
  EXPECT_EQ(dataset->count, 3u);
  EXPECT_EQ(dataset->channels, 1u);
  EXPECT_EQ(dataset->height, 1u);
  EXPECT_EQ(dataset->width, 2u);
  EXPECT_EQ(dataset->classes, 10u);
  EXPECT_THAT(dataset->pixels, ElementsAre(1, 2, 3, 4, 5, 255));
  EXPECT_THAT(dataset->labels, ElementsAre(0, 2, 1));
}

TEST(ParseIdxTest, ClassesAreCountedWhereNoneAreExpected) {
  EXPECT_EQ(ParseIdx(IdxImageBytes(3, 1, 1, "abc"), IdxLabelBytes(kLabels), 0)->classes, 3u);
  EXPECT_EQ(ParseIdx(IdxImageBytes(1, 1, 1, "a"), IdxLabelBytes("\xff"), 0)->classes, 256u);
}

TEST(ParseIdxTest, BrokenFilesSayWhatIsWrong) {
  const std::string images = IdxImageBytes(3, 1, 2, "abcdef");
  const std::string labels = IdxLabelBytes(kLabels);
  std::string little_endian = images;
  std::swap(little_endian[0], little_endian[3]);
  std::swap(little_endian[1], little_endian[2]);
  struct Case {
    std::string images;
    std::string labels;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"", labels, "broken IDX images: truncated in the header: got 0 bytes, want at least 16"},
      {images, "", "broken IDX labels: truncated in the header: got 0 bytes, want at least 8"},
      {images.substr(0, 3), labels, "broken IDX images: truncated in the header: got 3 bytes"},
      {images.substr(0, 15), labels, "broken IDX images: truncated in the header: got 15 bytes"},
      {images, labels.substr(0, 7), "broken IDX labels: truncated in the header: got 7 bytes"},
      {"GIF89a and so on", labels, "broken IDX images: wrong magic number, give an uncompressed IDX file"},
      {little_endian, labels, "got 0x03080000, want 0x00000803"},
      {Gzipped(images), labels, "it is gzip data; uncompress it first"},
      {labels, labels, "these are labels; are images and labels swapped?: got 0x00000801, want 0x00000803"},
      {images, images, "these are images; are images and labels swapped?: got 0x00000803, want 0x00000801"},
      {images.substr(0, 21), labels, "truncated, or the header is wrong: got 5 bytes after the header, want 6"},
      {images + "g", labels, "bytes after the end: got 7 bytes after the header, want 6"},
      {images, labels.substr(0, 10), "labels: truncated, or the header is wrong: got 2 bytes after the header, want 3"},
      {images, labels + "x", "labels: bytes after the end: got 4 bytes after the header, want 3"},
      {IdxImageBytes(0, 1, 2, ""), labels, "broken IDX images: no examples"},
      {images, IdxLabelBytes(""), "broken IDX labels: no examples"},
      {IdxImageBytes(3, 0, 28, ""), labels, "images without pixels: 0 x 28"},
      // Sizes that a careless reader would allocate, or whose product wraps around to what is there.
      {IdxImageBytes(4294967295, 28, 28, "abc"), labels, "got 3 bytes after the header, want 3367254359280"},
      {IdxImageBytes(4294967295, 4294967295, 4294967295, "abc"), labels, "want more than any file has"},
      {IdxImageBytes(2147483648, 2147483648, 4, ""), labels, "want more than any file has"},  // 2^64
      {images, BigEndianBytes({0x801, 4294967295}), "labels: truncated, or the header is wrong: got 0 bytes"},
      {images, IdxLabelBytes("ab"), "not of the same examples: 3 images, 2 labels"},
      {images, IdxLabelBytes(std::string("\x00\x03\x01", 3)), "a label is too large for 3 classes: 3"},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    EXPECT_THAT(ParseIdx(broken.images, broken.labels, 3),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(broken.message)));
  }
}

TEST(LoadDatasetTest, DataMustBeWhatTheReferenceSays) {
  v1::DatasetRef ref;
  ref.set_count(3);
  ref.set_channels(1);
  ref.set_height(1);
  ref.set_width(2);
  ref.set_classes(10);
  const std::string images = IdxImageBytes(3, 1, 2, "abcdef");
  const std::string labels = IdxLabelBytes(kLabels);
  const auto dataset = LoadDataset(ref, images, labels);
  ASSERT_OK(dataset);
  EXPECT_EQ(dataset->classes, 10u);
  EXPECT_EQ(dataset->pixels.size(), 6u);

  const auto refused = [&](auto change, const std::string& message) {
    v1::DatasetRef changed = ref;
    change(changed);
    EXPECT_THAT(LoadDataset(changed, images, labels), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused([](v1::DatasetRef& r) { r.set_count(4); }, "got 3 x 1 x 1 x 2, want 4 x 1 x 1 x 2");
  refused([](v1::DatasetRef& r) { r.set_channels(3); }, "want 3 x 3 x 1 x 2");
  refused([](v1::DatasetRef& r) { r.set_height(2), r.set_width(1); }, "want 3 x 1 x 2 x 1");
  refused([](v1::DatasetRef& r) { r.set_classes(2); }, "a label is too large for 2 classes: 2");
  refused([](v1::DatasetRef& r) { r.set_classes(0); }, "reference without classes");
  EXPECT_THAT(LoadDataset(ref, labels, images), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("swapped")));
}

TEST(ReadMaybeGzippedTest, PlainAndGzippedGiveTheSameBytes_WhateverTheName) {
  const TemporaryDirectory directory;
  EXPECT_EQ(*ReadMaybeGzipped(directory.Write("plain.gz", "some bytes"), 10), "some bytes");
  EXPECT_EQ(*ReadMaybeGzipped(directory.Write("gzipped", Gzipped("some bytes")), 10), "some bytes");
  EXPECT_EQ(*ReadMaybeGzipped(directory.Write("empty", ""), 10), "");
}

TEST(ReadMaybeGzippedTest, BrokenFilesSayWhatIsWrongAndWhere) {
  const TemporaryDirectory directory;
  const std::string good = Gzipped(std::string(1000, 'x'));
  std::string wrong_crc = good;
  wrong_crc[good.size() - 8] ^= 1;
  struct Case {
    std::string path;
    absl::StatusCode code;
    std::string message;
  };
  const std::vector<Case> cases = {
      {directory / "missing", absl::StatusCode::kNotFound, "No such file"},
      {directory.path(), absl::StatusCode::kInvalidArgument, "Is a directory"},
      {directory.Write("truncated", good.substr(0, 20)), absl::StatusCode::kInvalidArgument, "truncated gzip data"},
      {directory.Write("crc", wrong_crc), absl::StatusCode::kInvalidArgument, "incorrect data check"},
      {directory.Write("trailing", good + "x"), absl::StatusCode::kInvalidArgument, "bytes after the end"},
      {directory.Write("bomb", Gzipped(std::string(1 << 20, '\0'))), absl::StatusCode::kInvalidArgument,
       "larger than the limit when uncompressed, bytes: 1000"},
      {directory.Write("large", std::string(1001, 'x')), absl::StatusCode::kInvalidArgument,
       "larger than the limit of 1000 bytes"},
      {directory.Write("larger", std::string(100000, 'x')), absl::StatusCode::kInvalidArgument,
       "larger than the limit"},
      {"/proc/self/mem", absl::StatusCode::kUnavailable, "cannot read file"},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    EXPECT_THAT(ReadMaybeGzipped(broken.path, 1000),
                StatusIs(broken.code, AllOf(HasSubstr(broken.message), HasSubstr(broken.path))));
  }
}

TEST(DatasetSearchPathTest, FlagThenEnvironmentThenSystem) {
  const WithEnvironment data("TIGHTROPE_DATA", "/from/environment");
  EXPECT_THAT(DatasetSearchPath("/from/flag"), ElementsAre("/from/flag", "/from/environment", "/usr/share/datasets"));
  EXPECT_THAT(DatasetSearchPath(""), ElementsAre("/from/environment", "/usr/share/datasets"));
  const WithEnvironment none("TIGHTROPE_DATA", nullptr);
  EXPECT_THAT(DatasetSearchPath(""), ElementsAre("/usr/share/datasets"));
  const WithEnvironment empty("TIGHTROPE_DATA", "");
  EXPECT_THAT(DatasetSearchPath(""), ElementsAre("/usr/share/datasets"));
}

class ResolveDatasetTest : public ::testing::Test {
 protected:
  absl::StatusOr<ResolvedSplit> Resolve(const std::string& name, v1::Split split = v1::SPLIT_TEST) const {
    return ResolveDataset(name, split, {directory_ / "empty", directory_.path()});
  }

  const TemporaryDirectory directory_;
  const std::string images_ = IdxImageBytes(3, 28, 28, std::string(3 * 784, 'p'));
  const std::string labels_ = IdxLabelBytes(kLabels);
};

TEST_F(ResolveDatasetTest, EveryNamingOfTheSameData_HasTheSameIdentity) {
  const std::vector<std::pair<std::string, std::string>> namings = {
      {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"},
      {"t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"},
      {"t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"},
      {"t10k-images.idx3-ubyte.gz", "t10k-labels-idx1-ubyte"},
  };
  for (const auto& [images, labels] : namings) {
    const TemporaryDirectory directory;
    directory.Write("mnist/" + images, absl::EndsWith(images, ".gz") ? Gzipped(images_) : images_);
    directory.Write("mnist/" + labels, absl::EndsWith(labels, ".gz") ? Gzipped(labels_) : labels_);
    // The directory above, the data set's own, and the same with a slash.
    for (const std::string& given : {directory.path(), directory / "mnist", directory / "mnist/"}) {
      const auto resolved = ResolveDataset("mnist", v1::SPLIT_TEST, {given});
      ASSERT_OK(resolved);
      EXPECT_EQ(resolved->images, images_);
      EXPECT_EQ(resolved->labels, labels_);
      const v1::DatasetRef& ref = resolved->ref;
      EXPECT_EQ(ref.name(), "mnist");
      EXPECT_EQ(ref.split(), v1::SPLIT_TEST);
      EXPECT_EQ(ref.images_sha256(), Sha256(images_));
      EXPECT_EQ(ref.labels_sha256(), Sha256(labels_));
      EXPECT_EQ(ref.count(), 3u);
      EXPECT_EQ(ref.channels(), 1u);
      EXPECT_EQ(ref.height(), 28u);
      EXPECT_EQ(ref.width(), 28u);
      EXPECT_EQ(ref.classes(), 10u);
      EXPECT_OK(LoadDataset(ref, resolved->images, resolved->labels));
    }
  }
}

TEST_F(ResolveDatasetTest, SplitsAreDifferentFiles) {
  directory_.Write("mnist/train-images-idx3-ubyte", images_);
  directory_.Write("mnist/train-labels-idx1-ubyte", labels_);
  EXPECT_EQ(Resolve("mnist", v1::SPLIT_TRAIN)->ref.split(), v1::SPLIT_TRAIN);
  EXPECT_THAT(Resolve("mnist", v1::SPLIT_TEST), StatusIs(absl::StatusCode::kNotFound, HasSubstr("t10k-images")));
  EXPECT_THAT(Resolve("mnist", v1::SPLIT_UNSPECIFIED),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("train and test only")));
}

TEST_F(ResolveDatasetTest, EarlierDirectoriesWin) {
  const TemporaryDirectory earlier;
  const std::string other = IdxLabelBytes("\x05\x05\x05");
  earlier.Write("mnist/t10k-images-idx3-ubyte", images_);
  earlier.Write("mnist/t10k-labels-idx1-ubyte", other);
  directory_.Write("mnist/t10k-images-idx3-ubyte", images_);
  directory_.Write("mnist/t10k-labels-idx1-ubyte", labels_);
  EXPECT_EQ(ResolveDataset("mnist", v1::SPLIT_TEST, {earlier.path(), directory_.path()})->labels, other);
}

TEST_F(ResolveDatasetTest, UnknownName_ListsTheKnownOnes) {
  EXPECT_THAT(KnownDatasets(), ElementsAre("fashion-mnist", "mnist"));
  for (const std::string name : {"cifar10", "", "../mnist", "MNIST"}) {
    EXPECT_THAT(Resolve(name), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr(absl::StrCat("write one of fashion-mnist, mnist: \"", name, "\""))));
  }
}

TEST_F(ResolveDatasetTest, NotFound_SaysWhereItLookedAndWhatToDo) {
  EXPECT_THAT(Resolve("fashion-mnist"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("install the Debian package dataset-fashion-mnist"),
                             HasSubstr(directory_ / "empty/fashion-mnist"), HasSubstr(directory_ / "fashion-mnist"))));
  EXPECT_THAT(Resolve("mnist"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("set TIGHTROPE_DATA")));
}

TEST_F(ResolveDatasetTest, HalfASplit_NamesTheMissingFile) {
  directory_.Write("mnist/t10k-images-idx3-ubyte.gz", Gzipped(images_));
  EXPECT_THAT(Resolve("mnist"),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("incomplete; add t10k-labels-idx1-ubyte.gz"), HasSubstr(directory_ / "mnist"))));
}

TEST_F(ResolveDatasetTest, FilesThatAreNotWhatTheyShouldBe_AreNamed) {
  const std::string path = directory_ / "mnist/t10k-images-idx3-ubyte";
  directory_.Write("mnist/t10k-labels-idx1-ubyte", labels_);
  const auto refused = [&](const std::string& message) {
    EXPECT_THAT(Resolve("mnist"),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(message), HasSubstr(path))));
  };
  directory_.Write("mnist/t10k-images-idx3-ubyte", "not IDX at all");
  refused("wrong magic number");
  directory_.Write("mnist/t10k-images-idx3-ubyte", images_.substr(0, 1000));
  refused("truncated, or the header is wrong");
  directory_.Write("mnist/t10k-images-idx3-ubyte", Gzipped(images_).substr(0, 30));
  refused("truncated gzip data");
  directory_.Write("mnist/t10k-images-idx3-ubyte", IdxImageBytes(3, 28, 27, std::string(3 * 28 * 27, 'p')));
  refused("images of mnist must be 28 x 28, got 28 x 27");
  directory_.Write("mnist/t10k-images-idx3-ubyte", IdxImageBytes(2, 28, 28, std::string(2 * 784, 'p')));
  refused("2 images, 3 labels");
  directory_.Write("mnist/t10k-images-idx3-ubyte", images_);
  directory_.Write("mnist/t10k-labels-idx1-ubyte", IdxLabelBytes("\x01\x02\x0a"));
  refused("a label is too large for 10 classes: 10");
  fs::remove(path);
  fs::create_directory(path);
  refused("Is a directory");
}

TEST_F(ResolveDatasetTest, FileWithoutPermission_IsAnErrorNotAnAbsence) {
  fs::permissions(directory_.path(), fs::perms::all);
  directory_.Write("mnist/t10k-labels-idx1-ubyte", labels_);
  fs::permissions(directory_.Write("mnist/t10k-images-idx3-ubyte", images_), fs::perms::none);
  const WithoutPrivileges without;
  EXPECT_THAT(Resolve("mnist"), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("t10k-images-idx3-ubyte")));
}

struct RealSplit {
  v1::Split split;
  uint64_t count;
  std::string images_sha256, labels_sha256;
};

void ExpectSplits(const std::string& name, const std::string& directory, const std::vector<RealSplit>& splits) {
  for (const RealSplit& want : splits) {
    const auto resolved = ResolveDataset(name, want.split, {directory});
    ASSERT_OK(resolved);
    EXPECT_EQ(resolved->ref.count(), want.count);
    EXPECT_EQ(resolved->ref.images_sha256(), want.images_sha256);
    EXPECT_EQ(resolved->ref.labels_sha256(), want.labels_sha256);
    const auto dataset = LoadDataset(resolved->ref, resolved->images, resolved->labels);
    ASSERT_OK(dataset);
    EXPECT_EQ(dataset->pixels.size(), want.count * 784);
    EXPECT_THAT(dataset->labels, ::testing::Each(::testing::Lt(10)));
  }
}

TEST(RealDataTest, Mnist) {
  TIGHTROPE_NEEDS_SHARED("data/mnist/train-images-idx3-ubyte.gz");
  ExpectSplits("mnist", SharedDirectory() + "/data",
               {{v1::SPLIT_TEST, 10000, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                 "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
                {v1::SPLIT_TRAIN, 60000, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                 "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"}});
}

TEST(RealDataTest, FashionMnist) {
  if (!fs::exists("/usr/share/datasets/fashion-mnist")) GTEST_SKIP() << "install the package dataset-fashion-mnist";
  ExpectSplits("fashion-mnist", "/usr/share/datasets",
               {{v1::SPLIT_TEST, 10000, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                 "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"},
                {v1::SPLIT_TRAIN, 60000, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                 "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"}});
}

}  // namespace
}  // namespace tightrope
