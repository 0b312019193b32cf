// docs/experiment-file.md against the schema and the reader: every key is there with its type, unit, default and range,
// and every example in it parses.
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/experiment/npy_bytes_test_support.h"
#include "core/experiment/schema.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/tiny_dataset.h"

namespace tightrope {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using testing::Contains;
using testing::StartsWith;

std::string ReadText(const std::string& path) {
  std::ifstream stream(path);
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

std::string Document() { return ReadText(TIGHTROPE_SOURCE_DIR "/docs/experiment-file.md"); }

// The lines below each heading, by the heading's text.
std::map<std::string, std::vector<std::string>> Sections(const std::string& document) {
  std::map<std::string, std::vector<std::string>> sections;
  std::string heading;
  for (const auto line : absl::StrSplit(document, '\n')) {
    const std::string text(line);
    if (absl::StartsWith(text, "#")) {
      heading = text.substr(text.find_first_not_of("# "));
    } else {
      sections[heading].push_back(text);
    }
  }
  return sections;
}

// "| `epochs` | whole number | epochs | `10` | 1 to 100000 |": how the row of a key begins.
std::string Row(const FieldDescriptor& field) {
  const v1::Key& options = KeyOf(field);
  std::string standard;
  if (options.required()) standard = "required";
  if (options.has_default_value()) standard = absl::StrCat("`", options.default_value(), "`");
  if (!options.default_rule().empty()) standard = options.default_rule();
  const auto cell = [](const std::string& text) {
    return text.empty() ? std::string(" |") : absl::StrCat(" ", text, " |");
  };
  return absl::StrCat("| `", field.name(), "` |", cell(TypeInWords(field)), cell(options.unit()), cell(standard),
                      cell(RangeInWords(field)));
}

// Calls `visit` with the keys of each message of the schema and the heading of the section that is about it.
void ForEachSection(const Descriptor& message, const std::string& heading, const std::string& list,
                    const std::function<void(const MappingSchema&, const std::string&)>& visit) {
  const MappingSchema schema = SchemaOf(message);
  visit(schema, heading);
  for (const FieldDescriptor* field : schema.fields) {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      const std::string name(field->name());
      ForEachSection(*field->message_type(), absl::StrCat("`", name, "`"), name, visit);
    }
  }
  for (const KindSchema& kind : schema.kinds) {
    for (const std::string& name : kind.MemberNames()) {
      const FieldDescriptor* member = kind.FindMember(name);
      const std::string below = absl::StrCat("`", list, "` with `", kind.key, ": ", name, "`");
      if (member->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        ForEachSection(*member->message_type(), below, list, visit);
      } else {
        visit({}, below);
      }
    }
  }
}

void ForEachSection(const std::function<void(const MappingSchema&, const std::string&)>& visit) {
  ForEachSection(*v1::Experiment::descriptor(), "The keys of the file", "", visit);
}

// "training:\n- ..." → ("training", text), for every top-level key.
std::vector<std::pair<std::string, std::string>> TopLevelKeys(const std::string& yaml) {
  std::vector<std::pair<std::string, std::string>> keys;
  for (const auto part : absl::StrSplit(yaml, '\n')) {
    const std::string line(part);
    if (!line.empty() && line[0] != ' ' && line[0] != '#' && line[0] != '-') {
      keys.emplace_back(line.substr(0, line.find(':')), "");
    }
    if (!keys.empty()) absl::StrAppend(&keys.back().second, line, "\n");
  }
  return keys;
}

// The fragment as a whole file: keys that it does not have come from a small experiment.
std::string Completed(const std::string& fragment) {
  std::map<std::string, std::string> keys = {{"name", "name: example\n"},
                                             {"dataset", "dataset: fashion-mnist\n"},
                                             {"models", "models: [{architecture: small_cnn}]\n"},
                                             {"training", "training: [{method: standard}]\n"}};
  for (const auto& [name, text] : TopLevelKeys(fragment)) keys[name] = text;
  const bool trained = absl::StrContains(fragment, "training:") || !absl::StrContains(fragment, "torchscript");
  if (!trained) keys.erase("training");
  std::string text;
  for (const auto& [name, part] : keys) text += part;
  return text;
}

std::vector<std::string> YamlBlocks(const std::string& document) {
  std::vector<std::string> blocks;
  size_t at = 0;
  while ((at = document.find("```yaml\n", at)) != std::string::npos) {
    const size_t begin = at + 8;
    const size_t end = document.find("```", begin);
    blocks.push_back(document.substr(begin, end - begin));
    at = end + 3;
  }
  return blocks;
}

TEST(DocumentTest, EveryKeyIsDocumentedWithTypeUnitDefaultAndRange) {
  const auto sections = Sections(Document());
  ForEachSection([&](const MappingSchema& schema, const std::string& heading) {
    const auto section = sections.find(heading);
    ASSERT_NE(section, sections.end()) << "docs/experiment-file.md has no section \"" << heading << "\"";
    for (const FieldDescriptor* field : schema.fields) {
      EXPECT_THAT(section->second, Contains(StartsWith(Row(*field)))) << "in section \"" << heading << "\"";
    }
    for (const KindSchema& kind : schema.kinds) {
      EXPECT_THAT(section->second, Contains(StartsWith(absl::StrCat("| `", kind.key, "` | ")))) << heading;
    }
  });
}

TEST(DocumentTest, NoRowDescribesAKeyThatIsNotThere) {
  std::map<std::string, std::vector<std::string>> known;
  ForEachSection([&](const MappingSchema& schema, const std::string& heading) { known[heading] = schema.KeyNames(); });
  for (const auto& [heading, lines] : Sections(Document())) {
    for (const std::string& row : lines) {
      if (!absl::StartsWith(row, "| `")) continue;
      EXPECT_THAT(known[heading], Contains(row.substr(3, row.find('`', 3) - 3)))
          << "in section \"" << heading << "\": " << row;
    }
  }
}

TEST(DocumentTest, EveryExampleParses) {
  const TinyDatasets data(6000, 1000);
  for (const char* model : {"golden/at03.pt", "golden/std.pt"}) WriteFile(data.directory() / model, model);
  WriteFile(data.directory() / "study/examples.npy", NpyExamples<float>("<f4", 3, 254.5f));
  WriteFile(data.directory() / "study/sources.npy", NpyBytes<int64_t>("<i8", {3}, {159, 7, 999}));
  WriteFile(data.directory() / "study/answers.csv", "index,ann,bob\n0,1,2\n1,,none\n2,3,3\n");
  const std::vector<std::string> blocks = YamlBlocks(Document());
  ASSERT_GE(blocks.size(), 6u);
  for (const std::string& block : blocks) {
    const std::string text = absl::StartsWith(block, "name:") ? block : Completed(block);
    EXPECT_OK(data.Parse(text)) << text;
  }
}

TEST(DocumentTest, QuickstartParsesAndIsTheExperimentThatItPromises) {
  const TinyDatasets data(6000, 1000);
  const absl::StatusOr<ExperimentFile> file = data.Parse(ReadText(TIGHTROPE_SOURCE_DIR "/experiments/quickstart.yaml"));
  ASSERT_OK(file);
  EXPECT_EQ(file->experiment.training_size(), 2);
  EXPECT_EQ(file->experiment.seeds_size(), 2);
  EXPECT_EQ(file->experiment.attacks_size(), 6);
}

}  // namespace
}  // namespace tightrope
