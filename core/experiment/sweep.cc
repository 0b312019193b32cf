#include "core/experiment/sweep.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace tightrope {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

namespace {

// The field that `key` names in a mapping: one of its own or of a member of its kinds. Members that share a key agree
// on whether it is a list.
const FieldDescriptor* FindAnywhere(const MappingSchema& schema, const std::string& key) {
  if (const FieldDescriptor* own = schema.FindField(key)) return own;
  for (const KindSchema& kind : schema.kinds) {
    for (int i = 0; i < kind.oneof->field_count(); ++i) {
      const FieldDescriptor* member = kind.oneof->field(i);
      if (member->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
      if (const FieldDescriptor* field = member->message_type()->FindFieldByName(key)) return field;
    }
  }
  return nullptr;
}

bool IsSweep(const FieldDescriptor& field, const YamlNode& value) {
  if (value.kind != YamlNode::Kind::kSequence || value.items.empty() || KeyOf(field).label()) return false;
  if (!field.is_repeated()) return true;
  return std::any_of(value.items.begin(), value.items.end(),
                     [](const YamlNode* item) { return item->kind == YamlNode::Kind::kSequence; });
}

EntryKey Single(const YamlNode* key, const YamlNode* value, bool swept) {
  EntryKey single;
  single.key = key;
  single.value = value;
  single.swept = swept;
  return single;
}

// What one copy of `item` takes, as GridSize::values counts.
size_t Weight(const EntryKey& item) {
  constexpr size_t kBytesOfAValue = 64;
  if (item.member_keys.empty()) {
    const YamlNode& node = item.member_value != nullptr ? *item.member_value : *item.value;
    return node.expanded_nodes + node.text.size() / kBytesOfAValue;
  }
  size_t weight = 0;
  for (const EntryKey& key : item.member_keys) weight += Weight(key);
  return weight;
}

// In place of alternatives that are too many to list: light ones that make the entry around them too large as well.
std::vector<EntryKey> TooMany(const YamlNode* key, const YamlNode* value) {
  return std::vector<EntryKey>(kMaxGridEntries + 1, Single(key, value, false));
}

// `pgd`, `{pgd: {...}}`, or something wrong.
std::vector<EntryKey> ExpandMember(const YamlNode* key, const YamlNode* value, const KindSchema& kind, bool swept) {
  EntryKey plain = Single(key, value, swept);
  if (value->kind == YamlNode::Kind::kScalar) plain.member = value;
  if (value->kind != YamlNode::Kind::kMapping || value->entries.size() != 1) return {plain};

  plain.member = value->entries[0].first;
  plain.member_value = value->entries[0].second;
  const FieldDescriptor* member = kind.FindMember(plain.member->text);
  if (member == nullptr) return {plain};
  std::vector<EntryKey> alternatives;
  if (member->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && plain.member_value->kind == YamlNode::Kind::kMapping) {
    GridSize size;
    std::vector<Entry> combinations = ExpandEntry(*plain.member_value, *member->message_type(), size);
    if (size.TooLarge()) return TooMany(key, value);
    for (Entry& combination : combinations) {
      alternatives.push_back(plain);
      alternatives.back().member_keys = std::move(combination);
    }
  } else if (member->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE && IsSweep(*member, *plain.member_value)) {
    for (const YamlNode* item : plain.member_value->items) {
      EntryKey alternative = plain;
      alternative.member_value = item;
      alternative.swept = true;
      alternatives.push_back(alternative);
    }
  } else {
    alternatives.push_back(plain);
  }
  return alternatives;
}

std::vector<EntryKey> ExpandKey(const YamlNode* key, const YamlNode* value, const MappingSchema& schema) {
  if (const KindSchema* kind = schema.FindKind(key->text)) {
    if (value->kind != YamlNode::Kind::kSequence || value->items.empty()) return ExpandMember(key, value, *kind, false);
    std::vector<EntryKey> alternatives;
    GridSize size;
    for (const YamlNode* item : value->items) {
      for (EntryKey& member : ExpandMember(key, item, *kind, true)) {
        size.values += Weight(member);
        alternatives.push_back(std::move(member));
      }
      size.entries = alternatives.size();
      if (size.TooLarge()) return TooMany(key, value);
    }
    return alternatives;
  }
  const FieldDescriptor* field = FindAnywhere(schema, key->text);
  if (field == nullptr || !IsSweep(*field, *value)) return {Single(key, value, false)};
  std::vector<EntryKey> alternatives;
  for (const YamlNode* item : value->items) alternatives.push_back(Single(key, item, true));
  return alternatives;
}

}  // namespace

std::vector<Entry> ExpandEntry(const YamlNode& mapping, const Descriptor& message, GridSize& size) {
  const MappingSchema schema = SchemaOf(message);
  std::vector<std::vector<EntryKey>> axes;
  size_t total = 1;
  size_t weight = 0;  // of the heaviest entry
  for (const auto& [key, value] : mapping.entries) {
    const std::vector<EntryKey>& axis = axes.emplace_back(ExpandKey(key, value, schema));
    total = std::min(total * axis.size(), kMaxGridEntries + 1);
    size_t heaviest = 0;
    for (const EntryKey& item : axis) heaviest = std::max(heaviest, Weight(item));
    weight += heaviest;
  }
  size.entries += total;
  size.values += total * weight;
  const size_t wanted = size.TooLarge() ? 1 : total;

  std::vector<Entry> entries;
  entries.reserve(wanted);
  std::vector<size_t> at(axes.size(), 0);
  while (entries.size() < wanted) {
    Entry& entry = entries.emplace_back();
    for (size_t i = 0; i < axes.size(); ++i) entry.push_back(axes[i][at[i]]);
    for (size_t i = axes.size(); i-- > 0;) {  // the last key turns fastest
      if (++at[i] < axes[i].size()) break;
      at[i] = 0;
    }
  }
  return entries;
}

Entry WithoutSweeping(const YamlNode& mapping) {
  Entry entry;
  for (const auto& [key, value] : mapping.entries) entry.push_back(Single(key, value, false));
  return entry;
}

}  // namespace tightrope
