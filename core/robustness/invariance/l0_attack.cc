#include "core/robustness/invariance/l0_attack.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/robustness/invariance/input_values.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// 0 for a pixel that does not differ, else the number of its group, from 1, of at most `most_groups`; −1 where a pixel
// is never replaced.
std::vector<int32_t> Groups(const std::vector<bool>& differs, int64_t height, int64_t width,
                            const L0AttackOptions& options) {
  std::vector<int32_t> groups = PixelClusters(differs, height, width, options.clusters);
  int32_t count = std::max(0, *std::max_element(groups.begin(), groups.end()));
  if (!options.search.published_form && std::find(groups.begin(), groups.end(), -1) != groups.end()) {
    std::replace(groups.begin(), groups.end(), -1, ++count);
  }
  if (count <= options.most_groups) return groups;
  // The largest keep their place, of two alike the first; all others are the last group.
  std::vector<int32_t> order(static_cast<size_t>(count)), sizes(static_cast<size_t>(count) + 1);
  std::iota(order.begin(), order.end(), 1);
  for (const int32_t group : groups) {
    if (group > 0) ++sizes[static_cast<size_t>(group)];
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return sizes[static_cast<size_t>(a)] > sizes[static_cast<size_t>(b)]; });
  std::vector<int32_t> renamed(static_cast<size_t>(count) + 1, options.most_groups);
  std::sort(order.begin(), order.begin() + options.most_groups - 1);
  for (int32_t i = 0; i + 1 < options.most_groups; ++i)
    renamed[static_cast<size_t>(order[static_cast<size_t>(i)])] = i + 1;
  for (int32_t& group : groups) {
    if (group > 0) group = renamed[static_cast<size_t>(group)];
  }
  return groups;
}

}  // namespace

absl::Status CheckL0Options(const L0AttackOptions& options) {
  if (options.most_groups < 1 || options.most_groups > 16) {
    return absl::InvalidArgumentError(absl::StrCat("the l0 invariance attack may choose among ", options.most_groups,
                                                   " groups of pixels; give 1 to 16"));
  }
  if (!(options.clusters.radius >= 0 && options.clusters.radius <= 64)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the radius of a cluster of pixels is ", options.clusters.radius, "; give one in [0, 64]"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<double>> NearestNeighbourScore::Scores(absl::Span<const L0Composite> composites,
                                                                  uint8_t /*source*/, uint8_t target) const {
  const RotationAndShift identity;
  std::vector<double> scores;
  for (const L0Composite& composite : composites) {
    std::vector<uint8_t> pixels;
    pixels.reserve(composite.pixels.size());
    for (const float value : composite.pixels) pixels.push_back(static_cast<uint8_t>(value * 255.0f + 0.5f));
    ABSL_ASSIGN_OR_RETURN(const NearestImages nearest,
                          images_.Nearest(pixels, std::nullopt, absl::MakeConstSpan(&identity, 1)));
    double to_target = std::numeric_limits<double>::infinity(), to_others = std::numeric_limits<double>::max();
    for (const ClassNeighbour& neighbour : nearest.neighbours) {
      double& distance = neighbour.label == target ? to_target : to_others;
      distance = std::min(distance, static_cast<double>(neighbour.squared_distance));
    }
    scores.push_back(to_target - to_others);
  }
  return scores;
}

std::vector<L0Composite> Composites(absl::Span<const uint8_t> source, const BitImages& training,
                                    const AffineCandidate& candidate, const L0AttackOptions& options) {
  const Dataset& data = training.data();
  const bool published = options.search.published_form;
  const AffineMap map = candidate.Map(data, published);
  const std::vector<float> original = InputValues(source);
  std::vector<float> moved = Interpolated(
      BilinearTapsOf(map, data.height, data.width),
      InputValues(absl::MakeConstSpan(data.pixels).subspan(candidate.training_index * source.size(), source.size())));
  std::vector<bool> differs;
  for (size_t i = 0; i < moved.size(); ++i) {
    if (!published) moved[i] = static_cast<float>(Darkened(moved[i], candidate.draw.darkening));
    moved[i] = std::clamp(moved[i], 0.0f, 1.0f);
    differs.push_back(published ? std::abs(moved[i] - original[i]) > 0.5f : (moved[i] > 0.5f) != (original[i] > 0.5f));
  }
  const std::vector<int32_t> groups = Groups(differs, data.height, data.width, options);
  const int32_t count = std::max(0, *std::max_element(groups.begin(), groups.end()));
  const std::vector<BilinearTaps> back = BilinearTapsOf(map.Inverse(), data.height, data.width);
  std::vector<L0Composite> composites;
  for (uint32_t chosen = 1; chosen < uint32_t{1} << count; ++chosen) {
    L0Composite& composite = composites.emplace_back(L0Composite{.pixels = original});
    for (size_t i = 0; i < groups.size(); ++i) {
      if (groups[i] <= 0 || (chosen >> (groups[i] - 1) & 1) == 0) continue;
      composite.pixels[i] = moved[i];
      ++composite.changed;
    }
    composite.aligned = Interpolated(back, composite.pixels);
  }
  return composites;
}

absl::StatusOr<L0Example> L0ExampleFrom(absl::Span<const uint8_t> source, uint8_t label, const BitImages& training,
                                        const std::optional<AffineCandidate>& candidate, const L0AttackOptions& options,
                                        const CompositeScore& score) {
  ABSL_RETURN_IF_ERROR(CheckL0Options(options));
  L0Example example = {.pixels = InputValues(source), .candidate = candidate};
  if (!candidate) return example;
  std::vector<L0Composite> composites = Composites(source, training, *candidate, options);
  if (composites.empty()) return example;
  ABSL_ASSIGN_OR_RETURN(const std::vector<double> scores,
                        score.Scores(composites, label, training.data().labels[candidate->training_index]));
  if (scores.size() != composites.size()) {
    return absl::InternalError(
        absl::StrCat("a score gave ", scores.size(), " numbers for ", composites.size(), " composites; give one each"));
  }
  // Convincing ones before others, then few changes before many; what is not a number convinces nobody.
  const auto better = [&](size_t a, size_t b) {
    const bool convincing_a = scores[a] <= 0, convincing_b = scores[b] <= 0;
    if (convincing_a != convincing_b) return convincing_a;
    if (convincing_a && composites[a].changed != composites[b].changed)
      return composites[a].changed < composites[b].changed;
    return scores[a] < scores[b] || (std::isnan(scores[b]) && !std::isnan(scores[a]));
  };
  size_t best = 0;
  for (size_t i = 1; i < composites.size(); ++i) {
    if (better(i, best)) best = i;
  }
  example.pixels = std::move(composites[best].pixels);
  example.changed = composites[best].changed;
  example.score = scores[best];
  example.convincing = scores[best] <= 0;
  example.composites = static_cast<uint32_t>(composites.size());
  return example;
}

absl::StatusOr<std::vector<L0Example>> L0Attack(const BitImages& training, const Dataset& sources, uint64_t begin,
                                                uint64_t end, const L0AttackOptions& options,
                                                const CompositeScore& score, const RandomStream& stream) {
  ABSL_RETURN_IF_ERROR(CheckL0Options(options));
  ABSL_ASSIGN_OR_RETURN(AffineSearch search,
                        AffineSearch::Create(training, sources, begin, end, options.search, stream));
  search.Run(options.transforms);
  const size_t elements = static_cast<size_t>(training.pixels());
  std::vector<L0Example> examples;
  for (uint64_t i = begin; i < end; ++i) {
    const auto source = absl::MakeConstSpan(sources.pixels).subspan(i * elements, elements);
    absl::StatusOr<L0Example> example =
        L0ExampleFrom(source, sources.labels[i], training, search.best()[i - begin], options, score);
    ABSL_RETURN_IF_ERROR(example.status()) << "example " << i;
    examples.push_back(*std::move(example));
  }
  return examples;
}

}  // namespace tightrope
