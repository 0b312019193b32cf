#include "core/experiment/experiment_file.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/experiment/labels.h"
#include "core/experiment/mistake.h"
#include "core/experiment/resolve.h"
#include "core/experiment/rules.h"
#include "core/experiment/schema_reader.h"
#include "core/experiment/yaml_document.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

void ApplyRules(const ReadMessage& read, const ExperimentFile& file, MistakeList& mistakes) {
  const Positions& positions = read.positions;
  const RuleData data = {.inputs = file.inputs,
                         .test = file.inputs.has_test() ? &file.inputs.test() : nullptr,
                         .train = file.inputs.has_train() ? &file.inputs.train() : nullptr};
  CheckRules(file.experiment, data,
             {.report =
                  [&](const std::string& path, const std::string& message) {
                    const Positions::Position position = positions.Find(path);
                    mistakes.Add(position.line, position.column, message);
                  },
              .readable = [&](const std::string& path) { return !positions.Unreadable(path); }});
}

}  // namespace

absl::StatusOr<ExperimentFile> ParseExperimentFile(const std::string& text, const std::string& path,
                                                   const ReadOptions& options) {
  MistakeList mistakes;
  const YamlDocument document = YamlDocument::Parse(text, mistakes);
  const YamlNode* root = document.root();
  if (mistakes.empty() && (root == nullptr || root->kind == YamlNode::Kind::kNull)) {
    mistakes.Add(1, 1, "the file is empty; an experiment has at least `name`, `dataset` and `models`");
  }
  if (root == nullptr || root->kind != YamlNode::Kind::kMapping) {
    v1::Experiment unused;
    if (mistakes.empty()) ReadBySchema(*root, unused, mistakes);
    return mistakes.ToStatus(path);
  }

  ExperimentFile file;
  file.source = text;
  const ReadMessage read = ReadBySchema(*root, file.experiment, mistakes);
  FillInNames(read, file.experiment);
  ResolveInputs(read, path, options, file, mistakes);
  FillInDerivedValues(read, file.inputs, file.experiment);
  CheckLabelTables(read, path, file, mistakes);
  ApplyRules(read, file, mistakes);
  ABSL_RETURN_IF_ERROR(mistakes.ToStatus(path));
  // What the coordinator will check again; here it finds what no rule can point at, such as splits of different shapes.
  ABSL_RETURN_IF_ERROR(ValidateExperiment(file.experiment, file.inputs)) << path << ":1:1";
  return file;
}

absl::StatusOr<ExperimentFile> ReadExperimentFile(const std::string& path, const ReadOptions& options) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat("this is a directory, not an experiment file: ", path));
  }
  std::ifstream stream(path, std::ios::binary);
  if (!stream) {
    if (std::filesystem::exists(path, error)) {
      return absl::InvalidArgumentError(absl::StrCat("cannot read the experiment file, check its permissions: ", path));
    }
    return absl::NotFoundError(absl::StrCat("there is no experiment file ", path));
  }
  // One byte more than allowed: the parser says that it is too much.
  std::string text(YamlDocument::kMaxBytes + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) return absl::InvalidArgumentError(absl::StrCat("cannot read the experiment file ", path));
  text.resize(static_cast<size_t>(stream.gcount()));
  return ParseExperimentFile(text, path, options);
}

}  // namespace tightrope
