#include "core/oracle/label_table.h"

#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/artifact/npy.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kNoAnswer = LabelTable::kNoAnswer;

// A .npy file, format 1.0.
template <typename Integer>
std::string Array(const std::string& dtype, const std::vector<int64_t>& shape, const std::vector<Integer>& items) {
  const std::string header = absl::StrCat("{'descr': '", dtype, "', 'fortran_order': False, 'shape': (",
                                          absl::StrJoin(shape, ", "), shape.size() == 1 ? "," : "", "), }\n");
  std::string bytes("\x93NUMPY\x01\x00", 8);
  bytes += {static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  bytes += header;
  return bytes.append(reinterpret_cast<const char*>(items.data()), items.size() * sizeof(Integer));
}

std::vector<std::vector<int32_t>> Answers(const LabelTable& table) {
  std::vector<std::vector<int32_t>> answers(table.examples());
  for (uint64_t i = 0; i < table.examples(); ++i) {
    for (size_t j = 0; j < table.annotators().size(); ++j) answers[i].push_back(table.Answer(i, j));
  }
  return answers;
}

TEST(LabelTableTest, ArraysOfEveryIntegerType_OneAnnotatorOrSeveral) {
  const auto one = ElementsAre(ElementsAre(3), ElementsAre(0), ElementsAre(9));
  EXPECT_THAT(Answers(*LabelTable::Parse(Array<int64_t>("<i8", {3}, {3, 0, 9}), {3, 10})), one);
  EXPECT_THAT(Answers(*LabelTable::Parse(Array<uint64_t>("<u8", {3}, {3, 0, 9}), {3, 10})), one);
  EXPECT_THAT(Answers(*LabelTable::Parse(Array<int32_t>("<i4", {3, 1}, {3, 0, 9}), {3, 10})), one);
  EXPECT_THAT(Answers(*LabelTable::Parse(Array<uint16_t>("<u2", {3}, {3, 0, 9}), {3, 10})), one);
  EXPECT_THAT(Answers(*LabelTable::Parse(Array<uint8_t>("|u1", {3}, {3, 0, 9}), {3, 10})), one);
  const auto several = LabelTable::Parse(Array<int8_t>("|i1", {2, 3}, {3, -1, -2, 0, 0, 9}), {2, 10});
  ASSERT_OK(several);
  EXPECT_THAT(Answers(*several), ElementsAre(ElementsAre(3, kNoneOfThese, kNoAnswer), ElementsAre(0, 0, 9)));
  EXPECT_THAT(several->annotators(), ElementsAre("0", "1", "2"));
}

TEST(LabelTableTest, ArraysThatAreNoLabelsSayWhatToSave) {
  struct Case {
    std::string bytes, message;
  };
  const std::vector<Case> cases = {
      {WriteNpy({3, 0, 9}, {3}),
       "save astype(numpy.int64) with -1 for \"none of these\" and -2 for no answer; got type <f4"},
      {Array<int64_t>("<i8", {2}, {3, 0}), "must have the shape (3) or (3, annotators), got (2)"},
      {Array<int64_t>("<i8", {1, 3}, {3, 0, 1}), "got (1, 3)"},
      {Array<int64_t>("<i8", {3, 1, 1}, {3, 0, 1}), "got (3, 1, 1)"},
      {Array<int64_t>("<i8", {}, {3}), "got ()"},
      {Array<int64_t>("<i8", {3, 0}, {}), "no label in the table"},
      {Array<int64_t>("<i8", {3}, {3, 0, 10}), "write a class number below 10, -1 for \"none of these\""},
      {Array<int64_t>("<i8", {3}, {3, 0, 10}), "got 10 at [2, 0]"},
      {Array<int64_t>("<i8", {3, 2}, {0, 0, 0, -3, 0, 0}), "got -3 at [1, 1]"},
      {Array<int64_t>("<i8", {3}, {3, int64_t{1} << 40, 0}), "got 1099511627776 at [1, 0]"},
      {Array<uint64_t>("<u8", {3}, {3, ~uint64_t{0}, 0}), "got 2^63 or more at [1, 0]"},
      {Array<int64_t>("<i8", {3}, {3, 0}), "the data does not have the size that the header gives"},
      {std::string("\x93NUMPY", 6), "broken .npy file: truncated"},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    EXPECT_THAT(LabelTable::Parse(broken.bytes, {3, 10}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(broken.message)));
  }
}

TEST(LabelTableTest, LongForm_AnswersInAnyOrder_MissingOnesLeftOut) {
  const auto table = LabelTable::Parse(
      "index,annotator,label\n"
      "2,ben,none of these\n"
      "0,anna,7\n"
      "\n"
      "0,ben,-1\n"
      "2,\"von Au, anna\",None\n",
      {4, 10});
  ASSERT_OK(table);
  EXPECT_THAT(table->annotators(), ElementsAre("ben", "anna", "von Au, anna"));
  EXPECT_THAT(
      Answers(*table),
      ElementsAre(ElementsAre(kNoneOfThese, 7, kNoAnswer), ElementsAre(kNoAnswer, kNoAnswer, kNoAnswer),
                  ElementsAre(kNoneOfThese, kNoAnswer, kNoneOfThese), ElementsAre(kNoAnswer, kNoAnswer, kNoAnswer)));
}

TEST(LabelTableTest, WideForm_EmptyCellsAreMissing_AsASpreadsheetWritesIt) {
  const auto table = LabelTable::Parse("\xef\xbb\xbfindex,anna,ben\r\n1,\"3\",\r\n0,none of these,0\r\n", {3, 10});
  ASSERT_OK(table);
  EXPECT_THAT(table->annotators(), ElementsAre("anna", "ben"));
  EXPECT_THAT(Answers(*table),
              ElementsAre(ElementsAre(kNoneOfThese, 0), ElementsAre(3, kNoAnswer), ElementsAre(kNoAnswer, kNoAnswer)));
  const auto alone = LabelTable::Parse("index,label\n0,1\n1,2", {2, 10});
  ASSERT_OK(alone);
  EXPECT_THAT(Answers(*alone), ElementsAre(ElementsAre(1), ElementsAre(2)));
}

TEST(LabelTableTest, BrokenTextSaysWhereAndWhatToWrite) {
  struct Case {
    std::string text, message;
  };
  const std::string long_form = "index,annotator,label\n";
  const std::vector<Case> cases = {
      {"", "line 1, column 1: the first line must name the columns; write index,annotator,label or index and"},
      {"0,1\n1,2\n", "line 1, column 1: the first line must name the columns"},
      {"image,label\n0,1\n", "got \"image\""},
      {"index\n0\n", "line 1, column 1: the first line must name the columns"},
      {"\xff\xfei\0n\0d\0", "got \"\\xff\\xfei"},
      {long_form, "no label in the table; write at least one"},
      {"index,anna\n0,\n", "no label in the table"},
      {long_form + "0,anna\n", "line 2, column 3: the first line names 3 columns, this one has 2"},
      {long_form + "\n0,von Au, anna,7\n", "line 3, column 16: the first line names 3 columns, this one has 4"},
      {long_form + "4,anna,7\n",
       "line 2, column 1: an index must be the position of an example in the set, counted "
       "from 0 and below 4; got \"4\""},
      {long_form + "-1,anna,7\n", "line 2, column 1: an index must be"},
      {long_form + "18446744073709551616,anna,7\n", "line 2, column 1: an index must be"},
      {long_form + "0.0,anna,7\n", "line 2, column 1: an index must be"},
      {long_form + "0,,7\n", "line 2, column 3: no annotator; write a name or a number"},
      {long_form + "0,anna,\n", "line 2, column 8: no label; leave out the line of a missing answer"},
      {long_form + "0,anna,10\n",
       "line 2, column 8: not a label; write a class number below 10, or \"none of these\" "
       "where it is no class; got \"10\""},
      {long_form + "0,anna,-2\n", "got \"-2\""},
      {long_form + "0,anna,3.0\n", "got \"3.0\""},
      {long_form + "0,anna,seven\n", "got \"seven\""},
      {long_form + "0,anna,7\n1,anna,7\n0,ben,7\n0,anna,7\n",
       "line 5, column 1: annotator \"anna\" has already labelled example 0 on line 2; remove one of the two"},
      {long_form + "0,\"anna,7\n", "line 2, column 3: a quote that is not closed"},
      {"index,anna,anna\n0,1,2\n", "line 1, column 12: two columns of one name; rename one, the other is at column 7"},
      {"index,anna,\n0,1,2\n", "line 1, column 12: a column without a name"},
      {"index,anna\n0,1\n0,2\n", "line 3, column 1: example 0 is already on line 2; write one line an example"},
      {"index,anna\n0,1\n0,\n", "line 3, column 1: example 0 is already on line 2"},
      {"index,anna,ben\n0,1,x\n", "line 2, column 5: not a label"},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    EXPECT_THAT(LabelTable::Parse(broken.text, {4, 10}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(broken.message)));
  }
}

TEST(LabelTableTest, TablesTooLargeAreRefusedBeforeAnythingIsAllocated) {
  EXPECT_THAT(LabelTable::Parse("index,a\n0,1\n", {uint64_t{1} << 60, 10}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("may have 16777216 cells at most")));
  std::string wide = "index";
  for (int i = 0; i < 100; ++i) absl::StrAppend(&wide, ",a", i);
  EXPECT_THAT(LabelTable::Parse(wide + "\n0,1" + std::string(99, ','), {1 << 20, 10}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got 1048576 examples x 100 annotators")));
  std::string names = "index,annotator,label\n";
  for (int i = 0; i < 100; ++i) absl::StrAppend(&names, "0,a", i, ",1\n");
  EXPECT_THAT(LabelTable::Parse(names, {1 << 20, 10}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("got 1048576 examples x 100 annotators")));
  EXPECT_THAT(LabelTable::Parse(Array("|u1", {1, 5000}, std::vector<uint8_t>(5000)), {1, 10}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("may have 4096 annotators at most")));
  for (const uint32_t classes : {0u, 40'000u}) {
    EXPECT_THAT(LabelTable::Parse("index,a\n0,1\n", {1, classes}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("for 1 to 32768 classes")));
  }
}

TEST(LabelTableTest, MutatedTablesNeverCrash) {
  const std::string good = "index,annotator,label\n0,anna,7\n1,\"be\"\"n\",none of these\n2,anna,-1\n";
  std::mt19937_64 random(1);
  for (int trial = 0; trial < 20'000; ++trial) {
    std::string text = good;
    for (uint64_t change = 0; change <= random() % 4; ++change) {
      text[random() % text.size()] =
          static_cast<char>(random() % 4 == 0 ? random() % 256 : "\",\n-0\r x"[random() % 8]);
    }
    const auto table = LabelTable::Parse(text, {4, 10});
    if (table.ok()) continue;
    EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

Vote VoteOf(const std::vector<int8_t>& answers) {
  return LabelTable::Parse(Array<int8_t>("|i1", {1, static_cast<int64_t>(answers.size())}, answers), {1, 10})
      ->VoteOf(0);
}

TEST(LabelTableTest, AMajorityIsMoreThanHalfOfTheAnswers) {
  EXPECT_EQ(VoteOf({7}).label, 7);
  EXPECT_EQ(VoteOf({7, 7, 1}).label, 7);
  EXPECT_EQ(VoteOf({7, -2, -2}).label, 7) << "who was not asked does not count";
  EXPECT_EQ(VoteOf({-1, -1, 3}).label, kNoneOfThese);
  EXPECT_EQ(VoteOf({7, 1}).label, kUndecided) << "a tie";
  EXPECT_EQ(VoteOf({7, 7, 1, 1}).label, kUndecided) << "a tie";
  EXPECT_EQ(VoteOf({7, 7, 1, 2, 3}).label, kUndecided) << "a plurality is no majority";
  EXPECT_EQ(VoteOf({-1, 7}).label, kUndecided) << "none of these is an answer like others";
  EXPECT_EQ(VoteOf({-2, -2}).label, kUndecided);
}

TEST(LabelTableTest, TheVoteSaysHowManyAgree) {
  const Vote vote = VoteOf({7, 7, 1, -2, 7, -1});
  EXPECT_EQ(vote.label, 7);
  EXPECT_EQ(vote.most, 3u);
  EXPECT_EQ(vote.answers, 5u);
  EXPECT_EQ(VoteOf({-2}).answers, 0u);
}

}  // namespace
}  // namespace tightrope
