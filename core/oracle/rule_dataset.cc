#include "core/oracle/rule_dataset.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/random/random_stream.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr uint64_t kMaxPixels = uint64_t{1} << 30;
constexpr uint32_t kMaxDimension = 1 << 16;
constexpr uint32_t kLevels = 128;  // on each side of 1/2

absl::Status OutOfRange(absl::string_view name, absl::string_view range, double got) {
  return absl::InvalidArgumentError(absl::StrCat(name, " must be ", range, "; got ", got));
}

RandomStream::At At(uint64_t index, uint32_t step) {
  return {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), step};
}

// Uniform in [0, 1), multiples of 2^-48: two draws each.
std::vector<double> FineUniform(const RandomStream& stream, RandomStream::At at, size_t count) {
  std::vector<float> draws(2 * count);
  stream.Uniform(at, absl::MakeSpan(draws));
  std::vector<double> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = static_cast<double>(draws[2 * i]) + 0x1p-24 * static_cast<double>(draws[2 * i + 1]);
  }
  return values;
}

double Threshold(const ConcentricSpheres& spheres) {
  return spheres.threshold > 0 ? spheres.threshold : (spheres.inner + spheres.outer) / 2;
}

// Squared radius at which the label changes, in units of (1/510)²: there an image in grey levels has the square
// Σ (2·pixel − 255)², a sum of `dimension` odd squares, which is `dimension` modulo 8. This lies halfway between two.
int64_t LabelSquare(const ConcentricSpheres& spheres) {
  const double radius = Threshold(spheres);
  const double wanted = 510 * radius * 510 * radius;
  const double steps = std::max(0.0, std::floor((wanted - spheres.dimension) / 8));
  return int64_t{spheres.dimension} + 8 * static_cast<int64_t>(steps) + 4;
}

absl::Status Check(const ConcentricSpheres& spheres) {
  if (spheres.dimension < 2 || spheres.dimension > kMaxDimension) {
    return OutOfRange("dimension", absl::StrCat("from 2 to ", kMaxDimension), spheres.dimension);
  }
  if (!(spheres.inner > 0 && spheres.inner < 0.5)) return OutOfRange("inner", "above 0 and below 0.5", spheres.inner);
  if (!(spheres.outer > spheres.inner && spheres.outer <= 0.5)) {
    return OutOfRange("outer", absl::StrCat("above inner, ", spheres.inner, ", and at most 0.5"), spheres.outer);
  }
  if (spheres.threshold != 0 && !(spheres.threshold > spheres.inner && spheres.threshold < spheres.outer)) {
    return OutOfRange(
        "threshold",
        absl::StrCat("between inner, ", spheres.inner, ", and outer, ", spheres.outer, ", or 0 for halfway"),
        spheres.threshold);
  }
  // Rounding moves each feature by half a grey level at most; LabelRadius moves the threshold by less than `moved`.
  const double threshold = Threshold(spheres);
  const double moved = 4 / (510 * 510 * threshold);
  const double room = 510 * (std::min(threshold - spheres.inner, spheres.outer - threshold) - moved);
  if (room > 0 && spheres.dimension < room * room) return absl::OkStatus();
  const double largest = room > 0 ? std::ceil(room * room) - 1 : 0;
  return absl::InvalidArgumentError(absl::StrCat(
      "rounding to grey levels could carry a point over the threshold; put the radii further apart",
      largest < 2 ? "" : absl::StrCat(" or write a dimension of at most ", largest), ": got inner ", spheres.inner,
      ", threshold ", threshold, ", outer ", spheres.outer, ", dimension ", spheres.dimension));
}

absl::Status CheckLevels(absl::string_view feature, uint32_t nearest, uint32_t farthest) {
  if (nearest <= farthest && farthest < kLevels) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("levels must be 0 <= ", feature, "_nearest <= ", feature,
                                                 "_farthest < ", kLevels, "; got ", nearest, " and ", farthest));
}

absl::Status Check(const OverlyRobustFeature& parameters) {
  if (!(parameters.agreement >= 0.5 && parameters.agreement <= 1)) {
    return OutOfRange("agreement", "from 0.5 to 1", parameters.agreement);
  }
  ABSL_RETURN_IF_ERROR(CheckLevels("oracle", parameters.oracle_nearest, parameters.oracle_farthest));
  return CheckLevels("robust", parameters.robust_nearest, parameters.robust_farthest);
}

class Spheres : public RuleDataset {
 public:
  Spheres(const ConcentricSpheres& parameters, uint64_t seed)
      : parameters_(parameters), stream_(seed, "concentric-spheres", "rule-data"), square_(LabelSquare(parameters)) {}

  uint32_t features() const override { return parameters_.dimension; }

  void Draw(uint64_t index, absl::Span<float> features) const override {
    const bool outside = FineUniform(stream_, At(index, 0), 1)[0] < 0.5;
    std::vector<double> direction = Direction(index);
    double square = 0;
    for (size_t i = 0; i < features.size(); ++i) square += direction[i] * direction[i];
    if (square == 0) square = direction[0] = 1;  // all that is left of an odd dimension's last pair
    const double scale = (outside ? parameters_.outer : parameters_.inner) / std::sqrt(square);
    for (size_t i = 0; i < features.size(); ++i) {
      features[i] = static_cast<float>(std::clamp(0.5 + scale * direction[i], 0.0, 1.0));
    }
  }

  int32_t Label(absl::Span<const float> features) const override {
    double square = 0;
    for (const float value : features) {
      const double offset = 510 * static_cast<double>(value) - 255;
      square += offset * offset;
    }
    if (std::isnan(square)) return kNoneOfThese;
    return square > static_cast<double>(square_) ? 1 : 0;
  }

  int32_t LabelOfPixels(absl::Span<const uint8_t> pixels) const override {
    int64_t square = 0;
    for (const uint8_t pixel : pixels) {
      const int64_t offset = 2 * int64_t{pixel} - 255;
      square += offset * offset;
    }
    return square > square_ ? 1 : 0;
  }

 private:
  // A uniform direction in an even number of dimensions, of length 1, without a logarithm or an angle, whose last bits
  // differ from library to library: the squared lengths of the pairs of coordinates are the spacings of uniform order
  // statistics (Devroye 1986, chapter V, section 2: uniform on the simplex), and a pair's direction is that of a point
  // in the unit disc (von Neumann's rejection). For an odd dimension the last coordinate is dropped; what is left still
  // has a uniform direction.
  std::vector<double> Direction(uint64_t index) const {
    const size_t pairs = (parameters_.dimension + 1) / 2;
    std::vector<double> cuts = FineUniform(stream_, At(index, 1), pairs - 1);
    cuts.push_back(1);
    std::sort(cuts.begin(), cuts.end());
    std::vector<double> direction(2 * pairs);
    size_t missing = pairs;
    std::vector<bool> found(pairs, false);
    std::vector<float> draws(2 * pairs);
    for (uint32_t step = 2; missing > 0; ++step) {
      stream_.Uniform(At(index, step), absl::MakeSpan(draws));
      for (size_t pair = 0; pair < pairs; ++pair) {
        if (found[pair]) continue;
        // From the middles of a grid on the square, so that no side is preferred.
        const double x = 2 * static_cast<double>(draws[2 * pair]) - 1 + 0x1p-24;
        const double y = 2 * static_cast<double>(draws[2 * pair + 1]) - 1 + 0x1p-24;
        const double square = x * x + y * y;
        if (square > 1) continue;
        const double length = std::sqrt((cuts[pair] - (pair > 0 ? cuts[pair - 1] : 0)) / square);
        direction[2 * pair] = length * x;
        direction[2 * pair + 1] = length * y;
        found[pair] = true;
        --missing;
      }
    }
    return direction;
  }

  const ConcentricSpheres parameters_;
  const RandomStream stream_;
  const int64_t square_;
};

class TwoFeatures : public RuleDataset {
 public:
  TwoFeatures(const OverlyRobustFeature& parameters, uint64_t seed)
      : parameters_(parameters), stream_(seed, "overly-robust-feature", "rule-data") {}

  uint32_t features() const override { return 2; }

  void Draw(uint64_t index, absl::Span<float> features) const override {
    const std::vector<double> draws = FineUniform(stream_, At(index, 0), 4);
    const bool label = draws[0] < 0.5;
    const bool agrees = draws[1] < parameters_.agreement;
    features[0] = Feature(label, Level(parameters_.oracle_nearest, parameters_.oracle_farthest, draws[2]));
    features[1] = Feature(label == agrees, Level(parameters_.robust_nearest, parameters_.robust_farthest, draws[3]));
  }

  int32_t Label(absl::Span<const float> features) const override {
    if (std::isnan(features[0]) || std::isnan(features[1])) return kNoneOfThese;
    return features[0] > 0.5f ? 1 : 0;
  }

  int32_t LabelOfPixels(absl::Span<const uint8_t> pixels) const override { return pixels[0] >= kLevels ? 1 : 0; }

 private:
  static uint32_t Level(uint32_t nearest, uint32_t farthest, double draw) {
    return nearest + static_cast<uint32_t>(draw * (farthest - nearest + 1));
  }

  static float Feature(bool above, uint32_t level) {
    return static_cast<float>(above ? kLevels + level : kLevels - 1 - level) / 255;
  }

  const OverlyRobustFeature parameters_;
  const RandomStream stream_;
};

class RuleOracle : public Oracle {
 public:
  explicit RuleOracle(const RuleDataset& rule) : rule_(rule) {}

  absl::StatusOr<std::vector<int32_t>> Label(const OracleQuestions& questions) const override {
    ABSL_RETURN_IF_ERROR(CheckQuestions(questions, rule_.features()));
    std::vector<int32_t> labels;
    for (size_t i = 0; i < questions.examples.size(); ++i) {
      labels.push_back(rule_.Label(questions.images.subspan(i * rule_.features(), rule_.features())));
    }
    return labels;
  }

 private:
  const RuleDataset& rule_;
};

std::string BigEndian(std::initializer_list<uint32_t> words) {
  std::string bytes;
  for (const uint32_t word : words) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(word >> shift & 0xff);
  }
  return bytes;
}

}  // namespace

absl::StatusOr<std::unique_ptr<RuleDataset>> MakeRuleDataset(const ConcentricSpheres& spheres, uint64_t seed) {
  ABSL_RETURN_IF_ERROR(Check(spheres)) << "concentric spheres";
  return std::make_unique<Spheres>(spheres, seed);
}

absl::StatusOr<std::unique_ptr<RuleDataset>> MakeRuleDataset(const OverlyRobustFeature& parameters, uint64_t seed) {
  ABSL_RETURN_IF_ERROR(Check(parameters)) << "overly-robust feature";
  return std::make_unique<TwoFeatures>(parameters, seed);
}

double LabelRadius(const ConcentricSpheres& spheres) {
  return std::sqrt(static_cast<double>(LabelSquare(spheres))) / 510;
}

std::vector<uint8_t> ToPixels(absl::Span<const float> features) {
  std::vector<uint8_t> pixels;
  for (const float value : features) {
    pixels.push_back(static_cast<uint8_t>(std::floor(255 * static_cast<double>(value) + 0.5)));
  }
  return pixels;
}

absl::StatusOr<Dataset> DrawDataset(const RuleDataset& rule, uint64_t begin, uint64_t end) {
  if (begin >= end || end - begin > kMaxPixels / rule.features()) {
    return absl::InvalidArgumentError(absl::StrCat("a range of examples must have from 1 to ",
                                                   kMaxPixels / rule.features(), " of them; got [", begin, ", ", end,
                                                   ")"));
  }
  Dataset data;
  data.count = end - begin;
  data.channels = data.height = 1;
  data.width = rule.features();
  data.classes = 2;
  data.pixels.reserve(data.count * rule.features());
  std::vector<float> features(rule.features());
  for (uint64_t index = begin; index < end; ++index) {
    rule.Draw(index, absl::MakeSpan(features));
    const std::vector<uint8_t> pixels = ToPixels(features);
    data.pixels.insert(data.pixels.end(), pixels.begin(), pixels.end());
    data.labels.push_back(static_cast<uint8_t>(rule.LabelOfPixels(pixels)));
  }
  return data;
}

IdxFiles ToIdx(const Dataset& data) {
  const auto count = static_cast<uint32_t>(data.count);
  IdxFiles files{BigEndian({0x803, count, data.height, data.width}), BigEndian({0x801, count})};
  files.images.append(data.pixels.begin(), data.pixels.end());
  files.labels.append(data.labels.begin(), data.labels.end());
  return files;
}

std::unique_ptr<Oracle> MakeRuleOracle(const RuleDataset& rule) { return std::make_unique<RuleOracle>(rule); }

}  // namespace tightrope
