// One line of comma-separated values (RFC 4180), with where each field stands, so that a mistake can be pointed at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tightrope {

struct CsvField {
  std::string text;     // without quotes; spaces around an unquoted field are dropped
  uint64_t column = 1;  // of its first byte in the line, from 1
};

// The fields of `line`, at least one. A quoted field holds commas and doubled quotes, but no line break. Allocates in
// proportion to the line. Errors: INVALID_ARGUMENT with the column (a quote that is not closed, or text outside it).
absl::StatusOr<std::vector<CsvField>> SplitCsvLine(absl::string_view line);

}  // namespace tightrope
