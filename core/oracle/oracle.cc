#include "core/oracle/oracle.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/oracle/byte_product.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

absl::Status Unknown(absl::string_view what, uint64_t index, uint64_t count) {
  return absl::InvalidArgumentError(
      absl::StrCat("the oracle has no label for ", what, " ", index, "; give labels for all of them, got ", count));
}

class DatasetOracle : public Oracle {
 public:
  explicit DatasetOracle(std::vector<uint8_t> labels) : labels_(std::move(labels)) {}

  absl::StatusOr<std::vector<int32_t>> Label(const OracleQuestions& questions) const override {
    ABSL_RETURN_IF_ERROR(CheckQuestions(questions, /*elements=*/0));
    std::vector<int32_t> labels;
    for (const uint64_t source : questions.sources) {
      if (source >= labels_.size()) return Unknown("source", source, labels_.size());
      labels.push_back(labels_[source]);
    }
    return labels;
  }

 private:
  const std::vector<uint8_t> labels_;
};

class TableOracle : public Oracle {
 public:
  explicit TableOracle(LabelTable table) : table_(std::move(table)) {}

  absl::StatusOr<std::vector<int32_t>> Label(const OracleQuestions& questions) const override {
    ABSL_RETURN_IF_ERROR(CheckQuestions(questions, /*elements=*/0));
    std::vector<int32_t> labels;
    for (const uint64_t example : questions.examples) {
      if (example >= table_.examples()) return Unknown("example", example, table_.examples());
      labels.push_back(table_.VoteOf(example).label);
    }
    return labels;
  }

 private:
  const LabelTable table_;
};

// An image in steps of 1/65280: whole grey levels and 256ths of one, in bytes, so that products with grey levels are
// products of bytes.
struct FineImage {
  std::vector<uint8_t> levels;
  std::vector<uint8_t> parts;
  bool has_parts = false;
  int64_t square = 0;  // Σ (256·level + part)²
};

FineImage Refine(absl::Span<const float> image) {
  FineImage fine;
  fine.levels.resize(image.size());
  fine.parts.resize(image.size());
  for (size_t i = 0; i < image.size(); ++i) {
    const int64_t value = std::llround(static_cast<double>(image[i]) * 65280);
    fine.levels[i] = static_cast<uint8_t>(value >> 8);
    fine.parts[i] = static_cast<uint8_t>(value & 0xff);
    fine.has_parts |= fine.parts[i] != 0;
    fine.square += value * value;
  }
  return fine;
}

struct Neighbour {
  int64_t distance = 0;  // squared, in steps of 1/65280
  uint64_t index = 0;

  bool operator<(const Neighbour& other) const {
    return distance != other.distance ? distance < other.distance : index < other.index;
  }
};

class NearestOracle : public Oracle {
 public:
  NearestOracle(const Dataset& data, const NearestOptions& options) : data_(data), options_(options) {
    for (uint64_t i = options_.begin; i < options_.end; ++i) {
      squares_.push_back(65536 * static_cast<int64_t>(ByteProduct(Elements(), Image(i), Image(i))));
    }
  }

  absl::StatusOr<std::vector<int32_t>> Label(const OracleQuestions& questions) const override {
    ABSL_RETURN_IF_ERROR(CheckQuestions(questions, Elements()));
    std::vector<FineImage> images;
    for (size_t i = 0; i < questions.examples.size(); ++i) {
      images.push_back(Refine(questions.images.subspan(i * Elements(), Elements())));
    }
    // Max-heaps of the nearest so far. The data are read once for all questions.
    std::vector<std::vector<Neighbour>> nearest(images.size());
    for (uint64_t i = options_.begin; i < options_.end; ++i) {
      for (size_t q = 0; q < images.size(); ++q) Offer({Distance(images[q], i), i}, nearest[q]);
    }
    std::vector<int32_t> labels;
    for (std::vector<Neighbour>& neighbours : nearest) {
      std::sort(neighbours.begin(), neighbours.end());
      labels.push_back(Vote(neighbours));
    }
    return labels;
  }

 private:
  uint64_t Elements() const { return uint64_t{data_.channels} * data_.height * data_.width; }
  const uint8_t* Image(uint64_t i) const { return data_.pixels.data() + i * Elements(); }

  int64_t Distance(const FineImage& image, uint64_t i) const {
    auto product = static_cast<int64_t>(256 * ByteProduct(Elements(), image.levels.data(), Image(i)));
    if (image.has_parts) product += static_cast<int64_t>(ByteProduct(Elements(), image.parts.data(), Image(i)));
    return image.square - 512 * product + squares_[i - options_.begin];
  }

  void Offer(const Neighbour& neighbour, std::vector<Neighbour>& heap) const {
    if (heap.size() == options_.neighbours) {
      if (!(neighbour < heap.front())) return;
      std::pop_heap(heap.begin(), heap.end());
      heap.pop_back();
    }
    heap.push_back(neighbour);
    std::push_heap(heap.begin(), heap.end());
  }

  int32_t Vote(const std::vector<Neighbour>& neighbours) const {
    std::vector<uint32_t> votes(data_.classes, 0);
    for (const Neighbour& neighbour : neighbours) ++votes[data_.labels[neighbour.index]];
    const uint32_t most = *std::max_element(votes.begin(), votes.end());
    const auto winner = std::find_if(neighbours.begin(), neighbours.end(), [&](const Neighbour& neighbour) {
      return votes[data_.labels[neighbour.index]] == most;
    });
    return data_.labels[winner->index];
  }

  const Dataset& data_;
  const NearestOptions options_;
  std::vector<int64_t> squares_;  // Σ (256·level)² of each image of the range
};

}  // namespace

std::unique_ptr<Oracle> MakeDatasetOracle(std::vector<uint8_t> labels) {
  return std::make_unique<DatasetOracle>(std::move(labels));
}

std::unique_ptr<Oracle> MakeTableOracle(LabelTable table) { return std::make_unique<TableOracle>(std::move(table)); }

absl::StatusOr<std::unique_ptr<Oracle>> MakeNearestOracle(const Dataset& data, NearestOptions options) {
  if (options.end == 0) options.end = data.count;
  if (options.begin >= options.end || options.end > data.count) {
    return absl::InvalidArgumentError(
        absl::StrCat("neighbours must be looked for in a range of the data that is not empty; write begin and end with "
                     "begin < end <= ",
                     data.count, ", got ", options.begin, " and ", options.end));
  }
  if (options.neighbours == 0 || options.neighbours > options.end - options.begin) {
    return absl::InvalidArgumentError(absl::StrCat("the number of neighbours must be from 1 to the number of images, ",
                                                   options.end - options.begin, "; got ", options.neighbours));
  }
  return std::make_unique<NearestOracle>(data, options);
}

absl::Status CheckQuestions(const OracleQuestions& questions, uint64_t elements) {
  if (questions.sources.size() != questions.examples.size()) {
    return absl::InvalidArgumentError(absl::StrCat("every example must have one source: got ",
                                                   questions.examples.size(), " examples, ", questions.sources.size(),
                                                   " sources"));
  }
  if (elements == 0) return absl::OkStatus();
  if (questions.images.size() != questions.examples.size() * elements) {
    return absl::InvalidArgumentError(
        absl::StrCat("the oracle's data have ", elements, " values an image; give images of that size: got ",
                     questions.images.size(), " values for ", questions.examples.size(), " images"));
  }
  for (size_t i = 0; i < questions.images.size(); ++i) {
    if (questions.images[i] >= 0 && questions.images[i] <= 1) continue;  // false for NaN
    return absl::InvalidArgumentError(
        absl::StrCat("values of an image must be in [0, 1]; divide grey levels by 255: got ", questions.images[i],
                     " in example ", questions.examples[i / elements]));
  }
  return absl::OkStatus();
}

}  // namespace tightrope
