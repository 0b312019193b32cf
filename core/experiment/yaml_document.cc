#include "core/experiment/yaml_document.h"

#include <algorithm>
#include <exception>
#include <sstream>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/mark.h"
#include "yaml-cpp/parser.h"

namespace tightrope {
namespace {

constexpr char kNoAnchor[] = "this alias names no anchor; write `&name` where the value is first given";

// Length of the valid UTF-8 character at the start of `text`, 0 where there is none.
size_t Utf8Length(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and code points beyond U+10FFFF.
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) || (lead == 0xF0 && byte(1) < 0x90) ||
      (lead == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
}

// What yaml-cpp would misread or report badly. True where the text can be handed to it.
bool CheckCharacters(absl::string_view text, MistakeList& mistakes) {
  bool good = true;
  int line = 1;
  int column = 1;
  bool indentation = true;
  for (size_t i = 0; i < text.size();) {
    const unsigned char character = static_cast<unsigned char>(text[i]);
    const size_t length = Utf8Length(text.substr(i));
    if (length == 0) {
      mistakes.Add(line, column, "this byte is not UTF-8; save the file as UTF-8 text");
      return false;
    }
    if ((character < 0x20 && character != '\n' && character != '\r' && character != '\t') || character == 0x7F) {
      mistakes.Add(line, column, "a control character; an experiment is plain text");
      return false;
    }
    if (character == '\t' && indentation) {
      mistakes.Add(line, column, "a tab cannot indent; use spaces");
      good = false;
      indentation = false;  // once a line
    }
    if (character == '\n') {
      ++line;
      column = 1;
      indentation = true;
    } else {
      if (character != ' ' && character != '\r') indentation = false;
      column += static_cast<int>(length);
    }
    i += length;
  }
  return good;
}

// Text that is YAML, but not for us. An exception, because it leaves through yaml-cpp's parser.
class Refused final : public YAML::ParserException {
 public:
  using YAML::ParserException::ParserException;
};

[[noreturn]] void Stop(const YAML::Mark& mark, const std::string& message) { throw Refused(mark, message); }

}  // namespace

// Builds nodes from yaml-cpp's events. A document that went wrong leaves no root.
class YamlDocumentBuilder final : public YAML::EventHandler {
 public:
  YamlDocumentBuilder(YamlDocument& document, MistakeList& mistakes) : document_(document), mistakes_(mistakes) {}

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Finish(mark, Create(mark, YamlNode::Kind::kNull, anchor));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) Stop(mark, kNoAnchor);
    for (const Frame& frame : open_) {
      if (frame.node == found->second) Stop(mark, "this alias is inside the node that it names");
    }
    Finish(mark, found->second);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    YamlNode* node = Create(mark, YamlNode::Kind::kScalar, anchor);
    CheckTag(mark, tag);
    if (value.size() > YamlDocument::kMaxTextBytes) {
      Stop(mark, absl::StrCat("a value of more than ", YamlDocument::kMaxTextBytes, " bytes; none needs as many"));
    }
    node->text = value;
    node->quoted = tag == "!";
    if (!node->quoted && (value == "~" || value == "null" || value == "Null" || value == "NULL")) {
      node->kind = YamlNode::Kind::kNull;
    }
    Finish(mark, node);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    CheckTag(mark, tag);
    Open(mark, Create(mark, YamlNode::Kind::kSequence, anchor));
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    CheckTag(mark, tag);
    Open(mark, Create(mark, YamlNode::Kind::kMapping, anchor));
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Frame {
    YamlNode* node;
    YAML::Mark mark;
    const YamlNode* key = nullptr;                               // of a mapping: read, and waiting for its value
    std::unordered_map<std::string, const YamlNode*> keys_seen;  // of a mapping
  };

  YamlNode* Create(const YAML::Mark& mark, YamlNode::Kind kind, YAML::anchor_t anchor) {
    if (document_.nodes_.size() >= YamlDocument::kMaxNodes) StopTooMany(mark);
    YamlNode& node = document_.nodes_.emplace_back();
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    if (anchor != 0) anchors_[anchor] = &node;
    return &node;
  }

  void Open(const YAML::Mark& mark, YamlNode* node) {
    if (open_.size() >= YamlDocument::kMaxDepth) {
      Stop(mark, absl::StrCat("nested too deeply: an experiment needs at most ", YamlDocument::kMaxDepth, " levels"));
    }
    open_.push_back({node, mark, nullptr, {}});
  }

  void Close() {
    const Frame frame = std::move(open_.back());
    open_.pop_back();
    Finish(frame.mark, frame.node);
  }

  // Hands a complete node to what contains it.
  void Finish(const YAML::Mark& mark, const YamlNode* node) {
    if (open_.empty()) {
      document_.root_ = node;
      return;
    }
    Frame& frame = open_.back();
    YamlNode& parent = *frame.node;
    parent.expanded_nodes += node->expanded_nodes;
    if (parent.expanded_nodes > YamlDocument::kMaxNodes) StopTooMany(mark);
    if (parent.kind == YamlNode::Kind::kSequence) {
      parent.items.push_back(node);
    } else if (frame.key == nullptr) {
      frame.key = node;
    } else {
      AddEntry(frame, std::exchange(frame.key, nullptr), node);
    }
  }

  void AddEntry(Frame& frame, const YamlNode* key, const YamlNode* value) {
    if (key->kind != YamlNode::Kind::kScalar) {
      mistakes_.Add(key->line, key->column, absl::StrCat("a key is a word; ", Quoted(YamlText(*key)), " is not"));
      return;
    }
    const auto [first, is_new] = frame.keys_seen.emplace(key->text, key);
    if (!is_new) {
      mistakes_.Add(key->line, key->column,
                    absl::StrCat(Quoted(key->text), " is given twice; keep one (the other is in line ",
                                 first->second->line, ")"));
      return;
    }
    frame.node->entries.emplace_back(key, value);
  }

  void CheckTag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    mistakes_.Add(mark.line + 1, mark.column + 1, absl::StrCat("tags have no meaning here; remove ", Quoted(tag)));
  }

  [[noreturn]] static void StopTooMany(const YAML::Mark& mark) {
    Stop(mark, absl::StrCat("more than ", YamlDocument::kMaxNodes, " values, counting what aliases repeat"));
  }

  YamlDocument& document_;
  MistakeList& mistakes_;
  std::vector<Frame> open_;
  std::unordered_map<YAML::anchor_t, const YamlNode*> anchors_;
};

YamlDocument YamlDocument::Parse(absl::string_view text, MistakeList& mistakes) {
  YamlDocument document;
  if (text.size() > kMaxBytes) {
    mistakes.Add(1, 1,
                 absl::StrCat("the file is larger than ", kMaxBytes >> 20, " MiB; an experiment is a short text"));
    return document;
  }
  if (!CheckCharacters(text, mistakes)) return document;

  std::istringstream stream{std::string(text)};
  YamlDocument second;
  try {
    YAML::Parser parser(stream);
    YamlDocumentBuilder builder(document, mistakes);
    if (!parser.HandleNextDocument(builder)) return document;
    MistakeList of_second;
    YamlDocumentBuilder second_builder(second, of_second);
    if (parser.HandleNextDocument(second_builder) && second.root_ != nullptr) {
      mistakes.Add(second.root_->line, second.root_->column,
                   "a second document starts here; one file holds one experiment");
    }
  } catch (const Refused& refused) {
    mistakes.Add(refused.mark.line + 1, refused.mark.column + 1, refused.msg);
    document.root_ = nullptr;
  } catch (const YAML::Exception& error) {
    // The one message that differs between versions of yaml-cpp.
    const bool alias = absl::StartsWith(error.msg, "the referenced anchor is not defined");
    mistakes.Add(std::max(1, error.mark.line + 1), std::max(1, error.mark.column + 1),
                 alias ? kNoAnchor : absl::StrCat("not valid YAML: ", error.msg));
    document.root_ = nullptr;
  } catch (const std::exception& error) {
    mistakes.Add(1, 1, absl::StrCat("not valid YAML: ", error.what()));
    document.root_ = nullptr;
  }
  return document;
}

std::string YamlText(const YamlNode& node) {
  constexpr size_t kLongest = 200;  // aliases can make a small file very long
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "null";
    case YamlNode::Kind::kScalar:
      return node.text;
    case YamlNode::Kind::kSequence: {
      std::string text = "[";
      for (const YamlNode* item : node.items) {
        if (text.size() > kLongest) break;
        absl::StrAppend(&text, text.size() > 1 ? ", " : "", YamlText(*item));
      }
      return text + "]";
    }
    case YamlNode::Kind::kMapping: {
      std::string text = "{";
      for (const auto& [key, value] : node.entries) {
        if (text.size() > kLongest) break;
        absl::StrAppend(&text, text.size() > 1 ? ", " : "", key->text, ": ", YamlText(*value));
      }
      return text + "}";
    }
  }
  return "";
}

}  // namespace tightrope
