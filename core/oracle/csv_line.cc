#include "core/oracle/csv_line.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

absl::Status Broken(uint64_t column, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("column ", column, ": ", what));
}

bool IsBlank(absl::string_view text) { return absl::StripAsciiWhitespace(text).empty(); }

// Reads the quoted field that starts at `begin`; `end` is then where its comma or the line's end is.
absl::StatusOr<std::string> ReadQuoted(absl::string_view line, size_t begin, size_t& end) {
  std::string text;
  for (size_t at = begin + 1; at < line.size(); ++at) {
    if (line[at] != '"') {
      text += line[at];
    } else if (line.substr(at + 1, 1) == "\"") {
      text += '"';
      ++at;
    } else {
      end = std::min(line.find(',', at), line.size());
      if (IsBlank(line.substr(at + 1, end - at - 1))) return text;
      return Broken(at + 2, "text after a closing quote; write two quotes for one inside the field");
    }
  }
  return Broken(begin + 1, "a quote that is not closed in its line; close it, or leave out the quotes");
}

}  // namespace

absl::StatusOr<std::vector<CsvField>> SplitCsvLine(absl::string_view line) {
  std::vector<CsvField> fields;
  size_t begin = 0;
  while (true) {
    size_t end = std::min(line.find(',', begin), line.size());
    const absl::string_view plain = line.substr(begin, end - begin);
    const absl::string_view stripped = absl::StripLeadingAsciiWhitespace(plain);
    CsvField field;
    // An empty field stands where its text would be.
    field.column = begin + 1 + (stripped.empty() ? 0 : plain.size() - stripped.size());
    if (!stripped.empty() && stripped.front() == '"') {
      ABSL_ASSIGN_OR_RETURN(field.text, ReadQuoted(line, field.column - 1, end));
    } else {
      field.text = std::string(absl::StripAsciiWhitespace(plain));
      if (const size_t quote = field.text.find('"'); quote != std::string::npos) {
        return Broken(field.column + quote, "a quote inside a field; put quotes around the whole field");
      }
    }
    fields.push_back(std::move(field));
    if (end == line.size()) return fields;
    begin = end + 1;
  }
}

}  // namespace tightrope
