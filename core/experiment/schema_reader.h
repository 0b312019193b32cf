// YAML → message, driven by the message's schema alone: nothing here knows what a model or an attack is. Kinds, sweeps,
// types, bounds, defaults and required keys come from the descriptors and their (key) options.
#pragma once

#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/experiment/mistake.h"
#include "core/experiment/schema.h"
#include "core/experiment/sweep.h"
#include "core/experiment/yaml_document.h"
#include "google/protobuf/message.h"

namespace tightrope {

// Where the values of a message stand in the text, by field path: "training[2].pgd.epsilon". Grid entries count after
// expansion.
class Positions {
 public:
  struct Position {
    int line = 1;
    int column = 1;
  };

  void Set(const std::string& path, const YamlNode& node) { given_[path] = {node.line, node.column}; }
  // The text gives this very path a value, be it a wrong one.
  bool Given(const std::string& path) const { return given_.count(path) > 0; }
  // The value, or the innermost thing around it that the text has.
  Position Find(absl::string_view path) const;

  // The text gives the path, or something around it, a value that could not be read; no other rule should judge it.
  void SetUnreadable(const std::string& path) { unreadable_.insert(path); }
  bool Unreadable(absl::string_view path) const;

 private:
  std::unordered_map<std::string, Position> given_;
  std::unordered_set<std::string> unreadable_;
};

// What distinguishes an entry from the others that its list expanded to: (`epsilon`, `0.1`), in the order of the file.
struct SweptKey {
  std::string key;
  std::string text;
  bool is_kind = false;  // `method`, `architecture`, `oracle`
};

struct ReadMessage {
  Positions positions;
  std::unordered_map<std::string, std::vector<SweptKey>> swept;  // by the path of the entry
};

// Reads `root` into `message`. Keys that are absent get their `default_value`; those with a `default_rule` stay unset
// and are not Given. Every mistake is added to `mistakes`, and what can be read is read all the same.
ReadMessage ReadBySchema(const YamlNode& root, google::protobuf::Message& message, MistakeList& mistakes);

}  // namespace tightrope
