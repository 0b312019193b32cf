#include "core/dataset/dataset.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/artifact/digest.h"
#include "core/artifact/file.h"
#include "core/dataset/gzip.h"
#include "core/dataset/idx.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;

// More than five times the largest file of a known data set; what is larger is not one.
constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;

struct KnownDataset {
  absl::string_view name;
  uint32_t height, width, classes;
  absl::string_view how_to_get;
};

constexpr KnownDataset kKnown[] = {
    {"fashion-mnist", 28, 28, 10, "install the Debian package dataset-fashion-mnist, or give --data"},
    {"mnist", 28, 28, 10, "download its four files and give --data"},
};

struct IdxPair {
  IdxImages images;
  IdxLabels labels;
  uint32_t classes = 0;
};

absl::StatusOr<IdxPair> ReadPair(absl::string_view images, absl::string_view labels, uint32_t expected_classes) {
  IdxPair pair;
  ABSL_ASSIGN_OR_RETURN(pair.images, ReadIdxImages(images));
  ABSL_ASSIGN_OR_RETURN(pair.labels, ReadIdxLabels(labels));
  if (pair.images.count != pair.labels.labels.size()) {
    return absl::InvalidArgumentError(
        absl::StrFormat("images and labels are not of the same examples: %d images, %d labels", pair.images.count,
                        pair.labels.labels.size()));
  }
  if (expected_classes > 0 && pair.labels.classes > expected_classes) {
    return absl::InvalidArgumentError(
        absl::StrFormat("a label is too large for %d classes: %d", expected_classes, pair.labels.classes - 1));
  }
  pair.classes = expected_classes > 0 ? expected_classes : pair.labels.classes;
  return pair;
}

absl::StatusOr<const KnownDataset*> FindKnown(absl::string_view name) {
  for (const KnownDataset& known : kKnown) {
    if (known.name == name) return &known;
  }
  return absl::InvalidArgumentError(absl::StrFormat("unknown data set; write one of %s: \"%s\"",
                                                    absl::StrJoin(KnownDatasets(), ", "), std::string(name)));
}

// The first of the file's possible names that is in `directory`; empty where none is.
std::optional<std::string> FindFile(const fs::path& directory, absl::string_view split, absl::string_view content) {
  const std::string dashed = absl::StrCat(split, "-", content);
  const std::string dotted =
      absl::StrCat(split, "-", content.substr(0, content.find('-')), ".", content.substr(content.find('-') + 1));
  for (const std::string& name : {dashed, dashed + ".gz", dotted, dotted + ".gz"}) {
    std::error_code error;
    const fs::path path = directory / name;
    // What can't be looked at is not skipped: reading it says why.
    if (fs::status(path, error).type() != fs::file_type::not_found) return path.string();
  }
  return std::nullopt;
}

struct SplitFiles {
  std::string images;
  std::string labels;
};

absl::StatusOr<SplitFiles> FindFiles(const KnownDataset& known, v1::Split split,
                                     const std::vector<std::string>& search_path) {
  const absl::string_view prefix = split == v1::SPLIT_TRAIN ? "train" : "t10k";
  std::vector<std::string> tried;
  for (const std::string& directory : search_path) {
    const fs::path below = fs::path(directory) / std::string(known.name);
    tried.push_back(below.string());
    std::vector<fs::path> candidates = {below};
    // "/data/mnist/" ends in an empty component.
    const fs::path normal = fs::path(directory).lexically_normal();
    if ((normal.has_filename() ? normal : normal.parent_path()).filename() == std::string(known.name)) {
      candidates.emplace_back(directory);
      tried.push_back(directory);
    }
    for (const fs::path& candidate : candidates) {
      const std::optional<std::string> images = FindFile(candidate, prefix, "images-idx3-ubyte");
      const std::optional<std::string> labels = FindFile(candidate, prefix, "labels-idx1-ubyte");
      if (images && labels) return SplitFiles{*images, *labels};
      if (images || labels) {
        return absl::NotFoundError(absl::StrFormat("data set %s is incomplete; add %s-%s-ubyte.gz to the directory %s",
                                                   std::string(known.name), std::string(prefix),
                                                   images ? "labels-idx1" : "images-idx3", candidate.string()));
      }
    }
  }
  return absl::NotFoundError(absl::StrFormat(
      "data set %s not found; %s DIR or set TIGHTROPE_DATA, where DIR/%s/%s-images-idx3-ubyte.gz is; tried: %s",
      std::string(known.name), std::string(known.how_to_get), std::string(known.name), std::string(prefix),
      absl::StrJoin(tried, ", ")));
}

}  // namespace

absl::StatusOr<Dataset> ParseIdx(absl::string_view images, absl::string_view labels, uint32_t expected_classes) {
  ABSL_ASSIGN_OR_RETURN(const IdxPair pair, ReadPair(images, labels, expected_classes));
  Dataset dataset;
  dataset.count = pair.images.count;
  dataset.channels = 1;
  dataset.height = pair.images.rows;
  dataset.width = pair.images.columns;
  dataset.pixels.assign(pair.images.pixels.begin(), pair.images.pixels.end());
  dataset.labels.assign(pair.labels.labels.begin(), pair.labels.labels.end());
  dataset.classes = pair.classes;
  return dataset;
}

absl::StatusOr<Dataset> LoadDataset(const v1::DatasetRef& ref, absl::string_view images, absl::string_view labels) {
  if (ref.classes() == 0) return absl::InvalidArgumentError("data set reference without classes");
  ABSL_ASSIGN_OR_RETURN(Dataset dataset, ParseIdx(images, labels, ref.classes()));
  if (dataset.count != ref.count() || dataset.channels != ref.channels() || dataset.height != ref.height() ||
      dataset.width != ref.width()) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "data set is not what its reference says (count x channels x height x width): got %d x %d x %d x %d, want "
        "%d x %d x %d x %d",
        dataset.count, dataset.channels, dataset.height, dataset.width, ref.count(), ref.channels(), ref.height(),
        ref.width()));
  }
  return dataset;
}

absl::StatusOr<std::string> ReadMaybeGzipped(const std::string& path, uint64_t max_bytes) {
  // Incompressible data grows by less than a thousandth in gzip, and by its header.
  ABSL_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path, max_bytes + max_bytes / 1000 + 1024));
  if (IsGzip(bytes)) {
    absl::StatusOr<std::string> plain = Gunzip(bytes, max_bytes);
    if (!plain.ok()) return Annotate(plain.status(), path);
    return plain;
  }
  if (bytes.size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("file larger than the limit of ", max_bytes, " bytes: ", path));
  }
  return bytes;
}

std::vector<std::string> DatasetSearchPath(const std::string& data_flag) {
  std::vector<std::string> path;
  if (!data_flag.empty()) path.push_back(data_flag);
  if (const char* data = std::getenv("TIGHTROPE_DATA"); data != nullptr && *data != '\0') path.emplace_back(data);
  path.emplace_back("/usr/share/datasets");
  return path;
}

std::vector<std::string> KnownDatasets() {
  std::vector<std::string> names;
  for (const KnownDataset& known : kKnown) names.emplace_back(known.name);
  return names;
}

absl::StatusOr<ResolvedSplit> ResolveDataset(const std::string& name, v1::Split split,
                                             const std::vector<std::string>& search_path) {
  ABSL_ASSIGN_OR_RETURN(const KnownDataset* const known, FindKnown(name));
  if (split != v1::SPLIT_TRAIN && split != v1::SPLIT_TEST) {
    return absl::InvalidArgumentError(absl::StrCat("data set ", name, " has the splits train and test only"));
  }
  ABSL_ASSIGN_OR_RETURN(const SplitFiles files, FindFiles(*known, split, search_path));
  ResolvedSplit resolved;
  ABSL_ASSIGN_OR_RETURN(resolved.images, ReadMaybeGzipped(files.images, kMaxFileBytes));
  ABSL_ASSIGN_OR_RETURN(resolved.labels, ReadMaybeGzipped(files.labels, kMaxFileBytes));
  const absl::StatusOr<IdxPair> pair = ReadPair(resolved.images, resolved.labels, known->classes);
  if (!pair.ok()) return Annotate(pair.status(), absl::StrCat(files.images, ", ", files.labels));
  if (pair->images.rows != known->height || pair->images.columns != known->width) {
    return absl::InvalidArgumentError(absl::StrFormat("images of %s must be %d x %d, got %d x %d: %s", name,
                                                      known->height, known->width, pair->images.rows,
                                                      pair->images.columns, files.images));
  }
  v1::DatasetRef& ref = resolved.ref;
  ref.set_name(name);
  ref.set_split(split);
  ref.set_images_sha256(Sha256(resolved.images));
  ref.set_labels_sha256(Sha256(resolved.labels));
  ref.set_count(pair->images.count);
  ref.set_channels(1);
  ref.set_height(known->height);
  ref.set_width(known->width);
  ref.set_classes(known->classes);
  return resolved;
}

}  // namespace tightrope
