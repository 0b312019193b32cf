#include "core/oracle/label_csv.h"

#include <algorithm>
#include <map>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/oracle/csv_line.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

std::string Shown(absl::string_view text) { return absl::StrCat("\"", absl::CHexEscape(text.substr(0, 60)), "\""); }

// Lines of a text that are not blank, with their numbers from 1.
class LineReader {
 public:
  explicit LineReader(absl::string_view text) : rest_(text) {}

  // The fields of the next line; empty at the end of the text. Errors name the line.
  absl::StatusOr<std::vector<CsvField>> Next() {
    while (!rest_.empty()) {
      const size_t end = std::min(rest_.find('\n'), rest_.size());
      const absl::string_view line = absl::StripAsciiWhitespace(rest_.substr(0, end));
      const absl::string_view whole = rest_.substr(0, end);
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
      ++number_;
      if (line.empty()) continue;
      absl::StatusOr<std::vector<CsvField>> fields = SplitCsvLine(whole.substr(0, whole.find_last_not_of('\r') + 1));
      if (!fields.ok()) {
        return absl::InvalidArgumentError(absl::StrCat("line ", number_, ", ", fields.status().message()));
      }
      return fields;
    }
    return std::vector<CsvField>();
  }

  uint64_t number() const { return number_; }

  absl::Status Broken(const CsvField& field, absl::string_view what) const {
    return absl::InvalidArgumentError(
        absl::StrCat("line ", std::max<uint64_t>(number_, 1), ", column ", field.column, ": ", what));
  }

 private:
  absl::string_view rest_;
  uint64_t number_ = 0;
};

absl::StatusOr<uint64_t> ReadIndex(const LineReader& lines, const CsvField& field, uint64_t examples) {
  uint64_t index = 0;
  if (absl::SimpleAtoi(field.text, &index) && index < examples) return index;
  return lines.Broken(field, absl::StrCat("an index must be the position of an example in the set, counted from 0 and "
                                          "below ",
                                          examples, "; got ", Shown(field.text)));
}

absl::StatusOr<int16_t> ReadLabel(const LineReader& lines, const CsvField& field, uint32_t classes) {
  if (absl::EqualsIgnoreCase(field.text, "none of these") || absl::EqualsIgnoreCase(field.text, "none")) {
    return static_cast<int16_t>(kNoneOfThese);
  }
  int64_t label = 0;
  if (absl::SimpleAtoi(field.text, &label) && label >= kNoneOfThese && label < int64_t{classes}) {
    return static_cast<int16_t>(label);
  }
  return lines.Broken(field, absl::StrCat("not a label; write a class number below ", classes,
                                          ", or \"none of these\" where it is no class; got ", Shown(field.text)));
}

absl::Status CheckWidth(const LineReader& lines, const std::vector<CsvField>& fields, size_t want) {
  if (fields.size() == want) return absl::OkStatus();
  return lines.Broken(fields.back(), absl::StrCat("the first line names ", want, " columns, this one has ",
                                                  fields.size(), "; put quotes around a name with a comma"));
}

absl::Status ReadLongForm(LineReader& lines, LabelTable::Size size, LabelAnswers& answers) {
  std::map<std::string, uint32_t> known;
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::vector<CsvField> fields, lines.Next());
    if (fields.empty()) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(CheckWidth(lines, fields, 3));
    GivenAnswer answer;
    ABSL_ASSIGN_OR_RETURN(answer.example, ReadIndex(lines, fields[0], size.examples));
    if (fields[1].text.empty()) return lines.Broken(fields[1], "no annotator; write a name or a number");
    const auto [entry, is_new] = known.emplace(fields[1].text, answers.annotators.size());
    if (is_new) answers.annotators.push_back(fields[1].text);
    answer.annotator = entry->second;
    if (fields[2].text.empty()) return lines.Broken(fields[2], "no label; leave out the line of a missing answer");
    ABSL_ASSIGN_OR_RETURN(answer.label, ReadLabel(lines, fields[2], size.classes));
    answer.line = lines.number();
    answers.given.push_back(answer);
  }
}

absl::Status ReadNames(const LineReader& lines, const std::vector<CsvField>& header, LabelAnswers& answers) {
  for (size_t i = 1; i < header.size(); ++i) {
    if (header[i].text.empty()) return lines.Broken(header[i], "a column without a name; name its annotator");
    answers.annotators.push_back(header[i].text);
  }
  std::map<std::string, uint64_t> columns;
  for (size_t i = 1; i < header.size(); ++i) {
    const auto [entry, is_new] = columns.emplace(header[i].text, header[i].column);
    if (is_new) continue;
    return lines.Broken(header[i], absl::StrCat("two columns of one name; rename one, the other is at column ",
                                                entry->second, "; got ", Shown(header[i].text)));
  }
  return absl::OkStatus();
}

absl::Status ReadWideForm(LineReader& lines, LabelTable::Size size, LabelAnswers& answers) {
  std::vector<uint64_t> line_of(size.examples, 0);
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::vector<CsvField> fields, lines.Next());
    if (fields.empty()) return absl::OkStatus();
    ABSL_RETURN_IF_ERROR(CheckWidth(lines, fields, answers.annotators.size() + 1));
    ABSL_ASSIGN_OR_RETURN(const uint64_t example, ReadIndex(lines, fields[0], size.examples));
    if (line_of[example] != 0) {
      return lines.Broken(fields[0], absl::StrCat("example ", example, " is already on line ", line_of[example],
                                                  "; write one line an example"));
    }
    line_of[example] = lines.number();
    for (size_t i = 1; i < fields.size(); ++i) {
      if (fields[i].text.empty()) continue;
      ABSL_ASSIGN_OR_RETURN(const int16_t label, ReadLabel(lines, fields[i], size.classes));
      answers.given.push_back({example, static_cast<uint32_t>(i - 1), label, lines.number()});
    }
  }
}

}  // namespace

absl::StatusOr<LabelAnswers> ReadLabelCsv(absl::string_view text, LabelTable::Size size) {
  constexpr absl::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.substr(0, kByteOrderMark.size()) == kByteOrderMark) text.remove_prefix(kByteOrderMark.size());
  LineReader lines(text);
  ABSL_ASSIGN_OR_RETURN(const std::vector<CsvField> header, lines.Next());
  if (header.size() < 2 || header[0].text != "index") {
    return lines.Broken(header.empty() ? CsvField() : header[0],
                        absl::StrCat("the first line must name the columns; write index,annotator,label or index and "
                                     "the names of the annotators; got ",
                                     Shown(header.empty() ? "" : header[0].text)));
  }
  LabelAnswers answers;
  if (header.size() == 3 && header[1].text == "annotator" && header[2].text == "label") {
    ABSL_RETURN_IF_ERROR(ReadLongForm(lines, size, answers));
  } else {
    ABSL_RETURN_IF_ERROR(ReadNames(lines, header, answers));
    ABSL_RETURN_IF_ERROR(ReadWideForm(lines, size, answers));
  }
  if (answers.given.empty()) return absl::InvalidArgumentError("no label in the table; write at least one");
  return answers;
}

}  // namespace tightrope
