// A labelled set of images in memory, and how it is found and identified. Plain arrays: no LibTorch here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

struct Dataset {
  uint64_t count = 0;
  uint32_t channels = 0, height = 0, width = 0;
  std::vector<uint8_t> pixels;  // count·channels·height·width, in N×C×H×W order; a model sees pixel / 255 as float32
  std::vector<uint8_t> labels;  // count, each < classes
  uint32_t classes = 0;
};

// Parses uncompressed IDX bytes: images (magic 0x00000803, one channel) and labels (magic 0x00000801).
// Errors: INVALID_ARGUMENT saying what and where: wrong magic, header truncated, sizes that do not match the file
// (checked before allocating), counts that differ between the two, no examples, images without pixels. `classes` is the
// largest label + 1, or `expected_classes` where that is larger than 0 (a label ≥ it is an error).
absl::StatusOr<Dataset> ParseIdx(absl::string_view images, absl::string_view labels, uint32_t expected_classes);

// The data set that `ref` names from the bytes of its two artifacts, whose digests the caller has checked.
// Errors: INVALID_ARGUMENT (as ParseIdx; count, shape or labels are not what `ref` says).
absl::StatusOr<Dataset> LoadDataset(const v1::DatasetRef& ref, absl::string_view images, absl::string_view labels);

// Reads a file, plain or gzipped (told by content, not by name), to uncompressed bytes.
// Errors: NOT_FOUND, PERMISSION_DENIED, INVALID_ARGUMENT (a directory, corrupt or truncated gzip data, more than
// `max_bytes` when uncompressed), UNAVAILABLE (read error); each with the path.
absl::StatusOr<std::string> ReadMaybeGzipped(const std::string& path, uint64_t max_bytes);

// The files of one split of a named data set: uncompressed bytes, ready to be put as artifacts, and the reference to
// them.
struct ResolvedSplit {
  v1::DatasetRef ref;
  std::string images;
  std::string labels;
};

// Where named data sets are looked for, in this order: `data_flag` (where not empty), $TIGHTROPE_DATA,
// /usr/share/datasets.
std::vector<std::string> DatasetSearchPath(const std::string& data_flag);

// Names that can be given: "fashion-mnist", "mnist".
std::vector<std::string> KnownDatasets();

// Finds DIR/<name>/{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz] (or DIR itself where its last component is
// <name>); train-images.idx3-ubyte, as some archives name it, is the same. Plain files go before gzipped ones. Errors:
// INVALID_ARGUMENT (unknown name: lists the known ones; a file that is not what it should be, with its path), NOT_FOUND
// (lists every directory that was tried, and for fashion-mnist the Debian package to install; or names the file that is
// missing beside another of its split), and as ReadMaybeGzipped.
absl::StatusOr<ResolvedSplit> ResolveDataset(const std::string& name, v1::Split split,
                                             const std::vector<std::string>& search_path);

}  // namespace tightrope
