// What distances say of a data set, as `export --what anchors|pairs|triples` writes it.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/record_writer.h"
#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

struct AlignmentTable {
  const char* what;
  std::vector<std::string> columns;
  // Writes the rows that a message has for this table.
  void (*write)(const v1::ExportAlignmentsResponse& response, RecordWriter& writer);
};

// Null: there is no such table.
const AlignmentTable* FindAlignmentTable(absl::string_view what);

}  // namespace tightrope
