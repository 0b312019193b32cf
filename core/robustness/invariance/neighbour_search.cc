#include "core/robustness/invariance/neighbour_search.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/robustness/invariance/bound_kernels.h"
#include "core/robustness/invariance/pixel_kernels.h"

namespace tightrope {
namespace {

constexpr int64_t kDirections = 64, kCoarse = 16;

// How much bounds are lowered, relative to the sum S of the two squared norms. A product of K = 65 terms, its rounded
// factors and the two offsets are wrong by at most (2K + 8)·2^-24·S/2 in half a squared distance.
constexpr double kMargin = (kDirections + 16) * 0x1p-22;

// Groups of transforms that a panel of images is compared with while it is in the cache.
constexpr int64_t kGroupsAtOnce = 8;

constexpr float kNever = std::numeric_limits<float>::infinity();  // an offset that nothing comes near

float HalfNorm(double squared_norm) { return static_cast<float>((1 - kMargin) * squared_norm / 2); }

absl::Status CheckTraining(const Dataset& data) {
  const uint64_t elements = uint64_t{data.channels} * data.height * data.width;
  if (data.count == 0 || elements == 0 || data.pixels.size() != data.count * elements ||
      data.labels.size() != data.count || data.count > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("the training images can't be searched: their shape is ", data.count,
                                                   "×", data.channels, "×", data.height, "×", data.width, ", with ",
                                                   data.pixels.size(), " pixels and ", data.labels.size(),
                                                   " labels; give at least one image, and arrays of that shape"));
  }
  return absl::OkStatus();
}

absl::Status CheckGrid(absl::Span<const RotationAndShift> grid) {
  if (grid.empty()) {
    return absl::InvalidArgumentError(
        "the grid of transforms is empty; give at least the identity, 0 pixels and 0 degrees");
  }
  for (size_t i = 0; i < grid.size(); ++i) {
    const RotationAndShift& move = grid[i];
    if (!std::isfinite(move.down) || !std::isfinite(move.right) || !(std::abs(move.degrees) <= 1e6)) {
      return absl::InvalidArgumentError(absl::StrCat("point ", i, " of the grid is no transform: ", move.down,
                                                     " pixels down, ", move.right, " to the right, ", move.degrees,
                                                     " degrees; give finite values, and degrees of at most a million"));
    }
  }
  return absl::OkStatus();
}

double ShiftOf(const RotationAndShift& move) { return std::abs(move.down) + std::abs(move.right); }

// The order in which transforms stand in groups, each of which is tried as one: neighbours on the grid together, and
// first the mild shifts, which are near to many images.
std::vector<uint32_t> AlikeTogether(absl::Span<const RotationAndShift> grid) {
  std::vector<uint32_t> order(grid.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const auto place = [&](uint32_t i) {
      return std::tuple(ShiftOf(grid[i]), grid[i].down, grid[i].right, grid[i].degrees);
    };
    return place(a) < place(b);
  });
  return order;
}

// Orders [begin, end) such that the images of a panel are alike: halves at the median of the number that varies most,
// then halves of these, until they are panels. `numbers` has `dimensions` an image, of which the first `used` are
// looked at.
void OrderAlike(uint32_t* begin, uint32_t* end, const std::vector<float>& numbers, size_t dimensions, size_t used) {
  if (end - begin <= kPanelRows) return;
  const auto number = [&](uint32_t image, size_t d) { return numbers[image * dimensions + d]; };
  size_t widest = 0;
  double most = -1;
  for (size_t d = 0; d < used; ++d) {
    double sum = 0, squares = 0;
    for (const uint32_t* i = begin; i != end; ++i) {
      sum += double{number(*i, d)};
      squares += double{number(*i, d)} * double{number(*i, d)};
    }
    const double variation = squares - sum * sum / static_cast<double>(end - begin);
    if (variation > most) {
      most = variation;
      widest = d;
    }
  }
  const int64_t panels = (end - begin + kPanelRows - 1) / kPanelRows;
  uint32_t* const middle = begin + panels / 2 * kPanelRows;
  std::nth_element(begin, middle, end, [&](uint32_t a, uint32_t b) {
    return std::pair(number(a, widest), a) < std::pair(number(b, widest), b);
  });
  OrderAlike(begin, middle, numbers, dimensions, used);
  OrderAlike(middle, end, numbers, dimensions, used);
}

}  // namespace

// The transforms of one source, in groups of kPanelQueries as NearPanel reads them.
struct NeighbourSearch::Queries {
  std::vector<uint8_t> pixels;       // in the order of the grid
  std::vector<uint32_t> grid_index;  // of each query in the order in which they are tried
  std::vector<float> numbers;        // [group][dimension][query]
  std::vector<float> offsets;        // [group][query]
  int64_t mildest_group = 0;         // where the transform is that changes the source least
};

struct NeighbourSearch::Candidate {
  float closeness;
  uint32_t query, image;  // in the order of Queries and of ClassImages
};

struct NeighbourSearch::Found {
  ClassNeighbour best;
  bool any = false;
  uint64_t distances = 0;

  // What NearPanel's closeness must reach for a distance that is at most the best.
  float Least() const {
    return any ? -static_cast<float>(best.squared_distance) / 2 : std::numeric_limits<float>::lowest();
  }
  void Offer(const ClassNeighbour& candidate) {
    const auto rank = [](const ClassNeighbour& n) {
      return std::tuple(n.squared_distance, n.grid_index, n.training_index);
    };
    ++distances;
    if (!any || rank(candidate) < rank(best)) best = candidate;
    any = true;
  }
};

absl::StatusOr<NeighbourSearch> NeighbourSearch::Create(const Dataset& training) {
  if (absl::Status status = CheckTraining(training); !status.ok()) return status;
  return NeighbourSearch(training);
}

NeighbourSearch::NeighbourSearch(const Dataset& training)
    : training_(&training), directions_(training, kDirections, kCoarse) {
  const int64_t dimensions = directions_.dimensions();
  std::vector<float> numbers(training.count * static_cast<size_t>(dimensions));
  std::vector<double> norms(training.count);
  directions_.Coordinates(training.pixels.data(), static_cast<int64_t>(training.count), absl::MakeSpan(numbers),
                          absl::MakeSpan(norms));
  std::array<std::vector<uint32_t>, 256> members;
  for (uint32_t i = 0; i < training.count; ++i) members[training.labels[i]].push_back(i);
  for (size_t label = 0; label < members.size(); ++label) {
    if (members[label].empty()) continue;
    ClassImages& images = classes_.emplace_back();
    images.label = static_cast<uint8_t>(label);
    images.indices = std::move(members[label]);
    OrderAlike(images.indices.data(), images.indices.data() + images.indices.size(), numbers,
               static_cast<size_t>(dimensions), kCoarse);
    const size_t panels = (images.indices.size() + kPanelRows - 1) / kPanelRows;
    images.numbers.resize(panels * kPanelRows * static_cast<size_t>(dimensions));
    images.offsets.resize(panels * kPanelRows, kNever);
    for (size_t i = 0; i < images.indices.size(); ++i) {
      const float* const row = numbers.data() + images.indices[i] * static_cast<size_t>(dimensions);
      float* const panel = images.numbers.data() + i / kPanelRows * kPanelRows * static_cast<size_t>(dimensions);
      for (int64_t d = 0; d < dimensions; ++d) panel[d * kPanelRows + static_cast<int64_t>(i % kPanelRows)] = row[d];
      images.offsets[i] = HalfNorm(norms[images.indices[i]]);
    }
  }
}

absl::Span<const uint8_t> NeighbourSearch::TrainingImage(uint32_t index) const {
  const size_t elements = training_->pixels.size() / training_->count;
  return absl::MakeConstSpan(training_->pixels).subspan(index * elements, elements);
}

NeighbourSearch::Queries NeighbourSearch::Prepare(absl::Span<const uint8_t> image,
                                                  absl::Span<const RotationAndShift> grid) const {
  Queries queries;
  queries.pixels = TransformedOverGrid(image, training_->channels, training_->height, training_->width, grid);
  queries.grid_index = AlikeTogether(grid);
  const size_t dimensions = static_cast<size_t>(directions_.dimensions());
  std::vector<float> numbers(grid.size() * dimensions);
  std::vector<double> norms(grid.size());
  directions_.Coordinates(queries.pixels.data(), static_cast<int64_t>(grid.size()), absl::MakeSpan(numbers),
                          absl::MakeSpan(norms));
  const size_t groups = (grid.size() + kPanelQueries - 1) / kPanelQueries;
  queries.numbers.resize(groups * kPanelQueries * dimensions);
  queries.offsets.resize(groups * kPanelQueries, kNever);
  for (size_t i = 0; i < grid.size(); ++i) {
    const float* const row = numbers.data() + queries.grid_index[i] * dimensions;
    float* const group = queries.numbers.data() + i / kPanelQueries * kPanelQueries * dimensions;
    for (size_t d = 0; d < dimensions; ++d) group[d * kPanelQueries + i % kPanelQueries] = row[d];
    queries.offsets[i] = HalfNorm(norms[queries.grid_index[i]]);
  }
  const auto mildest =
      std::min_element(queries.grid_index.begin(), queries.grid_index.end(), [&](uint32_t a, uint32_t b) {
        return std::pair(ShiftOf(grid[a]), std::abs(grid[a].degrees)) <
               std::pair(ShiftOf(grid[b]), std::abs(grid[b].degrees));
      });
  queries.mildest_group = (mildest - queries.grid_index.begin()) / kPanelQueries;
  return queries;
}

void NeighbourSearch::SearchGroups(const ClassImages& images, const Queries& queries, int64_t begin, int64_t end,
                                   Found& found) const {
  std::vector<Candidate> candidates;
  const int64_t dimensions = directions_.dimensions();
  const int64_t panels = static_cast<int64_t>(images.offsets.size()) / kPanelRows;
  const float least = found.Least();
  float closeness[kPanelQueries][kPanelRows];
  uint32_t near[kPanelQueries];
  for (int64_t panel = 0; panel < panels; ++panel) {
    for (int64_t group = begin; group < end; ++group) {
      const Panel block = {.candidates = images.numbers.data() + panel * kPanelRows * dimensions,
                           .candidate_offsets = images.offsets.data() + panel * kPanelRows,
                           .queries = queries.numbers.data() + group * kPanelQueries * dimensions,
                           .query_offsets = queries.offsets.data() + group * kPanelQueries};
      if (!NearPanel(dimensions, kCoarse, block, least, closeness, near)) continue;
      for (int64_t q = 0; q < kPanelQueries; ++q) {
        for (uint32_t bits = near[q]; bits != 0; bits &= bits - 1) {
          const int row = std::countr_zero(bits);
          const Candidate candidate = {.closeness = closeness[q][row],
                                       .query = static_cast<uint32_t>(group * kPanelQueries + q),
                                       .image = static_cast<uint32_t>(panel * kPanelRows + row)};
          if (found.any || candidates.empty()) {
            candidates.push_back(candidate);
          } else if (candidate.closeness > candidates.front().closeness) {
            candidates.front() = candidate;
          }
        }
      }
    }
  }
  // The most promising one first: it usually decides against nearly all others.
  const auto nearer = [](const Candidate& a, const Candidate& b) { return a.closeness > b.closeness; };
  if (candidates.empty()) return;
  std::swap(candidates.front(), *std::min_element(candidates.begin(), candidates.end(), nearer));
  Compare(images, queries, candidates.front().query, candidates.front().image, found);
  candidates.front() = candidates.back();
  candidates.pop_back();
  std::erase_if(candidates, [&found](const Candidate& candidate) { return candidate.closeness < found.Least(); });
  std::sort(candidates.begin(), candidates.end(), nearer);
  for (const Candidate& candidate : candidates) {
    if (candidate.closeness < found.Least()) return;
    Compare(images, queries, candidate.query, candidate.image, found);
  }
}

void NeighbourSearch::Compare(const ClassImages& images, const Queries& queries, uint32_t query, uint32_t image,
                              Found& found) const {
  const size_t elements = training_->pixels.size() / training_->count;
  const uint32_t index = images.indices[image], point = queries.grid_index[query];
  found.Offer(
      {.label = images.label,
       .training_index = index,
       .grid_index = point,
       .squared_distance = SquaredDistance(static_cast<int64_t>(elements), queries.pixels.data() + point * elements,
                                           training_->pixels.data() + index * elements)});
}

absl::StatusOr<NearestImages> NeighbourSearch::Nearest(absl::Span<const uint8_t> image, std::optional<uint8_t> except,
                                                       absl::Span<const RotationAndShift> grid) const {
  const size_t elements = training_->pixels.size() / training_->count;
  if (image.size() != elements) {
    return absl::InvalidArgumentError(absl::StrCat("the image has ", image.size(), " pixels and the training images ",
                                                   elements, "; give images of one shape"));
  }
  if (absl::Status status = CheckGrid(grid); !status.ok()) return status;
  const Queries queries = Prepare(image, grid);
  const int64_t groups = static_cast<int64_t>(queries.offsets.size()) / kPanelQueries;
  NearestImages nearest;
  for (const ClassImages& images : classes_) {
    if (images.label == except) continue;
    Found found;
    SearchGroups(images, queries, queries.mildest_group, queries.mildest_group + 1, found);
    for (int64_t group = 0; group < groups; group += kGroupsAtOnce) {
      SearchGroups(images, queries, group, std::min(group + kGroupsAtOnce, groups), found);
    }
    nearest.neighbours.push_back(found.best);
    nearest.distances_computed += found.distances;
  }
  return nearest;
}

}  // namespace tightrope
