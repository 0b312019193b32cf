// What the Protocol Buffers schema says about the keys of an experiment file: which keys a mapping may have, what their
// values may be, and how that is said in words. The reader, the check of messages from the network and the test of the
// documentation all ask here, so that they cannot disagree.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

// A choice between members, each with keys of its own: `architecture`, `method` or `oracle`.
struct KindSchema {
  std::string key;
  // The field whose message only wraps the choice (Model.architecture); null where the choice is the message's own
  // oneof.
  const google::protobuf::FieldDescriptor* wrapper = nullptr;
  const google::protobuf::OneofDescriptor* oneof = nullptr;

  // The member called `name`, or null.
  const google::protobuf::FieldDescriptor* FindMember(absl::string_view name) const;
  std::vector<std::string> MemberNames() const;
  // The message that holds the oneof: `message` itself or what `wrapper` holds.
  google::protobuf::Message* MutableHolder(google::protobuf::Message* message) const;
  const google::protobuf::Message& Holder(const google::protobuf::Message& message) const;
  // Path from the message to a member: "pgd", "architecture.mlp".
  std::string MemberPath(const google::protobuf::FieldDescriptor& member) const;
};

// The keys that a mapping for a message may have, apart from those of the members of its kinds.
struct MappingSchema {
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  std::vector<KindSchema> kinds;

  const google::protobuf::FieldDescriptor* FindField(absl::string_view key) const;
  const KindSchema* FindKind(absl::string_view key) const;
  // In the schema's order.
  std::vector<std::string> KeyNames() const;
};

MappingSchema SchemaOf(const google::protobuf::Descriptor& message);

// The (key) option; all defaults where the field has none.
const v1::Key& KeyOf(const google::protobuf::FieldDescriptor& field);

// An element of a repeated message field: the unit that lists expand.
bool IsGridList(const google::protobuf::FieldDescriptor& field);

// `linf`, `l2`: the values but the unspecified one, as the file writes them.
std::vector<std::string> EnumValueNames(const google::protobuf::EnumDescriptor& type);
std::string EnumValueName(const google::protobuf::EnumValueDescriptor& value);
// Of a generated enum; the number of a value that the schema does not know.
template <typename Enum>
std::string EnumValueName(Enum value) {
  const auto* known = google::protobuf::GetEnumDescriptor<Enum>()->FindValueByNumber(value);
  return known == nullptr ? absl::StrCat(static_cast<int>(value)) : EnumValueName(*known);
}
// Null where there is no such value.
const google::protobuf::EnumValueDescriptor* FindEnumValue(const google::protobuf::EnumDescriptor& type,
                                                           absl::string_view name);

// "whole number", "list of whole numbers", "number", "`true` or `false`", "one of `linf`, `l2`", "text".
std::string TypeInWords(const google::protobuf::FieldDescriptor& field);
// "1 to 100000", "0 or more", "above 0, up to 1"; "" where the type has no bounds.
std::string RangeInWords(const google::protobuf::FieldDescriptor& field);
// Both, after "is": "a whole number, 1 to 100000", "one of linf, l2", "a list of whole numbers, 1 to 65536 each".
std::string Expectation(const google::protobuf::FieldDescriptor& field);

// REQUIRES: a numeric field. NaN is in no range; infinities are in none either.
bool InRange(const google::protobuf::FieldDescriptor& field, double value);

// Shortest text that reads back as `value`: 0.1, 100000, 1e-05.
std::string NumberText(double value);

}  // namespace tightrope
