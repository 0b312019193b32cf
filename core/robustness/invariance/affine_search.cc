#include "core/robustness/invariance/affine_search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/robustness/invariance/pixel_kernels.h"

namespace tightrope {
namespace {

constexpr uint8_t kWhite = 128;  // the least pixel with pixel / 255 > ½

bool HasShapeOf(const Dataset& data) {
  const uint64_t elements = uint64_t{data.channels} * data.height * data.width;
  return elements > 0 && data.pixels.size() == data.count * elements && data.labels.size() == data.count;
}

absl::Status CheckRanges(const AffineRanges& ranges) {
  for (const double value : {ranges.degrees, ranges.scale, ranges.shear, ranges.shift, ranges.most_darkening}) {
    if (!(value >= 0 && value <= 1e6)) {
      return absl::InvalidArgumentError(absl::StrCat("a range of the affine transforms is ", value,
                                                     "; give values of at least 0 and at most a million"));
    }
  }
  if (ranges.scale >= 1 || ranges.shear >= 1) {
    return absl::InvalidArgumentError(absl::StrCat("the affine transforms scale by 1 ± ", ranges.scale,
                                                   " and shear by ± ", ranges.shear,
                                                   ", which can turn images inside out; give less than 1"));
  }
  if (!(ranges.least_darkening <= ranges.most_darkening)) {
    return absl::InvalidArgumentError(absl::StrCat("the darkening of the affine transforms goes from ",
                                                   ranges.least_darkening, " to ", ranges.most_darkening,
                                                   "; give the smaller one first"));
  }
  return absl::OkStatus();
}

// Whether the bilinear sum is above the threshold, for every choice of the four pixels.
std::vector<PixelFunction> ThresholdFunctions(absl::Span<const BilinearTaps> taps, double threshold) {
  std::vector<PixelFunction> functions;
  functions.reserve(taps.size());
  for (const BilinearTaps& tap : taps) {
    PixelFunction& function = functions.emplace_back(PixelFunction{.pixel = tap.pixel});
    for (int entry = 0; entry < 16; ++entry) {
      double sum = 0;
      for (int i = 0; i < 4; ++i) {
        if ((entry >> i & 1) != 0) sum += tap.weight[static_cast<size_t>(i)];
      }
      if (sum > threshold) function.table = static_cast<uint16_t>(function.table | 1 << entry);
    }
  }
  return functions;
}

}  // namespace

struct AffineSearch::Transform {
  uint32_t index;
  AffineDraw draw;
  std::vector<BilinearTaps> taps = {};
  std::vector<PixelFunction> functions = {};
  std::vector<double> kept = {};                   // KeptWeights
  std::vector<std::array<float, 16>> values = {};  // published form: darkened, for every choice of the four pixels
};

absl::StatusOr<BitImages> BitImages::Create(const Dataset& data) {
  if (data.count == 0 || data.channels != 1 || !HasShapeOf(data) || uint64_t{data.height} * data.width > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the training images can't be transformed as bits: their shape is ", data.count, "×", data.channels, "×",
        data.height, "×", data.width, ", with ", data.pixels.size(), " pixels and ", data.labels.size(),
        " labels; give at least one image, of one channel and at most 65,535 pixels, and arrays of that shape"));
  }
  return BitImages(data);
}

BitImages::BitImages(const Dataset& data) : data_(&data), pixels_(int64_t{data.height} * data.width) {
  const size_t chunks = (data.count + kChunkImages - 1) / kChunkImages, pixels = static_cast<size_t>(pixels_);
  bits_.resize(chunks * pixels * kChunkWords);
  for (size_t image = 0; image < data.count; ++image) {
    uint64_t* const chunk = bits_.data() + image / kChunkImages * pixels * kChunkWords;
    for (size_t pixel = 0; pixel < pixels; ++pixel) {
      const uint64_t bit = data.pixels[image * pixels + pixel] >= kWhite ? 1 : 0;
      chunk[pixel * kChunkWords + image % kChunkImages / 64] |= bit << image % 64;
    }
  }
}

bool BitImages::pixel(int64_t image, int64_t pixel) const {
  return (chunk(image / kChunkImages)[pixel * kChunkWords + image % kChunkImages / 64] >> image % 64 & 1) != 0;
}

absl::StatusOr<AffineSearch> AffineSearch::Create(const BitImages& training, const Dataset& sources, uint64_t begin,
                                                  uint64_t end, const AffineSearchOptions& options,
                                                  const RandomStream& stream) {
  const Dataset& data = training.data();
  if (!HasShapeOf(sources) || sources.channels != data.channels || sources.height != data.height ||
      sources.width != data.width) {
    return absl::InvalidArgumentError(absl::StrCat("the sources are images of ", sources.channels, "×", sources.height,
                                                   "×", sources.width, " and the training images of ", data.channels,
                                                   "×", data.height, "×", data.width, "; give images of one shape"));
  }
  if (begin > end || end > sources.count) {
    return absl::InvalidArgumentError(absl::StrCat("there are no examples [", begin, ", ", end, ") in a data set of ",
                                                   sources.count, " examples; give a range that it holds"));
  }
  if (absl::Status status = CheckRanges(options.ranges); !status.ok()) return status;
  if (!options.published_form && !(options.ranges.least_darkening > 0)) {
    return absl::InvalidArgumentError(absl::StrCat("the darkening of the affine transforms starts at ",
                                                   options.ranges.least_darkening, "; give an exponent above 0"));
  }
  return AffineSearch(training, sources, begin, end, options, stream);
}

AffineSearch::AffineSearch(const BitImages& training, const Dataset& sources, uint64_t begin, uint64_t end,
                           const AffineSearchOptions& options, const RandomStream& stream)
    : training_(&training),
      options_(options),
      stream_(stream),
      words_((training.pixels() + 63) / 64),
      source_bits_((end - begin) * static_cast<size_t>(words_)),
      source_labels_(sources.labels.begin() + static_cast<int64_t>(begin),
                     sources.labels.begin() + static_cast<int64_t>(end)),
      best_(end - begin) {
  const size_t pixels = static_cast<size_t>(training.pixels());
  for (size_t source = 0; source < end - begin; ++source) {
    for (size_t pixel = 0; pixel < pixels; ++pixel) {
      const uint64_t bit = sources.pixels[(begin + source) * pixels + pixel] >= kWhite ? 1 : 0;
      source_bits_[source * static_cast<size_t>(words_) + pixel / 64] |= bit << pixel % 64;
    }
  }
}

bool AffineSearch::SourcePixel(size_t source, int64_t pixel) const {
  return (source_bits_[source * static_cast<size_t>(words_) + static_cast<size_t>(pixel / 64)] >> pixel % 64 & 1) != 0;
}

void AffineSearch::Run(uint32_t transforms) {
  for (; tried_ < transforms; ++tried_) Try(tried_);
}

void AffineSearch::Try(uint32_t index) {
  Transform transform = {.index = index, .draw = DrawAffine(stream_, index, options_.ranges)};
  // At an exponent of 0 or below, all that the source computes is infinite or not a number: it finds nothing.
  if (!(transform.draw.darkening > 0)) return;
  const Dataset& data = training_->data();
  const AffineMap map = MapOf(transform.draw, data.height, data.width, options_.published_form);
  transform.taps = BilinearTapsOf(map, data.height, data.width);
  transform.functions = ThresholdFunctions(transform.taps, DarkeningThreshold(transform.draw.darkening));
  transform.kept = KeptWeights(transform.taps, BilinearTapsOf(map.Inverse(), data.height, data.width));

  if (!options_.published_form) {
    std::vector<uint64_t> moved(static_cast<size_t>(training_->pixels() * kChunkWords));
    std::vector<uint64_t> images(static_cast<size_t>(kChunkImages * words_));
    for (int64_t chunk = 0; chunk < training_->chunks(); ++chunk) {
      ApplyToChunk(transform.functions, training_->chunk(chunk), moved.data());
      TransposeChunk(training_->pixels(), moved.data(), images.data());
      KeepFewestBits(transform, chunk, images);
    }
    return;
  }
  for (const BilinearTaps& tap : transform.taps) {
    std::array<float, 16>& values = transform.values.emplace_back();
    for (size_t entry = 0; entry < 16; ++entry) {
      double sum = 0;
      for (size_t i = 0; i < 4; ++i) sum += (entry >> i & 1) != 0 ? tap.weight[i] : 0;
      values[entry] = static_cast<float>(Darkened(sum, transform.draw.darkening));
    }
  }
  std::vector<float> least(best_.size(), std::numeric_limits<float>::infinity());
  std::vector<uint32_t> first(best_.size());
  for (int64_t chunk = 0; chunk < training_->chunks(); ++chunk) KeepPublished(transform, least, first, chunk);
  for (size_t source = 0; source < best_.size(); ++source) {
    const uint32_t distance = DistanceOfPublished(transform, source, first[source]);
    if (best_[source] && distance >= best_[source]->distance) continue;
    best_[source] = {.training_index = first[source], .transform = index, .distance = distance, .draw = transform.draw};
  }
}

void AffineSearch::KeepFewestBits(const Transform& transform, int64_t chunk, absl::Span<const uint64_t> images) {
  const std::vector<uint8_t>& labels = training_->data().labels;
  const int64_t begin = chunk * kChunkImages;
  const int64_t count = std::min(kChunkImages, static_cast<int64_t>(labels.size()) - begin);
  std::array<uint16_t, kChunkImages> distances;
  for (size_t source = 0; source < best_.size(); ++source) {
    HammingDistances(words_, source_bits_.data() + source * static_cast<size_t>(words_), images.data(),
                     distances.data());
    uint32_t least = best_[source] ? best_[source]->distance : std::numeric_limits<uint32_t>::max();
    if (SmallestOf(distances) >= least) continue;
    for (int64_t i = 0; i < count; ++i) {
      const size_t image = static_cast<size_t>(begin + i);
      if (distances[static_cast<size_t>(i)] >= least || labels[image] == source_labels_[source] ||
          !(KeptShare(transform, begin + i) > options_.kept_mass)) {
        continue;
      }
      least = distances[static_cast<size_t>(i)];
      best_[source] = {.training_index = static_cast<uint32_t>(image),
                       .transform = transform.index,
                       .distance = least,
                       .draw = transform.draw};
    }
  }
}

double AffineSearch::KeptShare(const Transform& transform, int64_t image) const {
  double kept = 0, mass = 0;
  for (int64_t pixel = 0; pixel < training_->pixels(); ++pixel) {
    if (!training_->pixel(image, pixel)) continue;
    kept += transform.kept[static_cast<size_t>(pixel)];
    mass += 1;
  }
  return kept / mass;  // NaN for a black image, which keeps nothing
}

void AffineSearch::KeepPublished(const Transform& transform, std::vector<float>& least, std::vector<uint32_t>& first,
                                 int64_t chunk) {
  constexpr float kPenalty = 1000;
  constexpr size_t kLanes = 64;  // images at once
  const size_t pixels = static_cast<size_t>(training_->pixels());
  const std::vector<uint8_t>& labels = training_->data().labels;
  const uint64_t* const bits = training_->chunk(chunk);
  std::vector<float> values(pixels * kLanes);
  for (size_t word = 0; word < kChunkWords; ++word) {
    const size_t begin = static_cast<size_t>(chunk * kChunkImages) + word * kLanes;
    if (begin >= labels.size()) return;
    const size_t count = std::min(kLanes, labels.size() - begin);
    std::array<float, kLanes> norms = {};
    for (size_t pixel = 0; pixel < pixels; ++pixel) {
      const PixelFunction& function = transform.functions[pixel];
      std::array<uint64_t, 4> taps;
      for (size_t i = 0; i < 4; ++i) taps[i] = bits[static_cast<size_t>(function.pixel[i]) * kChunkWords + word];
      for (size_t lane = 0; lane < kLanes; ++lane) {
        const size_t entry = (taps[0] >> lane & 1) | (taps[1] >> lane & 1) << 1 | (taps[2] >> lane & 1) << 2 |
                             (taps[3] >> lane & 1) << 3;
        const float value = transform.values[pixel][entry];
        values[pixel * kLanes + lane] = value;
        norms[lane] += value * value;
      }
    }
    for (size_t lane = 0; lane < count; ++lane) {
      if (!(KeptShare(transform, static_cast<int64_t>(begin + lane)) > options_.kept_mass)) norms[lane] += kPenalty;
    }
    for (size_t source = 0; source < best_.size(); ++source) {
      std::array<float, kLanes> products = {};
      for (size_t pixel = 0; pixel < pixels; ++pixel) {
        if (!SourcePixel(source, static_cast<int64_t>(pixel))) continue;
        for (size_t lane = 0; lane < kLanes; ++lane) products[lane] += values[pixel * kLanes + lane];
      }
      for (size_t lane = 0; lane < count; ++lane) {
        const float score =
            norms[lane] - 2 * products[lane] + (labels[begin + lane] == source_labels_[source] ? kPenalty : 0);
        if (score >= least[source]) continue;
        least[source] = score;
        first[source] = static_cast<uint32_t>(begin + lane);
      }
    }
  }
}

uint32_t AffineSearch::DistanceOfPublished(const Transform& transform, size_t source, uint32_t image) const {
  uint32_t distance = 0;
  for (int64_t pixel = 0; pixel < training_->pixels(); ++pixel) {
    const PixelFunction& function = transform.functions[static_cast<size_t>(pixel)];
    int entry = 0;
    for (size_t i = 0; i < 4; ++i) entry |= int{training_->pixel(image, function.pixel[i])} << i;
    distance += ((function.table >> entry & 1) != 0) != SourcePixel(source, pixel);
  }
  return distance;
}

}  // namespace tightrope
