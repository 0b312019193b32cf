// YAML text → a tree of nodes that know where they stand. Built on yaml-cpp's events rather than on YAML::Node, because
// a Node drops duplicate keys silently and expands without limit; this reader reports the first and bounds the second.
//
// Text may come from anybody. Bounded: the size of the text and of one scalar, the depth of nesting, and the number of
// nodes counted with every alias expanded, so that a "billion laughs" of aliases is an error and not a walk without
// end.
#pragma once

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/experiment/mistake.h"

namespace tightrope {

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMapping };

  Kind kind = Kind::kNull;
  int line = 1;  // of the anchored text, where the node is reached through an alias
  int column = 1;
  std::string text;     // of a scalar
  bool quoted = false;  // a scalar written in quotes or as a block: always text, never a number or a switch
  std::vector<const YamlNode*> items;                                // of a sequence
  std::vector<std::pair<const YamlNode*, const YamlNode*>> entries;  // of a mapping, in the file's order; keys differ
  size_t expanded_nodes = 1;                                         // this node and all below it, aliases expanded
};

// Owns its nodes; immutable once parsed.
class YamlDocument {
 public:
  static constexpr size_t kMaxBytes = size_t{4} << 20;
  static constexpr size_t kMaxNodes = 1'000'000;
  static constexpr size_t kMaxTextBytes = 4096;  // of one scalar
  static constexpr int kMaxDepth = 32;

  // Parses `text`. Syntax errors, text that is not UTF-8, tabs as indentation, duplicate keys, tags, exceeded bounds
  // and more than one document are added to `mistakes`. `root` is null where there is nothing to read on with.
  static YamlDocument Parse(absl::string_view text, MistakeList& mistakes);

  const YamlNode* root() const { return root_; }

 private:
  friend class YamlDocumentBuilder;
  std::deque<YamlNode> nodes_;  // stable addresses
  const YamlNode* root_ = nullptr;
};

// A node as the user wrote it, on one line: `[0.1, 0.2]`. For messages and labels.
std::string YamlText(const YamlNode& node);

}  // namespace tightrope
