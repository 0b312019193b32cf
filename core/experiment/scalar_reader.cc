#include "core/experiment/scalar_reader.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "core/experiment/schema.h"

namespace tightrope {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

// Decimal digits without leading zeros, which other YAML readers take for octal.
std::optional<uint64_t> ParseWholeNumber(absl::string_view text) {
  uint64_t value = 0;
  if (text.empty() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  for (const char digit : text) {
    if (!absl::ascii_isdigit(static_cast<unsigned char>(digit))) return std::nullopt;
  }
  if (!absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

std::optional<double> ParseDecimal(absl::string_view text) {
  double value = 0;
  // SimpleAtod also takes "inf", "nan" and spaces around; none of them has only these characters.
  if (text.empty() || text.find_first_not_of("0123456789+-.eE") != absl::string_view::npos) return std::nullopt;
  if (!absl::SimpleAtod(text, &value) || !std::isfinite(value)) return std::nullopt;
  return value == 0 ? 0.0 : value;  // -0 would be another identity for the same experiment
}

bool ReadWholeNumber(const YamlNode& node, const FieldDescriptor& field, Message& message) {
  const std::optional<uint64_t> value = ParseWholeNumber(node.text);
  if (node.quoted || !value.has_value() || !InRange(field, static_cast<double>(*value))) return false;
  const auto* reflection = message.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
    field.is_repeated() ? reflection->AddUInt64(&message, &field, *value)
                        : reflection->SetUInt64(&message, &field, *value);
    return true;
  }
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_UINT32 || *value > std::numeric_limits<uint32_t>::max())
    return false;
  const auto narrow = static_cast<uint32_t>(*value);
  field.is_repeated() ? reflection->AddUInt32(&message, &field, narrow)
                      : reflection->SetUInt32(&message, &field, narrow);
  return true;
}

}  // namespace

std::optional<double> ParseNumber(absl::string_view text) {
  const size_t slash = text.find('/');
  if (slash == absl::string_view::npos) return ParseDecimal(text);
  const std::optional<double> numerator = ParseDecimal(absl::StripAsciiWhitespace(text.substr(0, slash)));
  const std::optional<double> denominator = ParseDecimal(absl::StripAsciiWhitespace(text.substr(slash + 1)));
  if (!numerator.has_value() || !denominator.has_value() || *denominator == 0) return std::nullopt;
  const double value = *numerator / *denominator;
  if (!std::isfinite(value)) return std::nullopt;
  return value == 0 ? 0.0 : value;
}

bool ReadScalar(const YamlNode& node, const FieldDescriptor& field, Message& message) {
  if (node.kind != YamlNode::Kind::kScalar) return false;
  const auto* reflection = message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      field.is_repeated() ? reflection->AddString(&message, &field, node.text)
                          : reflection->SetString(&message, &field, node.text);
      return true;
    case FieldDescriptor::CPPTYPE_BOOL:
      if (node.quoted || (node.text != "true" && node.text != "false")) return false;
      reflection->SetBool(&message, &field, node.text == "true");
      return true;
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto* value = FindEnumValue(*field.enum_type(), node.text);
      if (value == nullptr) return false;
      field.is_repeated() ? reflection->AddEnum(&message, &field, value) : reflection->SetEnum(&message, &field, value);
      return true;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      const std::optional<double> value = ParseNumber(node.text);
      if (node.quoted || !value.has_value() || !InRange(field, *value)) return false;
      field.is_repeated() ? reflection->AddDouble(&message, &field, *value)
                          : reflection->SetDouble(&message, &field, *value);
      return true;
    }
    default:
      return ReadWholeNumber(node, field, message);
  }
}

}  // namespace tightrope
