#include "core/experiment/target_table.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/experiment/mistake.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// "Manually chosen target classes": digits that look alike.
constexpr absl::string_view kPublished =
    "0: 4 6 8 9, 1: 4 6 7 9, 2: 8, 3: 8, 4: 8 9, 5: 3 8, 6: 0, 7: 2 3, 8: 3, 9: 3 4 5";
constexpr uint32_t kDigits = 10;

absl::StatusOr<uint32_t> ParseClass(absl::string_view word, uint32_t classes) {
  uint32_t value = 0;
  // SimpleAtoi also takes signs and spaces around.
  const bool digits =
      std::all_of(word.begin(), word.end(), [](unsigned char letter) { return absl::ascii_isdigit(letter); });
  if (!digits || !absl::SimpleAtoi(word, &value)) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(word), " is not a class; write its number"));
  }
  if (classes > 0 && value >= classes) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no class ", value, "; the data have ", classes, ", numbered from 0"));
  }
  return value;
}

// `text` is what stands between two commas.
absl::StatusOr<v1::TargetRow> ParseRow(absl::string_view text, uint32_t classes) {
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos) {
    return absl::InvalidArgumentError(
        "a row is a class, a colon and the classes that it may be turned into, as in `0: 4 6 8 9`");
  }
  v1::TargetRow row;
  ABSL_ASSIGN_OR_RETURN(const uint32_t label, ParseClass(absl::StripAsciiWhitespace(text.substr(0, colon)), classes));
  row.set_label(label);
  std::set<uint32_t> targets;
  for (const absl::string_view word :
       absl::StrSplit(text.substr(colon + 1), absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
    ABSL_ASSIGN_OR_RETURN(const uint32_t target, ParseClass(word, classes));
    if (target == label) {
      return absl::InvalidArgumentError(absl::StrCat("class ", label, " cannot be its own target"));
    }
    if (!targets.insert(target).second) {
      return absl::InvalidArgumentError(absl::StrCat("class ", target, " is named twice; keep one"));
    }
  }
  if (targets.empty()) {
    return absl::InvalidArgumentError(
        "no class follows the colon; leave the row out where all other classes are allowed");
  }
  row.mutable_targets()->Assign(targets.begin(), targets.end());
  return row;
}

}  // namespace

absl::StatusOr<std::vector<v1::TargetRow>> ParseTargets(absl::string_view text, uint32_t classes) {
  if (text == "all") return std::vector<v1::TargetRow>();
  if (text == "published") {
    if (classes == 0 || classes >= kDigits) return ParseTargets(kPublished, classes);
    return absl::InvalidArgumentError(
        absl::StrCat("`targets: published` is a table for the ten digits, and the data "
                     "have ",
                     classes, " classes; write `all` or a table of your own"));
  }
  if (text.find_first_of(":,") == absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("`targets` is all, published or a table such as \"0: 4 6 8 9, 1: 7\"; ", Quoted(text), " is not",
                     DidYouMean(text, {"all", "published"})));
  }
  std::vector<v1::TargetRow> rows;
  std::set<uint32_t> labels;
  int number = 0;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const absl::string_view row_text = absl::StripAsciiWhitespace(part);
    const std::string where = absl::StrCat("row ", ++number, " of `targets`, ", Quoted(row_text));
    absl::StatusOr<v1::TargetRow> row = ParseRow(row_text, classes);
    if (!row.ok()) return Annotate(row.status(), where);
    if (!labels.insert(row->label()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": class ", row->label(), " has a row already; write all of its targets in one"));
    }
    rows.push_back(*std::move(row));
  }
  std::sort(rows.begin(), rows.end(),
            [](const v1::TargetRow& a, const v1::TargetRow& b) { return a.label() < b.label(); });
  return rows;
}

}  // namespace tightrope
