#include "core/robustness/alignment/misalignment.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "core/robustness/alignment/rank_table.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// The examples class by class, in each class by index: position → index.
class ClassOrder {
 public:
  explicit ClassOrder(const Dataset& data) : starts_(data.classes + 1), indices_(data.count), positions_(data.count) {
    for (const uint8_t label : data.labels) ++starts_[label + 1];
    for (uint32_t c = 0; c < data.classes; ++c) starts_[c + 1] += starts_[c];
    std::vector<uint32_t> next(starts_.begin(), starts_.end());
    for (uint32_t index = 0; index < data.count; ++index) {
      positions_[index] = next[data.labels[index]]++;
      indices_[positions_[index]] = index;
    }
  }

  uint32_t begin(uint32_t label) const { return starts_[label]; }
  uint32_t end(uint32_t label) const { return starts_[label + 1]; }
  uint32_t index(uint32_t position) const { return indices_[position]; }
  uint32_t position(uint64_t index) const { return positions_[index]; }
  absl::Span<const uint32_t> indices() const { return indices_; }

 private:
  std::vector<uint32_t> starts_;  // [c]: examples of the classes before c
  std::vector<uint32_t> indices_, positions_;
};

// Whether `a` stands before `b` in the list of the most misaligned. That the distances come before the indices makes a
// triple's place follow from its parts' places, also where rounding makes two gaps equal.
bool MoreMisaligned(const MisalignedTriple& a, const MisalignedTriple& b) {
  const auto key = [](const MisalignedTriple& t) {
    return std::make_tuple(-t.gap, -static_cast<int64_t>(t.distance_same), t.distance_other, t.anchor, t.same, t.other);
  };
  return key(a) < key(b);
}

void Keep(std::vector<MisalignedTriple>& list, const MisalignedTriple& triple, size_t most) {
  list.insert(std::upper_bound(list.begin(), list.end(), triple, MoreMisaligned), triple);
  if (list.size() > most) list.pop_back();
}

// The first `most` of `neighbours` by distance, the farthest or the nearest first, then by index.
void KeepFirst(std::vector<Neighbour>& neighbours, size_t most, bool farthest) {
  const auto before = [farthest](const Neighbour& a, const Neighbour& b) {
    if (a.distance != b.distance) return (a.distance < b.distance) != farthest;
    return a.index < b.index;
  };
  most = std::min(most, neighbours.size());
  std::partial_sort(neighbours.begin(), neighbours.begin() + static_cast<ptrdiff_t>(most), neighbours.end(), before);
  neighbours.resize(most);
}

// Takes one row of distances after another.
class AnchorMeasurer {
 public:
  AnchorMeasurer(const ClassOrder& order, Misalignment& result) : order_(order), result_(result) {}

  // `row`: distances from the example `index` of class `label` to all examples, in class order.
  void Add(uint32_t index, uint8_t label, absl::Span<const uint32_t> row) {
    label_ = label;
    position_ = order_.position(index);
    row_ = row;
    CollectSame();
    AnchorRecord record{.index = index, .label = label};
    const size_t first_class = result_.nearest_by_class.size();
    for (uint32_t c = 0; c < result_.classes; ++c) AddClass(c, record);
    FindNeighbours({result_.nearest_by_class.data() + first_class, result_.classes}, record);
    Count(record);
    KeepMostMisaligned(record);
    result_.anchors.push_back(record);
  }

 private:
  absl::Span<const uint32_t> RowOf(uint32_t label) const {
    return row_.subspan(order_.begin(label), order_.end(label) - order_.begin(label));
  }

  void CollectSame() {
    const absl::Span<const uint32_t> row = RowOf(label_);
    same_.assign(row.begin(), row.end());
    same_.erase(same_.begin() + (position_ - order_.begin(label_)));
    ranks_.Assign(same_);
  }

  void AddClass(uint32_t label, AnchorRecord& record) {
    const absl::Span<const uint32_t> others = label == label_ ? absl::MakeConstSpan(same_) : RowOf(label);
    uint32_t nearest = kNoDistance;
    for (const uint32_t distance : others) nearest = std::min(nearest, distance);
    result_.nearest_by_class.push_back(nearest);
    if (label == label_) return;
    const RankTable::Comparison comparison = ranks_.Compare(others);
    const TripleCounts counts = {
        .triples = same_.size() * others.size(), .greater = comparison.greater, .equal = comparison.equal};
    result_.counts.by_pair[label_ * result_.classes + label] += counts;
    record.triples += counts;
  }

  // The first example of a class at that distance; the anchor left out.
  Neighbour FirstAt(uint32_t label, uint32_t distance) const {
    uint32_t position = order_.begin(label);
    while (row_[position] != distance || position == position_) ++position;
    return {.index = order_.index(position), .distance = distance};
  }

  void FindNeighbours(absl::Span<const uint32_t> nearest_by_class, AnchorRecord& record) const {
    if (nearest_by_class[label_] != kNoDistance) record.nearest_same = FirstAt(label_, nearest_by_class[label_]);
    uint32_t nearest = kNoDistance;
    for (uint32_t c = 0; c < result_.classes; ++c) {
      if (c != label_) nearest = std::min(nearest, nearest_by_class[c]);
    }
    if (nearest == kNoDistance) return;
    for (uint32_t c = 0; c < result_.classes; ++c) {
      if (c == label_ || nearest_by_class[c] != nearest) continue;
      const Neighbour first = FirstAt(c, nearest);
      if (!record.nearest_other.exists() || first.index < record.nearest_other.index) record.nearest_other = first;
    }
  }

  void Count(const AnchorRecord& record) {
    MisalignmentCounts& counts = result_.counts;
    ++counts.anchors;
    counts.with_triples += record.triples.triples > 0;
    counts.misaligned += record.triples.greater + record.triples.equal > 0;
    counts.strictly_misaligned += record.triples.greater > 0;
    counts.with_neighbour += record.nearest_same.exists() || record.nearest_other.exists();
    counts.nearest_of_another_class += record.NearestIsOfAnotherClass();
    counts.nearest_ties_across_classes += record.NearestTiesAcrossClasses();
  }

  double Gap(uint32_t same, uint32_t other) const {
    const v1::Norm norm = result_.spec.distance.norm;
    return DistanceOfModelInputs(norm, same) - DistanceOfModelInputs(norm, other);
  }

  // Most anchors' largest gap is too small for the list, which is seen without sorting.
  void KeepMostMisaligned(const AnchorRecord& record) {
    std::vector<MisalignedTriple>& list = result_.most_misaligned;
    const size_t most = result_.spec.most_misaligned;
    const size_t of_anchor = std::min<size_t>(most, result_.spec.most_misaligned_per_anchor);
    if (of_anchor == 0 || record.triples.greater + record.triples.equal == 0) return;
    const uint32_t farthest = *std::max_element(same_.begin(), same_.end());
    if (list.size() == most && Gap(farthest, record.nearest_other.distance) < list.back().gap) return;

    std::vector<Neighbour> same, other;
    for (uint32_t position = 0; position < row_.size(); ++position) {
      if (position == position_) continue;
      const bool is_same = position >= order_.begin(label_) && position < order_.end(label_);
      (is_same ? same : other).push_back({.index = order_.index(position), .distance = row_[position]});
    }
    KeepFirst(same, of_anchor, /*farthest=*/true);
    KeepFirst(other, of_anchor, /*farthest=*/false);
    std::vector<MisalignedTriple> triples;
    for (size_t i = 0; i < same.size(); ++i) {
      // (i + 1)·(j + 1) − 1 pairs of the anchor stand before the pair (i, j).
      for (size_t j = 0; j < other.size() && (i + 1) * (j + 1) <= of_anchor; ++j) {
        if (same[i].distance < other[j].distance) break;
        Keep(triples,
             {.anchor = record.index,
              .same = same[i].index,
              .other = other[j].index,
              .distance_same = same[i].distance,
              .distance_other = other[j].distance,
              .gap = Gap(same[i].distance, other[j].distance)},
             of_anchor);
      }
    }
    for (const MisalignedTriple& triple : triples) Keep(list, triple, most);
  }

  const ClassOrder& order_;
  Misalignment& result_;
  RankTable ranks_;
  std::vector<uint32_t> same_;  // distances to the other examples of the anchor's class
  absl::Span<const uint32_t> row_;
  uint32_t position_ = 0;
  uint8_t label_ = 0;
};

absl::Status Check(const Dataset& data, const v1::Shard& range, const MisalignmentExecution& execution) {
  if (data.count > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("more images than 32 bits can count: ", data.count));
  }
  if (range.begin() > range.end() || range.end() > data.count) {
    return absl::InvalidArgumentError(absl::StrCat("anchors are not examples of the data set: [", range.begin(), ", ",
                                                   range.end(), ") of ", data.count));
  }
  if (data.labels.size() != data.count) {
    return absl::InvalidArgumentError(
        absl::StrCat("a label for each example is needed: ", data.labels.size(), " labels, ", data.count, " examples"));
  }
  for (size_t i = 0; i < data.labels.size(); ++i) {
    if (data.labels[i] < data.classes) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("a label is too large for ", data.classes, " classes: ", data.labels[i], " of example ", i));
  }
  if (execution.anchors_per_block == 0) return absl::InvalidArgumentError("a block needs at least one anchor");
  return absl::OkStatus();
}

}  // namespace

TripleCounts& TripleCounts::operator+=(const TripleCounts& other) {
  triples += other.triples;
  greater += other.greater;
  equal += other.equal;
  return *this;
}

bool AnchorRecord::NearestIsOfAnotherClass() const {
  if (nearest_same.distance != nearest_other.distance) return nearest_other.distance < nearest_same.distance;
  return nearest_other.exists() && nearest_other.index < nearest_same.index;
}

bool AnchorRecord::NearestTiesAcrossClasses() const {
  return nearest_same.exists() && nearest_same.distance == nearest_other.distance;
}

TripleCounts MisalignmentCounts::Total() const {
  TripleCounts total;
  for (const TripleCounts& counts : by_pair) total += counts;
  return total;
}

absl::Status Merge(Misalignment& into, const Misalignment& next) {
  if (next.begin != into.end) {
    return absl::InvalidArgumentError(absl::StrCat("blocks of anchors must follow one another: one begins at ",
                                                   next.begin, ", the one before ends at ", into.end));
  }
  if (!(next.spec == into.spec) || next.classes != into.classes) {
    return absl::InvalidArgumentError("blocks of anchors were measured with different distances, lists or classes");
  }
  MisalignmentCounts& counts = into.counts;
  for (size_t i = 0; i < counts.by_pair.size(); ++i) counts.by_pair[i] += next.counts.by_pair[i];
  for (const auto member :
       {&MisalignmentCounts::anchors, &MisalignmentCounts::with_triples, &MisalignmentCounts::misaligned,
        &MisalignmentCounts::strictly_misaligned, &MisalignmentCounts::with_neighbour,
        &MisalignmentCounts::nearest_of_another_class, &MisalignmentCounts::nearest_ties_across_classes}) {
    counts.*member += next.counts.*member;
  }
  into.end = next.end;
  into.anchors.insert(into.anchors.end(), next.anchors.begin(), next.anchors.end());
  into.nearest_by_class.insert(into.nearest_by_class.end(), next.nearest_by_class.begin(), next.nearest_by_class.end());
  for (const MisalignedTriple& triple : next.most_misaligned) {
    Keep(into.most_misaligned, triple, into.spec.most_misaligned);
  }
  return absl::OkStatus();
}

absl::StatusOr<Misalignment> MeasureMisalignment(const Dataset& data, const MisalignmentSpec& spec,
                                                 const v1::Shard& range, const MisalignmentCallback& progress,
                                                 const MisalignmentExecution& execution) {
  ABSL_RETURN_IF_ERROR(Check(data, range, execution));
  const ClassOrder order(data);
  ABSL_ASSIGN_OR_RETURN(const DistanceRows images,
                        DistanceRows::Create(data, order.indices(), spec.distance, execution.instructions));
  Misalignment result{.spec = spec, .classes = data.classes, .begin = range.begin(), .end = range.end()};
  result.counts.by_pair.resize(size_t{data.classes} * data.classes);
  result.anchors.reserve(range.end() - range.begin());
  result.nearest_by_class.reserve((range.end() - range.begin()) * data.classes);
  AnchorMeasurer measurer(order, result);
  std::vector<uint32_t> positions, rows;
  for (uint64_t begin = range.begin(); begin < range.end();) {
    const uint64_t end = std::min(range.end(), begin + execution.anchors_per_block);
    positions.clear();
    for (uint64_t index = begin; index < end; ++index) positions.push_back(order.position(index));
    rows.resize(positions.size() * data.count);
    images.Compute(positions, 0, images.count(), absl::MakeSpan(rows));
    for (uint64_t index = begin; index < end; ++index) {
      measurer.Add(static_cast<uint32_t>(index), data.labels[index],
                   {rows.data() + (index - begin) * data.count, data.count});
    }
    begin = end;
    const uint64_t done = end - range.begin();
    if (!progress({.fraction = static_cast<double>(done) / static_cast<double>(range.end() - range.begin()),
                   .anchors_done = done})) {
      return absl::CancelledError("stopped by its caller");
    }
  }
  return result;
}

}  // namespace tightrope
