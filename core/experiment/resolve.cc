#include "core/experiment/resolve.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/artifact/digest.h"
#include "core/dataset/dataset.h"
#include "core/experiment/rules.h"

namespace tightrope {
namespace {

constexpr double kStepsAcrossTheBall = 2.5;

void AddAt(const ReadMessage& read, const std::string& path, const std::string& message, MistakeList& mistakes) {
  const Positions::Position position = read.positions.Find(path);
  mistakes.Add(position.line, position.column, absl::StrReplaceAll(message, {{"\n", "; "}}));
}

void AddUpload(ExperimentFile::Upload upload, std::vector<ExperimentFile::Upload>& uploads) {
  const bool known = std::any_of(uploads.begin(), uploads.end(),
                                 [&](const ExperimentFile::Upload& other) { return other.sha256 == upload.sha256; });
  if (!known) uploads.push_back(std::move(upload));
}

void ResolveDatasets(const ReadMessage& read, const ReadOptions& options, ExperimentFile& file, MistakeList& mistakes) {
  const std::string& name = file.experiment.dataset();
  if (read.positions.Unreadable("dataset")) return;
  const std::vector<std::string> known = KnownDatasets();
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    AddAt(read, "dataset",
          absl::StrCat("`dataset` is one of ", absl::StrJoin(known, ", "), "; ", Quoted(name), " is not",
                       DidYouMean(name, known)),
          mistakes);
    return;
  }
  const auto& models = file.experiment.models();
  std::vector<v1::Split> splits = {v1::SPLIT_TEST};
  if (std::any_of(models.begin(), models.end(), NeedsTraining)) splits.push_back(v1::SPLIT_TRAIN);
  for (const v1::Split split : splits) {
    absl::StatusOr<ResolvedSplit> resolved = ResolveDataset(name, split, options.dataset_search_path);
    if (!resolved.ok()) {
      AddAt(read, "dataset", std::string(resolved.status().message()), mistakes);
      continue;
    }
    *(split == v1::SPLIT_TEST ? file.inputs.mutable_test() : file.inputs.mutable_train()) = resolved->ref;
    AddUpload({.sha256 = resolved->ref.images_sha256(), .bytes = std::move(resolved->images), .path = ""},
              file.uploads);
    AddUpload({.sha256 = resolved->ref.labels_sha256(), .bytes = std::move(resolved->labels), .path = ""},
              file.uploads);
  }
}

// The TorchScript files that the experiment names, and where.
std::vector<std::pair<std::string, std::string>> TorchScriptFiles(const v1::Experiment& experiment) {
  std::vector<std::pair<std::string, std::string>> files;  // field, path
  for (int i = 0; i < experiment.models_size(); ++i) {
    const v1::Architecture& architecture = experiment.models(i).architecture();
    if (!architecture.has_torchscript()) continue;
    files.emplace_back(absl::StrCat("models[", i, "].architecture.torchscript"), architecture.torchscript());
  }
  for (int i = 0; i < experiment.attacks_size(); ++i) {
    const v1::Attack& attack = experiment.attacks(i);
    if (attack.has_surrogate()) files.emplace_back(absl::StrCat("attacks[", i, "].surrogate"), attack.surrogate());
  }
  return files;
}

void ResolveTorchScript(const ReadMessage& read, const std::string& path, ExperimentFile& file, MistakeList& mistakes) {
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::set<std::string> missing;
  for (const auto& [field_path, written] : TorchScriptFiles(file.experiment)) {
    if (read.positions.Unreadable(field_path)) continue;
    if (file.inputs.torchscript_sha256().count(written) > 0) continue;
    const std::filesystem::path model_file = directory / written;
    std::error_code error;
    if (missing.count(written) > 0 || !std::filesystem::is_regular_file(model_file, error)) {
      missing.insert(written);
      AddAt(read, field_path,
            absl::StrCat("there is no TorchScript file ", Quoted(written), "; looked for ", model_file.string(),
                         " (paths begin at the experiment file)"),
            mistakes);
      continue;
    }
    const absl::StatusOr<std::string> digest = Sha256OfFile(model_file.string());
    if (!digest.ok()) {
      missing.insert(written);
      AddAt(read, field_path, std::string(digest.status().message()), mistakes);
      continue;
    }
    (*file.inputs.mutable_torchscript_sha256())[written] = *digest;
    AddUpload({.sha256 = *digest, .bytes = "", .path = model_file.string()}, file.uploads);
  }
}

double StepSize(double epsilon, uint32_t steps) { return steps == 0 ? 0 : kStepsAcrossTheBall * epsilon / steps; }

}  // namespace

void ResolveInputs(const ReadMessage& read, const std::string& path, const ReadOptions& options, ExperimentFile& file,
                   MistakeList& mistakes) {
  ResolveDatasets(read, options, file, mistakes);
  ResolveTorchScript(read, path, file, mistakes);
}

void FillInDerivedValues(const ReadMessage& read, const v1::Inputs& inputs, v1::Experiment& experiment) {
  v1::ExampleRange& examples = *experiment.mutable_examples();
  if (!read.positions.Given("examples.count") && examples.start() < inputs.test().count()) {
    examples.set_count(inputs.test().count() - examples.start());
  }
  for (int i = 0; i < experiment.training_size(); ++i) {
    v1::Training& training = *experiment.mutable_training(i);
    const std::string path = absl::StrCat("training[", i, "]");
    if (!read.positions.Given(path + ".examples")) training.set_examples(inputs.train().count());
    if (training.has_pgd() && !read.positions.Given(path + ".pgd.step_size")) {
      v1::PgdTraining& pgd = *training.mutable_pgd();
      pgd.set_step_size(StepSize(pgd.epsilon(), pgd.steps()));
    }
  }
}

}  // namespace tightrope
