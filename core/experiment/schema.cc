#include "core/experiment/schema.h"

#include <charconv>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tightrope {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

bool IsKindWrapper(const FieldDescriptor& field) {
  if (field.is_repeated() || field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) return false;
  const Descriptor& type = *field.message_type();
  return type.real_oneof_decl_count() == 1 && type.oneof_decl(0)->field_count() == type.field_count();
}

// NORM_ of Norm, SCHEDULE_ of Schedule.
std::string EnumPrefix(const EnumDescriptor& type) {
  std::string prefix;
  for (const char letter : std::string(type.name())) {
    if (absl::ascii_isupper(static_cast<unsigned char>(letter)) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(static_cast<unsigned char>(letter));
  }
  return prefix + "_";
}

}  // namespace

const FieldDescriptor* KindSchema::FindMember(absl::string_view name) const {
  for (int i = 0; i < oneof->field_count(); ++i) {
    if (oneof->field(i)->name() == name) return oneof->field(i);
  }
  return nullptr;
}

std::vector<std::string> KindSchema::MemberNames() const {
  std::vector<std::string> names;
  for (int i = 0; i < oneof->field_count(); ++i) names.emplace_back(oneof->field(i)->name());
  return names;
}

Message* KindSchema::MutableHolder(Message* message) const {
  return wrapper == nullptr ? message : message->GetReflection()->MutableMessage(message, wrapper);
}

const Message& KindSchema::Holder(const Message& message) const {
  return wrapper == nullptr ? message : message.GetReflection()->GetMessage(message, wrapper);
}

std::string KindSchema::MemberPath(const FieldDescriptor& member) const {
  return wrapper == nullptr ? std::string(member.name()) : absl::StrCat(wrapper->name(), ".", member.name());
}

const FieldDescriptor* MappingSchema::FindField(absl::string_view key) const {
  for (const FieldDescriptor* field : fields) {
    if (field->name() == key) return field;
  }
  return nullptr;
}

const KindSchema* MappingSchema::FindKind(absl::string_view key) const {
  for (const KindSchema& kind : kinds) {
    if (kind.key == key) return &kind;
  }
  return nullptr;
}

std::vector<std::string> MappingSchema::KeyNames() const {
  std::vector<std::string> names;
  for (const KindSchema& kind : kinds) names.push_back(kind.key);
  for (const FieldDescriptor* field : fields) names.emplace_back(field->name());
  return names;
}

MappingSchema SchemaOf(const Descriptor& message) {
  MappingSchema schema;
  for (int i = 0; i < message.real_oneof_decl_count(); ++i) {
    const auto* oneof = message.oneof_decl(i);
    schema.kinds.push_back({.key = std::string(oneof->name()), .wrapper = nullptr, .oneof = oneof});
  }
  for (int i = 0; i < message.field_count(); ++i) {
    const FieldDescriptor* field = message.field(i);
    if (field->real_containing_oneof() != nullptr) continue;
    if (IsKindWrapper(*field)) {
      const auto* oneof = field->message_type()->oneof_decl(0);
      schema.kinds.push_back({.key = std::string(field->name()), .wrapper = field, .oneof = oneof});
    } else {
      schema.fields.push_back(field);
    }
  }
  return schema;
}

const v1::Key& KeyOf(const FieldDescriptor& field) { return field.options().GetExtension(v1::key); }

bool IsGridList(const FieldDescriptor& field) {
  return field.is_repeated() && field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
}

std::string EnumValueName(const EnumValueDescriptor& value) {
  std::string name(value.name());
  const std::string prefix = EnumPrefix(*value.type());
  if (absl::StartsWith(name, prefix)) name.erase(0, prefix.size());
  return absl::AsciiStrToLower(name);
}

std::vector<std::string> EnumValueNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(EnumValueName(*type.value(i)));
  }
  return names;
}

const EnumValueDescriptor* FindEnumValue(const EnumDescriptor& type, absl::string_view name) {
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0 && EnumValueName(*type.value(i)) == name) return type.value(i);
  }
  return nullptr;
}

std::string TypeInWords(const FieldDescriptor& field) {
  const std::string list = field.is_repeated() ? "list of " : "";
  const std::string plural = field.is_repeated() ? "s" : "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "`true` or `false`";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat(field.is_repeated() ? "list of `" : "one of `",
                          absl::StrJoin(EnumValueNames(*field.enum_type()), "`, `"), "`");
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return absl::StrCat(list, "number", plural);
    case FieldDescriptor::CPPTYPE_STRING:
      return absl::StrCat(list, "text", plural);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return field.is_repeated() ? "list of mappings" : "mapping";
    default:
      return absl::StrCat(list, "whole number", plural);
  }
}

std::string RangeInWords(const FieldDescriptor& field) {
  const v1::Key& bounds = KeyOf(field);
  if (!bounds.has_minimum() && !bounds.has_maximum()) return "";
  if (!bounds.has_minimum()) return absl::StrCat("up to ", NumberText(bounds.maximum()));
  const std::string minimum = NumberText(bounds.minimum());
  if (bounds.minimum_excluded()) {
    return bounds.has_maximum() ? absl::StrCat("above ", minimum, ", up to ", NumberText(bounds.maximum()))
                                : absl::StrCat("above ", minimum);
  }
  return bounds.has_maximum() ? absl::StrCat(minimum, " to ", NumberText(bounds.maximum()))
                              : absl::StrCat(minimum, " or more");
}

std::string Expectation(const FieldDescriptor& field) {
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrCat(field.is_repeated() ? "a list of " : "one of ",
                          absl::StrJoin(EnumValueNames(*field.enum_type()), ", "));
    case FieldDescriptor::CPPTYPE_STRING:
      return TypeInWords(field);
    default: {
      const std::string range = RangeInWords(field);
      return absl::StrCat("a ", TypeInWords(field), range.empty() ? "" : ", ", range,
                          field.is_repeated() && !range.empty() ? " each" : "");
    }
  }
}

bool InRange(const FieldDescriptor& field, double value) {
  if (!std::isfinite(value)) return false;
  const v1::Key& bounds = KeyOf(field);
  if (bounds.has_minimum() && (value < bounds.minimum() || (bounds.minimum_excluded() && value == bounds.minimum()))) {
    return false;
  }
  return !bounds.has_maximum() || value <= bounds.maximum();
}

std::string NumberText(double value) {
  // Whole numbers in full as far as a double is exact; 1e+05 would be shorter than 100000.
  constexpr double kExact = 9007199254740992.0;
  char text[32];
  const bool whole = std::abs(value) < kExact && value == std::floor(value);
  const auto result = whole ? std::to_chars(text, text + sizeof(text), static_cast<long long>(value))
                            : std::to_chars(text, text + sizeof(text), value);
  return std::string(text, result.ptr);
}

}  // namespace tightrope
