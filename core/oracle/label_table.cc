#include "core/oracle/label_table.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/artifact/npy.h"
#include "core/oracle/label_csv.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

std::string Shown(absl::string_view text) { return absl::StrCat("\"", absl::CHexEscape(text.substr(0, 60)), "\""); }

absl::Status CheckCells(uint64_t examples, uint64_t annotators) {
  if (annotators > LabelTable::kMaxAnnotators) {
    return absl::InvalidArgumentError(absl::StrCat("a label table may have ", LabelTable::kMaxAnnotators,
                                                   " annotators at most; give one row an example, one column an "
                                                   "annotator: got ",
                                                   annotators, " annotators"));
  }
  if (annotators == 0 || examples <= LabelTable::kMaxCells / annotators) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a label table may have ", LabelTable::kMaxCells,
                                                 " cells at most; give the labels in several tables: got ", examples,
                                                 " examples x ", annotators, " annotators"));
}

// One item of a NumPy array of integers, as a number; empty where it does not fit (an unsigned one of 2^63 or more).
template <typename Integer>
std::optional<int64_t> ItemAs(absl::string_view data, uint64_t i) {
  Integer item;
  std::memcpy(&item, data.data() + i * sizeof(Integer), sizeof(Integer));
  if (!std::in_range<int64_t>(item)) return std::nullopt;
  return static_cast<int64_t>(item);
}

using ItemReader = std::optional<int64_t> (*)(absl::string_view, uint64_t);

// Null for what is no integer.
ItemReader ReaderOf(absl::string_view dtype) {
  constexpr std::pair<absl::string_view, ItemReader> kReaders[] = {
      {"|i1", ItemAs<int8_t>},  {"<i2", ItemAs<int16_t>},  {"<i4", ItemAs<int32_t>},  {"<i8", ItemAs<int64_t>},
      {"|u1", ItemAs<uint8_t>}, {"<u2", ItemAs<uint16_t>}, {"<u4", ItemAs<uint32_t>}, {"<u8", ItemAs<uint64_t>}};
  for (const auto& [name, reader] : kReaders) {
    if (name == dtype) return reader;
  }
  return nullptr;
}

}  // namespace

LabelTable::LabelTable(Size size, std::vector<std::string> annotators)
    : examples_(size.examples),
      classes_(size.classes),
      annotators_(std::move(annotators)),
      cells_(examples_ * annotators_.size(), static_cast<int16_t>(kNoAnswer)) {}

absl::StatusOr<LabelTable> LabelTable::Parse(absl::string_view bytes, Size size) {
  if (size.classes == 0 || size.classes > kMaxClasses) {
    return absl::InvalidArgumentError(
        absl::StrCat("a label table is for 1 to ", kMaxClasses, " classes, got ", size.classes));
  }
  ABSL_RETURN_IF_ERROR(CheckCells(size.examples, 1));
  return absl::StartsWith(bytes, "\x93NUMPY") ? ParseArray(bytes, size) : ParseText(bytes, size);
}

absl::StatusOr<LabelTable> LabelTable::ParseArray(absl::string_view bytes, Size size) {
  ABSL_ASSIGN_OR_RETURN(const NpyArray array, ParseNpy(bytes));
  const ItemReader item = ReaderOf(array.dtype);
  if (item == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "labels must be whole numbers; save astype(numpy.int64) with -1 for \"none of these\" and -2 for no answer; "
        "got type ",
        array.dtype));
  }
  if (array.shape.empty() || array.shape.size() > 2 || static_cast<uint64_t>(array.shape[0]) != size.examples) {
    return absl::InvalidArgumentError(absl::StrCat("labels must have the shape (", size.examples, ") or (",
                                                   size.examples, ", annotators), got (",
                                                   absl::StrJoin(array.shape, ", "), ")"));
  }
  const uint64_t annotators = array.shape.size() == 2 ? static_cast<uint64_t>(array.shape[1]) : 1;
  if (annotators == 0 || size.examples == 0) return absl::InvalidArgumentError("no label in the table");
  ABSL_RETURN_IF_ERROR(CheckCells(size.examples, annotators));
  std::vector<std::string> names;
  for (uint64_t i = 0; i < annotators; ++i) names.push_back(absl::StrCat(i));
  LabelTable table(size, std::move(names));
  for (uint64_t i = 0; i < table.cells_.size(); ++i) {
    const std::optional<int64_t> label = item(array.data, i);
    if (!label || *label < kNoAnswer || *label >= int64_t{size.classes}) {
      return absl::InvalidArgumentError(absl::StrCat("not a label; write a class number below ", size.classes,
                                                     ", -1 for \"none of these\" or -2 for no answer; got ",
                                                     label ? absl::StrCat(*label) : "2^63 or more", " at [",
                                                     i / annotators, ", ", i % annotators, "]"));
    }
    table.cells_[i] = static_cast<int16_t>(*label);
  }
  return table;
}

absl::StatusOr<LabelTable> LabelTable::ParseText(absl::string_view text, Size size) {
  ABSL_ASSIGN_OR_RETURN(LabelAnswers answers, ReadLabelCsv(text, size));
  ABSL_RETURN_IF_ERROR(CheckCells(size.examples, answers.annotators.size()));
  LabelTable table(size, std::move(answers.annotators));
  for (const GivenAnswer& answer : answers.given) {
    int16_t& cell = table.cells_[answer.example * table.annotators_.size() + answer.annotator];
    if (cell != kNoAnswer) {
      const auto first = std::find_if(answers.given.begin(), answers.given.end(), [&](const GivenAnswer& other) {
        return other.example == answer.example && other.annotator == answer.annotator;
      });
      return absl::InvalidArgumentError(absl::StrCat(
          "line ", answer.line, ", column 1: annotator ", Shown(table.annotators_[answer.annotator]),
          " has already labelled example ", answer.example, " on line ", first->line, "; remove one of the two"));
    }
    cell = answer.label;
  }
  return table;
}

Vote LabelTable::VoteOf(uint64_t example) const {
  std::map<int32_t, uint32_t> votes;
  Vote vote;
  for (size_t annotator = 0; annotator < annotators_.size(); ++annotator) {
    const int32_t answer = Answer(example, annotator);
    if (answer == kNoAnswer) continue;
    ++vote.answers;
    const uint32_t count = ++votes[answer];
    vote.most = std::max(vote.most, count);
  }
  for (const auto& [label, count] : votes) {
    if (2 * count > vote.answers) vote.label = label;
  }
  return vote;
}

}  // namespace tightrope
