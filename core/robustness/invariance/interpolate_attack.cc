#include "core/robustness/invariance/interpolate_attack.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/robustness/invariance/input_values.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// How far inside the l2 and l1 balls a norm must be, relative to the radius, for a reader who adds in another order to
// find it inside as well. As Ball has it.
constexpr double kOrderOfSums = 1e-12;

// Of norms as DistanceFrom computes them, the largest that counts as inside.
double Reach(v1::Norm norm, double epsilon) {
  if (norm != v1::NORM_LINF) return epsilon * (1 - kOrderOfSums);
  // A difference that is at most a float32 radius is so in float32, too. No two pixels are farther apart than 1.
  const double radius = std::min(epsilon, 1.0);
  const float rounded = static_cast<float>(radius);
  return rounded > radius ? std::nextafter(rounded, 0.0f) : rounded;
}

double DistanceFrom(absl::Span<const uint8_t> source, absl::Span<const float> point, v1::Norm norm) {
  const v1::ExampleRecord::Nearest distances = InputDistances(InputValues(source), point);
  return norm == v1::NORM_LINF ? distances.linf() : norm == v1::NORM_L2 ? distances.l2() : distances.l1();
}

// The distance of two images in grey levels, of l2 the square.
int64_t GreyLevels(absl::Span<const uint8_t> a, absl::Span<const uint8_t> b, v1::Norm norm) {
  int64_t largest = 0, squares = 0, sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const int64_t difference = std::abs(int64_t{a[i]} - int64_t{b[i]});
    largest = std::max(largest, difference);
    squares += difference * difference;
    sum += difference;
  }
  return norm == v1::NORM_LINF ? largest : norm == v1::NORM_L2 ? squares : sum;
}

// The largest share of the way that stays within `reach`. The doubles from 0 to 1 are in the order of their bits, so
// that sixty-two halvings find the very last one.
double LargestShare(absl::Span<const uint8_t> source, absl::Span<const uint8_t> target, v1::Norm norm, double reach) {
  const auto inside = [&](double share) {
    return DistanceFrom(source, PointBetween(source, target, share), norm) <= reach;
  };
  if (inside(1)) return 1;
  uint64_t low = std::bit_cast<uint64_t>(0.0), high = std::bit_cast<uint64_t>(1.0);  // inside; outside
  while (high - low > 1) {
    const uint64_t middle = low + (high - low) / 2;
    (inside(std::bit_cast<double>(middle)) ? low : high) = middle;
  }
  return std::bit_cast<double>(low);
}

absl::Status CheckBall(const InterpolateAttackOptions& options) {
  if (options.norm != v1::NORM_LINF && options.norm != v1::NORM_L2 && options.norm != v1::NORM_L1) {
    return absl::InvalidArgumentError(absl::StrCat("the interpolating attack has no ball in the norm ",
                                                   v1::Norm_Name(options.norm), "; give linf, l2 or l1"));
  }
  if (!(options.epsilon > 0 && std::isfinite(options.epsilon))) {
    return absl::InvalidArgumentError(
        absl::StrCat("the radius of the interpolating attack is ", options.epsilon, "; give one above 0"));
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<float> PointBetween(absl::Span<const uint8_t> source, absl::Span<const uint8_t> target, double share) {
  const std::vector<float> from = InputValues(source), to = InputValues(target);
  std::vector<float> point(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    // Pixels differ by a double exactly, so the end of the way is the target to the bit.
    const double x = from[i], t = to[i];
    point[i] = static_cast<float>(x + share * (t - x));
  }
  return point;
}

absl::StatusOr<InterpolatedExample> InterpolatedExampleFrom(absl::Span<const uint8_t> source, uint8_t label,
                                                            absl::Span<const ClassNeighbour> neighbours,
                                                            absl::Span<const std::vector<uint8_t>> images,
                                                            const InterpolateAttackOptions& options) {
  ABSL_RETURN_IF_ERROR(CheckBall(options));
  std::optional<size_t> nearest;
  int64_t least = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < neighbours.size(); ++i) {
    if (!MayBecome(options.targets, label, neighbours[i].label)) continue;
    const int64_t distance = GreyLevels(source, images[i], options.norm);
    if (distance >= least) continue;
    least = distance;
    nearest = i;
  }
  if (!nearest) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no training image of a class that an example of class ", label,
                     " may be turned into; allow other target classes, or give more training images"));
  }
  const double reach = Reach(options.norm, options.epsilon);
  InterpolatedExample example;
  example.neighbour = neighbours[*nearest];
  example.share = LargestShare(source, images[*nearest], options.norm, reach);
  example.pixels = PointBetween(source, images[*nearest], example.share);
  example.distance = DistanceFrom(source, example.pixels, options.norm);
  return example;
}

absl::StatusOr<std::vector<InterpolatedExample>> InterpolateAttack(const NeighbourSearch& search,
                                                                   const Dataset& sources, uint64_t begin, uint64_t end,
                                                                   absl::Span<const RotationAndShift> grid,
                                                                   const InterpolateAttackOptions& options) {
  const size_t elements = size_t{sources.channels} * sources.height * sources.width;
  if (begin >= end || end > sources.count || sources.pixels.size() != sources.count * elements ||
      sources.labels.size() != sources.count) {
    return absl::InvalidArgumentError(absl::StrCat("there are no examples [", begin, ", ", end, ") in a data set of ",
                                                   sources.count, " examples; give a range that it holds"));
  }
  ABSL_RETURN_IF_ERROR(CheckBall(options));
  ABSL_RETURN_IF_ERROR(CheckTargets(options.targets, std::max(sources.classes, search.training().classes)));
  const RotationAndShift as_it_is{};
  const absl::Span<const RotationAndShift> moves = options.transformed ? grid : absl::MakeConstSpan(&as_it_is, 1);
  std::vector<InterpolatedExample> examples;
  for (uint64_t i = begin; i < end; ++i) {
    const auto source = absl::MakeConstSpan(sources.pixels).subspan(i * elements, elements);
    absl::StatusOr<NearestImages> nearest = search.Nearest(source, sources.labels[i], moves);
    ABSL_RETURN_IF_ERROR(nearest.status()) << "example " << i;
    std::vector<std::vector<uint8_t>> images;
    for (const ClassNeighbour& neighbour : nearest->neighbours) {
      if (options.transformed) {
        images.push_back(AlignedNeighbour(search, neighbour, moves[neighbour.grid_index]));
      } else {
        const absl::Span<const uint8_t> image = search.TrainingImage(neighbour.training_index);
        images.emplace_back(image.begin(), image.end());
      }
    }
    absl::StatusOr<InterpolatedExample> example =
        InterpolatedExampleFrom(source, sources.labels[i], nearest->neighbours, images, options);
    ABSL_RETURN_IF_ERROR(example.status()) << "example " << i;
    examples.push_back(*std::move(example));
  }
  return examples;
}

}  // namespace tightrope
