// The CSV form of a label table (label_table.h says what it looks like).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/oracle/label_table.h"

namespace tightrope {

struct GivenAnswer {
  uint64_t example = 0;
  uint32_t annotator = 0;  // position in `annotators`
  int16_t label = 0;       // a class or kNoneOfThese
  uint64_t line = 0;       // of the text, from 1
};

// What a text says, in its order. In the long form an answer may be given twice.
struct LabelAnswers {
  std::vector<std::string> annotators;
  std::vector<GivenAnswer> given;  // at least one
};

// Allocates in proportion to the text and to size.examples. Errors: as LabelTable::Parse, but for those of the table as
// a whole.
absl::StatusOr<LabelAnswers> ReadLabelCsv(absl::string_view text, LabelTable::Size size);

}  // namespace tightrope
