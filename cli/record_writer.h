// Flat records as CSV or JSON: the one writer behind `results` and `export`, so that their formats agree.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace tightrope {

// A value of a record: null, string, integer, floating-point number or bool.
using RecordValue = nlohmann::ordered_json;

enum class RecordFormat {
  // RFC 4180 quoting, a header line, lines ended by LF; null is an empty field.
  kCsv,
  // An array with one object a line, keys in the order of the columns.
  kJson,
};

// Writes records as they come; never holds more than one. Numbers are the shortest decimals that read back the same, so
// equal records give equal bytes. Not thread-safe.
class RecordWriter {
 public:
  // `out` must outlive the writer. Writes the CSV header or opens the array.
  RecordWriter(std::ostream& out, RecordFormat format, std::vector<std::string> columns);

  // REQUIRES: one value a column.
  void Write(const std::vector<RecordValue>& values);
  // Closes the array. REQUIRES: called once, last.
  void Finish();

 private:
  std::ostream& out_;
  const RecordFormat format_;
  const std::vector<std::string> columns_;
  bool first_ = true;
};

// null where `text` is empty: how "does not apply" is written.
RecordValue TextOrNull(const std::string& text);

}  // namespace tightrope
