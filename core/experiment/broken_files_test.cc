// What a user is told about a broken experiment file: testdata/broken_files.txt, and the cases that text cannot show.
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "core/experiment/experiment_file.h"
#include "core/experiment/mistake.h"
#include "core/experiment/npy_bytes_test_support.h"
#include "core/experiment/yaml_document.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/idx_bytes.h"
#include "tests/status_matchers.h"
#include "tests/tiny_dataset.h"

namespace tightrope {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::SizeIs;
using testing::StartsWith;

struct BrokenFile {
  std::string name;
  std::string text;
  std::string expected;  // one line a mistake
};

std::vector<BrokenFile> BrokenFiles() {
  std::ifstream stream(TIGHTROPE_SOURCE_DIR "/core/experiment/testdata/broken_files.txt");
  std::vector<BrokenFile> files;
  for (std::string line; std::getline(stream, line);) {
    if (absl::StartsWith(line, "=== ")) {
      files.push_back({line.substr(4), "", ""});
    } else if (files.empty()) {
      continue;  // the head of the table
    } else if (absl::StartsWith(line, "> ")) {
      absl::StrAppend(&files.back().expected, files.back().expected.empty() ? "" : "\n", line.substr(2));
    } else if (files.back().expected.empty()) {
      absl::StrAppend(&files.back().text, line, "\n");
    }
  }
  return files;
}

// Arrays of examples and of indices, good ones and broken ones, for 20 examples of 28×28.
void WriteArrays(const std::filesystem::path& directory) {
  const auto write = [&](const char* name, const std::string& bytes) { WriteFile(directory / name, bytes); };
  // Examples in floating point, one value of which is another.
  const auto with = [](size_t place, auto value) {
    std::vector<decltype(value)> values(20 * 28 * 28, 0);
    values[place] = value;
    return values;
  };
  write("examples.npy", NpyExamples<uint8_t>("|u1", 20, 7));
  write("short.npy", NpyExamples<uint8_t>("|u1", 3, 7));
  write("wide.npy", NpyBytes("|u1", {20, 28, 27}, std::vector<uint8_t>(20 * 28 * 27)));
  write("pixels.npy", NpyBytes("<f4", {20, 28, 28}, with(28 * 28 + 2, 254.5f)));
  write("negative.npy", NpyBytes("<f8", {20, 1, 28, 28}, with(3, -0.25)));
  write("nan.npy", NpyBytes("<f4", {20, 28, 28}, with(28, std::numeric_limits<float>::quiet_NaN())));
  write("three.npy", NpyBytes<int64_t>("<i8", {3}, {0, 5, 19}));
  write("beyond.npy", NpyBytes<int32_t>("<i4", {2}, {3, 20}));
  write("fractions.npy", NpyBytes<double>("<f8", {2}, {0, 1}));
}

constexpr char kGood[] = R"(name: good
dataset: mnist
models: [{architecture: mlp}]
training: [{method: standard}]
)";

TEST(BrokenFilesTest, EveryCaseIsReportedWithPlaceAndRemedy) {
  const TinyDatasets data(50, 20);
  WriteArrays(data.directory());
  const std::string path = (data.directory() / "experiment.yaml").string();
  const std::vector<BrokenFile> files = BrokenFiles();
  ASSERT_GE(files.size(), 150u);
  for (const BrokenFile& file : files) {
    SCOPED_TRACE(file.name);
    const absl::Status status = data.Parse(file.text).status();
    const std::string told =
        absl::StrReplaceAll(status.message(), {{absl::StrCat(path, ":"), ""}, {data.directory().string(), "DIR"}});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(told, file.expected);
  }
}

TEST(BrokenFilesTest, EachLineBeginsWithTheFile) {
  const TinyDatasets data(50, 20);
  const absl::Status status = data.Parse("nme: x\ndataset: mnst\n").status();
  const std::vector<std::string> lines = absl::StrSplit(status.message(), '\n');
  EXPECT_THAT(lines, AllOf(SizeIs(3), Each(StartsWith((data.directory() / "experiment.yaml:").string()))));
}

TEST(BrokenFilesTest, GoodFileHasNoMistakes) {
  const TinyDatasets data(50, 20);
  EXPECT_OK(data.Parse(kGood));
}

TEST(BrokenFilesTest, MissingDatasetSaysWhereItWasLookedForAndHowToGetIt) {
  const TinyDatasets data(50, 20);
  const auto file = ParseExperimentFile(absl::StrReplaceAll(kGood, {{"mnist", "fashion-mnist"}}), "x.yaml",
                                        {.dataset_search_path = {"/nonexistent/a", "/nonexistent/b"}});
  EXPECT_THAT(file, StatusIs(absl::StatusCode::kInvalidArgument,
                             AllOf(StartsWith("x.yaml:2:10: "), HasSubstr("/nonexistent/a/fashion-mnist"),
                                   HasSubstr("/nonexistent/b/fashion-mnist"), HasSubstr("dataset-fashion-mnist"),
                                   HasSubstr("--data"))));
}

TEST(BrokenFilesTest, CorruptDatasetIsAMistakeAtItsName) {
  const TinyDatasets data(50, 20);
  WriteFile(data.directory() / "mnist" / "t10k-images-idx3-ubyte", BigEndianBytes({0x803, 20, 28, 28}) + "too short");
  EXPECT_THAT(data.Parse(kGood), StatusIs(absl::StatusCode::kInvalidArgument,
                                          AllOf(HasSubstr("experiment.yaml:2:10: "), HasSubstr("t10k-images"))));
}

TEST(BrokenFilesTest, MissingFileIsNotFound) {
  EXPECT_THAT(ReadExperimentFile("/nonexistent/x.yaml", {}),
              StatusIs(absl::StatusCode::kNotFound, "there is no experiment file /nonexistent/x.yaml"));
}

TEST(BrokenFilesTest, DirectoryIsNotAFile) {
  const TinyDatasets data(50, 20);
  EXPECT_THAT(ReadExperimentFile(data.directory().string(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, StartsWith("this is a directory, not an experiment file")));
}

TEST(BrokenFilesTest, TabIsReportedWhereItStands) {
  const TinyDatasets data(50, 20);
  EXPECT_THAT(data.Parse("name: x\nmodels:\n\t- architecture: mlp\n  \t  name: y\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(":3:1: a tab cannot indent; use spaces"),
                                                                 HasSubstr(":4:3: a tab cannot indent; use spaces"))));
}

TEST(BrokenFilesTest, BytesThatAreNotTextAreRefused) {
  const TinyDatasets data(50, 20);
  const std::string path = (data.directory() / "experiment.yaml").string();
  EXPECT_THAT(data.Parse("name: \xff\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       absl::StrCat(path, ":1:7: this byte is not UTF-8; save the file as UTF-8 text")));
  EXPECT_THAT(data.Parse(std::string("name: a\0b\n", 10)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       absl::StrCat(path, ":1:8: a control character; an experiment is plain text")));
}

TEST(BrokenFilesTest, FileAboveTheLimitIsRefusedUnread) {
  const TinyDatasets data(50, 20);
  EXPECT_THAT(data.Parse(kGood + std::string(YamlDocument::kMaxBytes, '#')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the file is larger than 4 MiB")));
}

TEST(BrokenFilesTest, BillionLaughsAreRefusedBeforeTheyExpand) {
  const TinyDatasets data(50, 20);
  std::string text = "name: x\nl0: &l0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n";
  for (int i = 1; i < 20; ++i) {
    absl::StrAppend(&text, "l", i, ": &l", i, " [");
    for (int j = 0; j < 10; ++j) absl::StrAppend(&text, j > 0 ? ", *l" : "*l", i - 1);
    absl::StrAppend(&text, "]\n");
  }
  EXPECT_THAT(data.Parse(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 1000000 values")));
}

TEST(BrokenFilesTest, LongRowsOfBracketsAreRefusedByDepth) {
  const TinyDatasets data(50, 20);
  for (const char* opening : {"[", "{", "- ", "? ", "[{a: "}) {
    std::string text;
    for (int i = 0; i < 2000; ++i) text += opening;
    EXPECT_THAT(data.Parse(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nested too deeply")))
        << opening;
  }
}

TEST(BrokenFilesTest, ThousandsOfMistakesAreCountedNotListed) {
  const TinyDatasets data(50, 20);
  std::string text = kGood;
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&text, "surplus_", i, ": 1\n");
  const absl::Status status = data.Parse(text).status();
  const std::vector<std::string> lines = absl::StrSplit(status.message(), '\n');
  EXPECT_THAT(lines, SizeIs(MistakeList::kMostShown + 1));
  EXPECT_THAT(lines.back(), HasSubstr("and 800 more mistakes"));
  EXPECT_EQ(CountMistakes(status), 1000u);
}

// Texts of a few hundred kilobytes that stand for gigabytes.
TEST(BrokenFilesTest, GridOfFewEntriesButManyValuesIsRefusedBeforeItExpands) {
  const TinyDatasets data(50, 20);
  const auto list = [](int size, const char* item) {
    std::string text = "[";
    for (int i = 0; i < size; ++i) absl::StrAppend(&text, i > 0 ? "," : "", item);
    return text + "]";
  };
  std::string radii = "[";
  for (int i = 1; i < 9999; ++i) absl::StrAppend(&radii, i > 1 ? "," : "", i, "e-5");
  radii += "]";
  std::string surplus;
  for (int i = 0; i < 5000; ++i) absl::StrAppend(&surplus, ", x", i, ": 1");
  const std::string steps_and_surplus = absl::StrCat("{steps: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", surplus, "}");
  const std::string wide = list(20'000, "8");
  const struct {
    const char* list;
    std::string text;
  } cases[] = {
      {"attacks", absl::StrCat("attacks: [{method: pgd, norm: linf, epsilon: ", radii, surplus, "}]\n")},
      {"attacks",
       absl::StrCat("attacks: [{norm: linf, epsilon: 0.1, method: {pgd: {steps: ", radii, surplus, "}}}]\n")},
      {"models", absl::StrCat("models: [{architecture: ", list(9000, "mlp"), ", hidden: ", wide, "}]\n")},
      {"models", absl::StrCat("models: [{architecture: mlp, hidden: &w ", wide, "}, {architecture: ", list(10, "mlp"),
                              ", hidden: ", list(10, "*w"), "}]\n")},
      // Each member is within the bounds, all of them together are not.
      {"attacks", absl::StrCat("attacks: [{norm: linf, epsilon: 0.1, method: [{pgd: &p ", steps_and_surplus, "}",
                               absl::StrReplaceAll(list(90, "{pgd: *p}"), {{"[", ","}, {"]", ""}}), "]}]\n")},
      {"training", absl::StrCat("training: [&t {method: standard, epochs: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", surplus,
                                "}", absl::StrReplaceAll(list(90, "*t"), {{"[", ","}, {"]", ""}}), "]\n")},
  };
  for (const auto& broken : cases) {
    std::string text = "name: x\ndataset: mnist\n";
    for (const char* other : {"models: [{architecture: mlp}]\n", "training: [{method: standard}]\n"}) {
      if (!absl::StartsWith(other, broken.list)) text += other;
    }
    EXPECT_THAT(data.Parse(text + broken.text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("expand `", broken.list,
                                                "` to more than 10000 entries or to too many values"))))
        << broken.text.substr(0, 60);
  }
}

TEST(BrokenFilesTest, ManyModelFilesAreNotTooManyValues) {
  const TinyDatasets data(50, 20);
  std::string files;
  for (int i = 0; i < 1500; ++i) absl::StrAppend(&files, i > 0 ? ", " : "", "absent-", i, ".pt");
  const absl::Status status =
      data.Parse(absl::StrCat("name: x\ndataset: mnist\nmodels: [{architecture: {torchscript: [", files, "]}}]\n"))
          .status();
  EXPECT_EQ(CountMistakes(status), 1500u) << "each file is missing";
}

TEST(BrokenFilesTest, LongTextIsRefusedWhereItStands) {
  const TinyDatasets data(50, 20);
  EXPECT_THAT(data.Parse(absl::StrCat(kGood, "attacks: [{method: fgsm, norm: linf, epsilon: 0.1, name: ",
                                      std::string(YamlDocument::kMaxTextBytes + 1, 'x'), "}]\n")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(":5:58: a value of more than 4096 bytes")));
}

}  // namespace
}  // namespace tightrope
