#include "core/experiment/schema_reader.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/experiment/scalar_reader.h"

namespace tightrope {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

namespace {

// "training[2]" + "pgd" → "training[2].pgd"
std::string Join(const std::string& path, absl::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(path, ".", key);
}

std::string Element(const std::string& path, int index) { return absl::StrCat(path, "[", index, "]"); }

bool IsMessage(const FieldDescriptor& field) { return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE; }

class SchemaReader {
 public:
  explicit SchemaReader(MistakeList& mistakes) : mistakes_(mistakes) {}

  ReadMessage Read(const YamlNode& root, Message& message) {
    if (root.kind != YamlNode::Kind::kMapping) {
      Report(root, absl::StrCat("an experiment is a mapping of keys: ",
                                absl::StrJoin(SchemaFor(*message.GetDescriptor()).KeyNames(), ", ")));
    } else {
      ReadEntry(WithoutSweeping(root), {.node = &root, .name = "an experiment", .path = "", .swept = nullptr}, message);
    }
    return std::move(read_);
  }

 private:
  // Where the keys of one message stand.
  struct Place {
    const YamlNode* node;  // where a missing key is reported
    std::string name;      // "an entry of `training`"
    std::string path;
    std::vector<SweptKey>* swept;  // null outside a grid
  };

  // A kind and the member that the text chose; null where it chose none that exists.
  struct Choice {
    const KindSchema* kind;
    const FieldDescriptor* member = nullptr;
    bool braces = false;  // `{pgd: {...}}`: the member's keys stand inside
  };

  void Report(const YamlNode& node, std::string message) { mistakes_.Add(node.line, node.column, std::move(message)); }

  const MappingSchema& SchemaFor(const Descriptor& type) {
    const auto found = schemas_.find(&type);
    return found != schemas_.end() ? found->second : schemas_.emplace(&type, SchemaOf(type)).first->second;
  }

  void ReadEntry(const Entry& entry, const Place& place, Message& message) {
    const MappingSchema& schema = SchemaFor(*message.GetDescriptor());
    std::vector<Choice> choices;
    for (const KindSchema& kind : schema.kinds) choices.push_back(ReadKind(entry, kind, place, message));

    std::vector<Entry> beside(choices.size());  // keys of chosen members that stand beside `method: pgd`
    for (const EntryKey& item : entry) {
      if (schema.FindKind(item.key->text) != nullptr) continue;
      if (const FieldDescriptor* field = schema.FindField(item.key->text)) {
        NoteSwept(item, place);
        ReadField(item, *field, place, message);
      } else if (const size_t owner = FindOwner(choices, item.key->text); owner < choices.size()) {
        beside[owner].push_back(item);
      } else {
        ReportUnknownKey(*item.key, schema, choices, place);
      }
    }
    for (size_t i = 0; i < choices.size(); ++i) {
      if (choices[i].member == nullptr || choices[i].braces || !IsMessage(*choices[i].member)) continue;
      ReadEntry(beside[i],
                {.node = place.node,
                 .name = place.name,
                 .path = Join(place.path, choices[i].kind->MemberPath(*choices[i].member)),
                 .swept = place.swept},
                *MutableMember(choices[i], message));
    }
    for (const FieldDescriptor* field : schema.fields) ReadAbsent(*field, place, message);
  }

  static Message* MutableMember(const Choice& choice, Message& message) {
    Message* holder = choice.kind->MutableHolder(&message);
    return holder->GetReflection()->MutableMessage(holder, choice.member);
  }

  // The choice whose member has `key` and takes it beside; choices.size() where there is none.
  static size_t FindOwner(const std::vector<Choice>& choices, const std::string& key) {
    for (size_t i = 0; i < choices.size(); ++i) {
      const Choice& choice = choices[i];
      if (choice.member == nullptr || choice.braces || !IsMessage(*choice.member)) continue;
      if (choice.member->message_type()->FindFieldByName(key) != nullptr) return i;
    }
    return choices.size();
  }

  Choice ReadKind(const Entry& entry, const KindSchema& kind, const Place& place, Message& message) {
    Choice choice{.kind = &kind};
    const std::string names = absl::StrJoin(kind.MemberNames(), ", ");
    const EntryKey* item = nullptr;
    for (const EntryKey& candidate : entry) {
      if (candidate.key->text == kind.key) item = &candidate;
    }
    if (item == nullptr) {
      Report(*place.node, absl::StrCat("`", kind.key, "` is required: one of ", names));
      return choice;
    }
    read_.positions.Set(Join(place.path, kind.key), *item->value);
    if (item->member == nullptr) {
      Report(*item->value, IsEmptyList(*item->value) ? EmptyList(kind.key)
                                                     : absl::StrCat("`", kind.key, "` is one of ", names, "; ",
                                                                    Quoted(YamlText(*item->value)), " is not"));
      return choice;
    }
    const FieldDescriptor* member = kind.FindMember(item->member->text);
    if (member == nullptr) {
      Report(*item->member, absl::StrCat("`", kind.key, "` is one of ", names, "; ", Quoted(item->member->text),
                                         " is not", DidYouMean(item->member->text, kind.MemberNames())));
      return choice;
    }
    choice.member = member;
    choice.braces = item->member_value != nullptr;
    const std::string path = Join(place.path, kind.MemberPath(*member));
    if (!IsMessage(*member)) {
      ReadValueOfMember(*item, *member, kind, path, message);
    } else if (const Message* chosen = MutableMember(choice, message); choice.braces && chosen != nullptr) {
      ReadMemberInBraces(*item, choice, place, path, message);
    }
    if (item->swept && place.swept != nullptr) {
      const bool has_value = !IsMessage(*member) && item->member_value != nullptr;
      place.swept->push_back({.key = has_value ? std::string(member->name()) : kind.key,
                              .text = has_value ? YamlText(*item->member_value) : item->member->text,
                              .is_kind = true});
    }
    return choice;
  }

  // `architecture: {torchscript: PATH}`
  void ReadValueOfMember(const EntryKey& item, const FieldDescriptor& member, const KindSchema& kind,
                         const std::string& path, Message& message) {
    if (item.member_value == nullptr) {
      Report(*item.member,
             absl::StrCat("`", member.name(), "` needs a value: write `", kind.key, ": {", member.name(), ": ...}`"));
      return;
    }
    read_.positions.Set(path, *item.member_value);
    Message* holder = kind.MutableHolder(&message);
    if (!ReadScalar(*item.member_value, member, *holder)) ReportValue(*item.member_value, member, path);
  }

  // `method: {pgd: {steps: 5}}`
  void ReadMemberInBraces(const EntryKey& item, const Choice& choice, const Place& place, const std::string& path,
                          Message& message) {
    const YamlNode& value = *item.member_value;
    const std::string name = absl::StrCat("`", choice.kind->key, ": ", choice.member->name(), "`");
    if (value.kind != YamlNode::Kind::kMapping && value.kind != YamlNode::Kind::kNull) {
      Report(value, absl::StrCat(name, " has a mapping of keys; ", Quoted(YamlText(value)), " is not"));
      return;
    }
    const YamlNode& at = value.kind == YamlNode::Kind::kMapping ? value : *item.member;
    const Entry keys =
        item.member_keys.empty() && value.kind == YamlNode::Kind::kMapping ? WithoutSweeping(value) : item.member_keys;
    ReadEntry(keys, {.node = &at, .name = name, .path = path, .swept = place.swept}, *MutableMember(choice, message));
  }

  void NoteSwept(const EntryKey& item, const Place& place) {
    if (item.swept && place.swept != nullptr) place.swept->push_back({item.key->text, YamlText(*item.value)});
  }

  void ReadField(const EntryKey& item, const FieldDescriptor& field, const Place& place, Message& message) {
    const YamlNode& value = *item.value;
    const std::string path = Join(place.path, field.name());
    read_.positions.Set(path, value);
    if (value.kind == YamlNode::Kind::kNull) {
      Report(*item.key, absl::StrCat("`", field.name(), "` has no value; it is ", Expectation(field)));
      read_.positions.SetUnreadable(path);
    } else if (IsGridList(field)) {
      ReadGridList(value, field, path, message);
    } else if (IsMessage(field)) {
      ReadMapping(value, field, path, message);
    } else if (field.is_repeated()) {
      ReadList(value, field, path, message);
    } else if (IsEmptyList(value)) {
      Report(value, EmptyList(std::string(field.name())));
      read_.positions.SetUnreadable(path);
    } else if (value.kind == YamlNode::Kind::kSequence && (place.swept == nullptr || KeyOf(field).label())) {
      Report(value, absl::StrCat("`", field.name(), "` takes one value; lists expand only other keys of ",
                                 "`models`, `training`, `attacks`, `alignment` and `invariance`"));
      read_.positions.SetUnreadable(path);
    } else if (!ReadScalar(value, field, message)) {
      ReportValue(value, field, path);
    }
  }

  void ReadMapping(const YamlNode& value, const FieldDescriptor& field, const std::string& path, Message& message) {
    if (value.kind != YamlNode::Kind::kMapping) {
      Report(value, absl::StrCat("`", field.name(), "` is a mapping of ",
                                 absl::StrJoin(SchemaFor(*field.message_type()).KeyNames(), ", "), "; ",
                                 Quoted(YamlText(value)), " is not"));
      read_.positions.SetUnreadable(path);
      return;
    }
    ReadEntry(WithoutSweeping(value),
              {.node = &value, .name = absl::StrCat("`", field.name(), "`"), .path = path, .swept = nullptr},
              *message.GetReflection()->MutableMessage(&message, &field));
  }

  void ReadList(const YamlNode& value, const FieldDescriptor& field, const std::string& path, Message& message) {
    if (value.kind != YamlNode::Kind::kSequence) {
      const std::string hint =
          value.kind == YamlNode::Kind::kScalar ? absl::StrCat("; write `[", value.text, "]`") : std::string();
      Report(value, absl::StrCat("`", field.name(), "` is ", Expectation(field), "; ", Quoted(YamlText(value)),
                                 " is not", value.text.size() < 20 ? hint : ""));
      read_.positions.SetUnreadable(path);
      return;
    }
    int index = 0;
    for (const YamlNode* item : value.items) {
      read_.positions.Set(Element(path, index++), *item);
      if (!ReadScalar(*item, field, message)) ReportValue(*item, field, path);
    }
  }

  void ReadGridList(const YamlNode& value, const FieldDescriptor& field, const std::string& path, Message& message) {
    const std::string name = absl::StrCat("`", field.name(), "`");
    if (value.kind != YamlNode::Kind::kSequence) {
      Report(value, absl::StrCat(name, " is a list; begin each entry with `- `"));
      read_.positions.SetUnreadable(path);
      return;
    }
    if (value.items.empty()) {
      Report(value, KeyOf(field).required() ? EmptyList(std::string(field.name()))
                                            : absl::StrCat(name, " is an empty list; leave the key out instead"));
      read_.positions.SetUnreadable(path);
    }
    int index = 0;
    GridSize size;
    for (const YamlNode* item : value.items) {
      if (item->kind != YamlNode::Kind::kMapping) {
        Report(*item, absl::StrCat("an entry of ", name, " is a mapping of keys; ", Quoted(YamlText(*item)), " is not",
                                   MemberHint(*item, SchemaFor(*field.message_type()))));
        read_.positions.SetUnreadable(path);
        continue;
      }
      const std::vector<Entry> entries = ExpandEntry(*item, *field.message_type(), size);
      if (size.TooLarge()) {
        Report(*item, absl::StrCat("the lists here expand ", name, " to more than ", kMaxGridEntries,
                                   " entries or to too many values; split the experiment"));
        read_.positions.SetUnreadable(path);
        return;
      }
      for (const Entry& entry : entries) {
        const std::string entry_path = Element(path, index++);
        read_.positions.Set(entry_path, *item);
        ReadEntry(entry,
                  {.node = item,
                   .name = absl::StrCat("an entry of ", name),
                   .path = entry_path,
                   .swept = &read_.swept[entry_path]},
                  *message.GetReflection()->AddMessage(&message, &field));
      }
    }
  }

  // A key that the text does not give: its default, or a mistake.
  void ReadAbsent(const FieldDescriptor& field, const Place& place, Message& message) {
    const std::string path = Join(place.path, field.name());
    if (read_.positions.Given(path) || read_.positions.Unreadable(path)) return;
    const v1::Key& options = KeyOf(field);
    if (options.required()) {
      const bool in_words = !IsMessage(field) && field.cpp_type() != FieldDescriptor::CPPTYPE_STRING;
      Report(*place.node, absl::StrCat("`", field.name(), "` is required", in_words ? ": " : "",
                                       in_words ? Expectation(field) : ""));
      read_.positions.SetUnreadable(path);
    } else if (options.has_default_value()) {
      SetDefault(field, message);
    } else if (IsMessage(field) && !field.is_repeated()) {
      ReadEntry({}, {.node = place.node, .name = place.name, .path = path, .swept = nullptr},
                *message.GetReflection()->MutableMessage(&message, &field));
    }
  }

  void SetDefault(const FieldDescriptor& field, Message& message) {
    auto found = defaults_.find(&field);
    if (found == defaults_.end()) {
      MistakeList none;
      found = defaults_.emplace(&field, YamlDocument::Parse(KeyOf(field).default_value(), none)).first;
    }
    const YamlNode& value = *found->second.root();
    if (!field.is_repeated()) {
      ReadScalar(value, field, message);
      return;
    }
    for (const YamlNode* item : value.items) ReadScalar(*item, field, message);
  }

  void ReportValue(const YamlNode& value, const FieldDescriptor& field, const std::string& path) {
    const bool quoted_number = value.quoted && field.cpp_type() != FieldDescriptor::CPPTYPE_ENUM;
    const std::string suggestion = field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM
                                       ? DidYouMean(value.text, EnumValueNames(*field.enum_type()))
                                       : std::string();
    Report(value, absl::StrCat("`", field.name(), "` is ", Expectation(field), "; ", Quoted(YamlText(value)),
                               quoted_number ? " in quotes" : "", " is not", suggestion));
    read_.positions.SetUnreadable(path);
  }

  void ReportUnknownKey(const YamlNode& key_node, const MappingSchema& schema, const std::vector<Choice>& choices,
                        const Place& place) {
    std::string name = place.name;
    const char* joined_by = " with ";
    std::vector<std::string> allowed = schema.KeyNames();
    bool open_choice = false;
    for (const Choice& choice : choices) {
      const std::string elsewhere = MemberWith(*choice.kind, key_node.text);
      if (choice.member == nullptr) {
        if (!elsewhere.empty()) return;  // which keys are right depends on the choice, which is reported already
        open_choice = true;
        continue;
      }
      const std::string chosen = absl::StrCat("`", choice.kind->key, ": ", choice.member->name(), "`");
      absl::StrAppend(&name, joined_by, chosen);
      joined_by = " and ";
      const bool is_message = IsMessage(*choice.member);
      if (choice.braces && is_message && choice.member->message_type()->FindFieldByName(key_node.text) != nullptr) {
        Report(key_node, absl::StrCat("`", key_node.text, "` belongs inside the braces of ", chosen));
        return;
      }
      if (!elsewhere.empty()) {
        Report(key_node, absl::StrCat("`", key_node.text, "` is a key of `", choice.kind->key, ": ", elsewhere,
                                      "`, not of ", chosen));
        return;
      }
      if (!is_message || choice.braces) continue;
      for (std::string& own : SchemaFor(*choice.member->message_type()).KeyNames()) allowed.push_back(std::move(own));
    }
    const std::string all = absl::StrJoin(allowed, ", ");
    // Kept, because a sweep asks again for every entry that it expands to.
    const auto [known, is_new] = nearest_.try_emplace({all, key_node.text});
    if (is_new) known->second = Nearest(key_node.text, allowed);
    const std::string& nearest = known->second;
    if (nearest.empty() && open_choice) return;  // it may be a key of what the choice was meant to be
    ExpectNoMore(nearest, schema, choices, place);
    Report(
        key_node,
        absl::StrCat("unknown key ", Quoted(key_node.text), " in ", name,
                     nearest.empty() ? "; allowed: " : absl::StrCat("; did you mean `", nearest, "`? Allowed: "), all));
  }

  // The misspelt key was meant to be `key`, which is therefore not missing as well.
  void ExpectNoMore(const std::string& key_name, const MappingSchema& schema, const std::vector<Choice>& choices,
                    const Place& place) {
    if (schema.FindField(key_name) != nullptr) read_.positions.SetUnreadable(Join(place.path, key_name));
    const size_t owner = FindOwner(choices, key_name);
    if (owner == choices.size()) return;
    const std::string member = choices[owner].kind->MemberPath(*choices[owner].member);
    read_.positions.SetUnreadable(Join(Join(place.path, member), key_name));
  }

  // The first member of `kind` that has `key`, or "".
  static std::string MemberWith(const KindSchema& kind, const std::string& key) {
    for (const std::string& name : kind.MemberNames()) {
      const FieldDescriptor* member = kind.FindMember(name);
      if (IsMessage(*member) && member->message_type()->FindFieldByName(key) != nullptr) return name;
    }
    return "";
  }

  // For `models: [mlp]`.
  static std::string MemberHint(const YamlNode& item, const MappingSchema& schema) {
    for (const KindSchema& kind : schema.kinds) {
      if (item.kind != YamlNode::Kind::kScalar || kind.FindMember(item.text) == nullptr) continue;
      return absl::StrCat("; write `", kind.key, ": ", item.text, "`");
    }
    return "";
  }

  static bool IsEmptyList(const YamlNode& node) { return node.kind == YamlNode::Kind::kSequence && node.items.empty(); }
  static std::string EmptyList(const std::string& key_name) {
    return absl::StrCat("`", key_name, "` is an empty list, so nothing would run; give at least one value");
  }

  MistakeList& mistakes_;
  ReadMessage read_;
  std::map<const Descriptor*, MappingSchema> schemas_;
  std::map<std::pair<std::string, std::string>, std::string> nearest_;  // by allowed keys and key
  std::map<const FieldDescriptor*, YamlDocument> defaults_;
};

}  // namespace

Positions::Position Positions::Find(absl::string_view path) const {
  while (!path.empty()) {
    const auto found = given_.find(std::string(path));
    if (found != given_.end()) return found->second;
    const size_t parent = path.find_last_of(".[");
    path = path.substr(0, parent == absl::string_view::npos ? 0 : parent);
  }
  return {};
}

bool Positions::Unreadable(absl::string_view path) const {
  if (unreadable_.empty()) return false;
  while (!path.empty()) {
    if (unreadable_.count(std::string(path)) > 0) return true;
    const size_t parent = path.find_last_of(".[");
    path = path.substr(0, parent == absl::string_view::npos ? 0 : parent);
  }
  return false;
}

ReadMessage ReadBySchema(const YamlNode& root, Message& message, MistakeList& mistakes) {
  return SchemaReader(mistakes).Read(root, message);
}

}  // namespace tightrope
