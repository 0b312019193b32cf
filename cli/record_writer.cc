#include "cli/record_writer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/number_format.h"

namespace tightrope {
namespace {

std::string CsvField(const RecordValue& value) {
  if (value.is_null()) return "";
  if (value.is_number_float()) return Shortest(value.get<double>());
  if (!value.is_string()) return value.dump();
  const std::string& text = value.get_ref<const std::string&>();
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

}  // namespace

RecordWriter::RecordWriter(std::ostream& out, RecordFormat format, std::vector<std::string> columns)
    : out_(out), format_(format), columns_(std::move(columns)) {
  if (format_ == RecordFormat::kJson) {
    out_ << "[";
    return;
  }
  for (size_t i = 0; i < columns_.size(); ++i) out_ << (i == 0 ? "" : ",") << CsvField(columns_[i]);
  out_ << "\n";
}

void RecordWriter::Write(const std::vector<RecordValue>& values) {
  if (format_ == RecordFormat::kCsv) {
    for (size_t i = 0; i < values.size(); ++i) out_ << (i == 0 ? "" : ",") << CsvField(values[i]);
    out_ << "\n";
    return;
  }
  RecordValue object = RecordValue::object();
  for (size_t i = 0; i < values.size(); ++i) object[columns_[i]] = values[i];
  out_ << (first_ ? "\n" : ",\n")
       << object.dump(/*indent=*/-1, /*indent_char=*/' ', /*ensure_ascii=*/false,
                      RecordValue::error_handler_t::replace);
  first_ = false;
}

void RecordWriter::Finish() {
  if (format_ == RecordFormat::kJson) out_ << (first_ ? "]\n" : "\n]\n");
}

RecordValue TextOrNull(const std::string& text) { return text.empty() ? RecordValue() : RecordValue(text); }

}  // namespace tightrope
