#include "core/experiment/resolve.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/artifact/digest.h"
#include "core/artifact/file.h"
#include "core/dataset/dataset.h"
#include "core/experiment/example_array.h"
#include "core/experiment/invariance_set.h"
#include "core/experiment/labels.h"
#include "core/experiment/rules.h"
#include "core/oracle/label_table.h"
#include "core/status_macros.h"

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
  std::vector<v1::Split> splits = {v1::SPLIT_TEST};
  if (NeedsTrainingSplit(file.experiment)) splits.push_back(v1::SPLIT_TRAIN);
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

std::string InvariancePath(int index) { return absl::StrCat("invariance[", index, "]"); }

constexpr char kTorchScript[] = "TorchScript file";
constexpr char kLabels[] = "table of labels";
constexpr char kArray[] = "NumPy file";

// A file that the experiment names, and where.
struct NamedFile {
  std::string field;
  std::string written;
  const char* what;
};

// Files that workers read as they are.
std::vector<NamedFile> FilesToDigest(const v1::Experiment& experiment) {
  std::vector<NamedFile> files;
  for (int i = 0; i < experiment.models_size(); ++i) {
    const v1::Architecture& architecture = experiment.models(i).architecture();
    if (!architecture.has_torchscript()) continue;
    files.push_back(
        {absl::StrCat("models[", i, "].architecture.torchscript"), architecture.torchscript(), kTorchScript});
  }
  for (int i = 0; i < experiment.attacks_size(); ++i) {
    const v1::Attack& attack = experiment.attacks(i);
    if (!attack.has_surrogate()) continue;
    files.push_back({absl::StrCat("attacks[", i, "].surrogate"), attack.surrogate(), kTorchScript});
  }
  for (int i = 0; i < experiment.invariance_size(); ++i) {
    const v1::OracleChoice& oracle = experiment.invariance(i).oracle();
    if (oracle.has_model()) files.push_back({InvariancePath(i) + ".oracle.model", oracle.model(), kTorchScript});
    if (oracle.has_labels()) files.push_back({InvariancePath(i) + ".oracle.labels", oracle.labels(), kLabels});
  }
  return files;
}

std::filesystem::path DirectoryOf(const std::string& experiment_path) {
  return std::filesystem::path(experiment_path).parent_path();
}

// Where the file is. Errors: NOT_FOUND.
absl::StatusOr<std::string> Find(const std::filesystem::path& directory, const std::string& written, const char* what) {
  const std::filesystem::path path = directory / written;
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return path.string();
  return absl::NotFoundError(absl::StrCat("there is no ", what, " ", Quoted(written), "; looked for ", path.string(),
                                          " (paths begin at the experiment file)"));
}

void ResolveFiles(const ReadMessage& read, const std::string& path, ExperimentFile& file, MistakeList& mistakes) {
  std::map<std::string, std::string> missing;  // what is told of it
  for (const NamedFile& named : FilesToDigest(file.experiment)) {
    const std::string& written = named.written;
    if (read.positions.Unreadable(named.field) || file.inputs.file_sha256().contains(written)) continue;
    if (const auto told = missing.find(written); told != missing.end()) {
      AddAt(read, named.field, told->second, mistakes);
      continue;
    }
    const absl::StatusOr<std::string> place = Find(DirectoryOf(path), written, named.what);
    const absl::StatusOr<std::string> digest = place.ok() ? Sha256OfFile(*place) : place.status();
    if (!digest.ok()) {
      missing.emplace(written, digest.status().message());
      AddAt(read, named.field, missing[written], mistakes);
      continue;
    }
    (*file.inputs.mutable_file_sha256())[written] = *digest;
    AddUpload({.sha256 = *digest, .bytes = "", .path = *place}, file.uploads);
  }
}

// The arrays that the sets of an experiment name. Each is read once for each way of reading it, however many entries a
// sweep expands to.
class ArrayResolver {
 public:
  ArrayResolver(std::filesystem::path directory, ExperimentFile& file)
      : directory_(std::move(directory)), file_(file) {}

  absl::Status AddIndices(const std::string& written) { return Add({written, kIndices, std::nullopt}).status(); }
  // What was taken for white.
  absl::StatusOr<double> AddExamples(const std::string& written, std::optional<double> white) {
    return Add({written, kExamples, white});
  }

 private:
  enum Meaning { kIndices, kExamples };
  using Reading = std::tuple<std::string, Meaning, std::optional<double>>;  // the path as written, white as given

  absl::StatusOr<double> Add(const Reading& reading) {
    const auto known = readings_.find(reading);
    return known != readings_.end() ? known->second : readings_.emplace(reading, Read(reading)).first->second;
  }

  absl::StatusOr<double> Read(const Reading& reading) {
    const auto& [written, meaning, white] = reading;
    ABSL_ASSIGN_OR_RETURN(const std::string path, Find(directory_, written, kArray));
    ABSL_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxArrayBytes));
    const v1::DatasetRef* const data = file_.inputs.has_test() ? &file_.inputs.test() : nullptr;
    absl::StatusOr<ExampleArray> array =
        meaning == kIndices ? ParseIndices(bytes, data) : ParseExamples(bytes, white, data);
    if (!array.ok()) return Annotate(array.status(), Quoted(written));
    const std::string digest = Sha256(array->npy);
    v1::ArrayRef& ref = (*file_.inputs.mutable_arrays())[written];
    if (!ref.sha256().empty() && ref.sha256() != digest) {
      return absl::InvalidArgumentError(absl::StrCat("another entry reads ", Quoted(written),
                                                     " with another `white`, or for another key; a file has one "
                                                     "meaning in an experiment"));
    }
    ref.set_sha256(digest);
    ref.set_count(array->count);
    AddUpload({.sha256 = digest, .bytes = std::move(array->npy), .path = ""}, file_.uploads);
    return array->white;
  }

  const std::filesystem::path directory_;
  ExperimentFile& file_;
  std::map<Reading, absl::StatusOr<double>> readings_;
};

void ResolveArrays(const ReadMessage& read, const std::string& path, ExperimentFile& file, MistakeList& mistakes) {
  ArrayResolver arrays(DirectoryOf(path), file);
  for (int i = 0; i < file.experiment.invariance_size(); ++i) {
    v1::InvarianceSet& set = *file.experiment.mutable_invariance(i);
    const std::string sources = InvariancePath(i) + ".sources";
    if (set.has_sources() && !read.positions.Unreadable(sources)) {
      const absl::Status added = arrays.AddIndices(set.sources());
      if (!added.ok()) AddAt(read, sources, std::string(added.message()), mistakes);
    }
    const std::string examples = InvariancePath(i) + ".file.path";
    const std::string white = InvariancePath(i) + ".file.white";
    if (!set.has_file() || read.positions.Unreadable(examples) || read.positions.Unreadable(white)) continue;
    const std::optional<double> given = read.positions.Given(white) ? std::optional(set.file().white()) : std::nullopt;
    const absl::StatusOr<double> added = arrays.AddExamples(set.file().path(), given);
    if (added.ok()) {
      set.mutable_file()->set_white(*added);
    } else {
      AddAt(read, examples, std::string(added.status().message()), mistakes);
    }
  }
}

double StepSize(double epsilon, uint32_t steps) { return steps == 0 ? 0 : kStepsAcrossTheBall * epsilon / steps; }

void FillInTraining(const ReadMessage& read, const v1::Inputs& inputs, v1::Experiment& experiment) {
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

}  // namespace

void ResolveInputs(const ReadMessage& read, const std::string& path, const ReadOptions& options, ExperimentFile& file,
                   MistakeList& mistakes) {
  ResolveDatasets(read, options, file, mistakes);
  ResolveFiles(read, path, file, mistakes);
  ResolveArrays(read, path, file, mistakes);
}

void FillInDerivedValues(const ReadMessage& read, const v1::Inputs& inputs, v1::Experiment& experiment) {
  v1::ExampleRange& examples = *experiment.mutable_examples();
  if (!read.positions.Given("examples.count") && examples.start() < inputs.test().count()) {
    examples.set_count(inputs.test().count() - examples.start());
  }
  FillInTraining(read, inputs, experiment);
  for (int i = 0; i < experiment.alignment_size(); ++i) {
    v1::Alignment& alignment = *experiment.mutable_alignment(i);
    if (read.positions.Given(absl::StrCat("alignment[", i, "].anchors"))) continue;
    const bool train = alignment.split() == v1::SPLIT_TRAIN;
    alignment.set_anchors(train ? inputs.train().count() : inputs.test().count());
  }
  for (int i = 0; i < experiment.invariance_size(); ++i) {
    v1::InvarianceSet& set = *experiment.mutable_invariance(i);
    if (!IsMadeHere(set)) continue;
    if (read.positions.Given(absl::StrCat(InvariancePath(i), ".", MethodName(set), ".candidates"))) continue;
    SetCandidates(set, inputs.train().count());
  }
}

void CheckLabelTables(const ReadMessage& read, const std::string& path, const ExperimentFile& file,
                      MistakeList& mistakes) {
  const v1::Inputs& inputs = file.inputs;
  if (!inputs.has_test()) return;
  std::map<std::pair<std::string, uint64_t>, absl::Status> checked;
  for (int i = 0; i < file.experiment.invariance_size(); ++i) {
    const v1::InvarianceSet& set = file.experiment.invariance(i);
    const std::string& written = set.oracle().labels();
    const uint64_t examples = CountSources(set, file.experiment, inputs);
    // Examples beyond the data are a mistake of their own.
    const bool countable = examples > 0 && (set.has_sources() || examples <= inputs.test().count());
    if (!set.oracle().has_labels() || !inputs.file_sha256().contains(written) || !countable) continue;
    const auto [known, is_new] = checked.emplace(std::make_pair(written, examples), absl::OkStatus());
    if (is_new) {
      known->second = [&]() -> absl::Status {
        ABSL_ASSIGN_OR_RETURN(const std::string bytes,
                              ReadFile((DirectoryOf(path) / written).string(), kMaxArrayBytes));
        return LabelTable::Parse(bytes, {.examples = examples, .classes = inputs.test().classes()}).status();
      }();
    }
    if (known->second.ok()) continue;
    AddAt(read, InvariancePath(i) + ".oracle.labels", absl::StrCat(Quoted(written), ": ", known->second.message()),
          mistakes);
  }
}

}  // namespace tightrope
