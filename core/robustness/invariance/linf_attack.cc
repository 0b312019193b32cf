#include "core/robustness/invariance/linf_attack.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

float Value(uint8_t pixel) { return static_cast<float>(pixel) / 255.0f; }

// The end of the box around `center` on the side of `direction` (±1), as Ball has it.
float BoxEnd(float center, float radius, float direction) {
  float end = center + direction * radius;
  if (std::abs(static_cast<double>(end) - center) > radius) end = std::nextafter(end, center);
  return std::clamp(end, 0.0f, 1.0f);
}

// The largest float that is not above the value.
float RoundedDown(double value) {
  const float rounded = static_cast<float>(value);
  return rounded > value ? std::nextafter(rounded, 0.0f) : rounded;
}

double Removed(absl::Span<const uint8_t> source, absl::Span<const float> moved, bool published_form) {
  double removed = 0;
  for (size_t i = 0; i < source.size(); ++i) {
    // numpy divides bytes in double and float32 in float32.
    const double before = published_form ? source[i] / 255.0 : double{Value(source[i])};
    const double after = published_form ? double{moved[i] / 255.0f} : double{moved[i]};
    removed += std::max(before - after, 0.0);
  }
  return removed;
}

}  // namespace

absl::Status CheckTargets(const TargetTable& targets, uint32_t classes) {
  if (targets.size() > classes) {
    return absl::InvalidArgumentError(absl::StrCat("the table of target classes has ", targets.size(),
                                                   " rows for a data set of ", classes,
                                                   " classes; give at most one row a class"));
  }
  for (size_t from = 0; from < targets.size(); ++from) {
    std::set<uint8_t> seen;
    for (const uint8_t to : targets[from]) {
      const char* wrong = to >= classes             ? "does not exist"
                          : to == from              ? "is the source's own"
                          : !seen.insert(to).second ? "is named twice"
                                                    : nullptr;
      if (wrong == nullptr) continue;
      return absl::InvalidArgumentError(absl::StrCat("in the table of target classes, row ", from, ": the class ", to,
                                                     " ", wrong, "; give other classes below ", classes));
    }
  }
  return absl::OkStatus();
}

bool MayBecome(const TargetTable& targets, uint8_t from, uint8_t to) {
  if (from == to) return false;
  if (from >= targets.size() || targets[from].empty()) return true;
  return std::find(targets[from].begin(), targets[from].end(), to) != targets[from].end();
}

std::vector<uint8_t> AlignedNeighbour(const NeighbourSearch& search, const ClassNeighbour& neighbour,
                                      const RotationAndShift& move) {
  const Dataset& training = search.training();
  return RotatedThenShifted(search.TrainingImage(neighbour.training_index), training.channels, training.height,
                            training.width, move.Negated());
}

std::vector<float> MovedTowards(absl::Span<const uint8_t> source, absl::Span<const uint8_t> target, double epsilon) {
  const float radius = RoundedDown(epsilon);
  std::vector<float> moved(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const float x = Value(source[i]), t = Value(target[i]);
    const float low = BoxEnd(x, radius, -1), high = BoxEnd(x, radius, +1);
    if (t < low || t > high) {
      moved[i] = t < low ? low : high;
    } else {
      moved[i] = source[i] > 0 ? t : x;
    }
  }
  return moved;
}

std::vector<float> MovedTowardsAsPublished(absl::Span<const uint8_t> source, absl::Span<const uint8_t> target,
                                           double epsilon) {
  const float radius = static_cast<float>(epsilon * 255.0);
  const float step = static_cast<float>(epsilon) * 255.0f;  // rounded twice, unlike the radius
  std::vector<float> moved(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const float x = source[i], t = target[i];
    float value = x;
    if (std::abs(t - x) > radius) {
      value += t > x ? step : -step;
    } else if (source[i] > 0) {
      value = t;
    }
    value = std::min(std::max(value, x - radius), x + radius);
    moved[i] = std::min(std::max(value, 0.0f), 255.0f);
  }
  return moved;
}

absl::StatusOr<LinfExample> LinfExampleFrom(absl::Span<const uint8_t> source, uint8_t label,
                                            absl::Span<const ClassNeighbour> neighbours,
                                            absl::Span<const std::vector<uint8_t>> targets,
                                            const LinfAttackOptions& options) {
  if (!(options.epsilon > 0 && options.epsilon <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the radius of the invariance attack is ", options.epsilon, "; give one in (0, 1]"));
  }
  std::optional<LinfExample> best;
  for (size_t i = 0; i < neighbours.size(); ++i) {
    if (!MayBecome(options.targets, label, neighbours[i].label)) continue;
    std::vector<float> moved = options.published_form ? MovedTowardsAsPublished(source, targets[i], options.epsilon)
                                                      : MovedTowards(source, targets[i], options.epsilon);
    const double removed = Removed(source, moved, options.published_form);
    if (!best || removed < best->removed) {
      best = LinfExample{.pixels = std::move(moved), .neighbour = neighbours[i], .removed = removed};
    }
  }
  if (!best) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no training image of a class that an example of class ", label,
                     " may be turned into; allow other target classes, or give more training images"));
  }
  return *std::move(best);
}

absl::StatusOr<std::vector<LinfExample>> LinfAttack(const NeighbourSearch& search, const Dataset& sources,
                                                    uint64_t begin, uint64_t end,
                                                    absl::Span<const RotationAndShift> grid,
                                                    const LinfAttackOptions& options) {
  const size_t elements = size_t{sources.channels} * sources.height * sources.width;
  if (begin >= end || end > sources.count || sources.pixels.size() != sources.count * elements ||
      sources.labels.size() != sources.count) {
    return absl::InvalidArgumentError(absl::StrCat("there are no examples [", begin, ", ", end, ") in a data set of ",
                                                   sources.count, " examples; give a range that it holds"));
  }
  ABSL_RETURN_IF_ERROR(CheckTargets(options.targets, std::max(sources.classes, search.training().classes)));
  std::vector<LinfExample> examples;
  for (uint64_t i = begin; i < end; ++i) {
    const auto source = absl::MakeConstSpan(sources.pixels).subspan(i * elements, elements);
    absl::StatusOr<NearestImages> nearest = search.Nearest(source, sources.labels[i], grid);
    ABSL_RETURN_IF_ERROR(nearest.status()) << "example " << i;
    std::vector<std::vector<uint8_t>> targets;
    for (const ClassNeighbour& neighbour : nearest->neighbours) {
      targets.push_back(AlignedNeighbour(search, neighbour, grid[neighbour.grid_index]));
    }
    absl::StatusOr<LinfExample> example =
        LinfExampleFrom(source, sources.labels[i], nearest->neighbours, targets, options);
    ABSL_RETURN_IF_ERROR(example.status()) << "example " << i;
    examples.push_back(*std::move(example));
  }
  return examples;
}

std::vector<uint8_t> PublishedScalingOfEps03ToEps04(absl::Span<const uint8_t> source, absl::Span<const float> example) {
  constexpr float kScale = static_cast<float>(4.0 / 3.0);
  std::vector<uint8_t> scaled(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    const float x = Value(source[i]), a = example[i] / 255.0f;
    scaled[i] = static_cast<uint8_t>(std::clamp(x + (a - x) * kScale, 0.0f, 1.0f) * 255.0f);
  }
  return scaled;
}

}  // namespace tightrope
