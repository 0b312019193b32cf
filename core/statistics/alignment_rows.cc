#include "core/statistics/alignment_rows.h"

#include <cstdint>
#include <string>
#include <utility>

#include "core/robustness/alignment/misalignment.h"
#include "core/robustness/alignment/nearest_distances.h"
#include "core/statistics/intervals.h"

namespace tightrope {
namespace {

AnchorRecord ToRecord(const v1::AnchorAlignment& anchor) {
  return {.index = anchor.index(),
          .label = static_cast<uint8_t>(anchor.label()),
          .triples = {.triples = anchor.triples(), .greater = anchor.greater(), .equal = anchor.equal()},
          .nearest_same = {.index = anchor.nearest_same(), .distance = anchor.distance_same()},
          .nearest_other = {.index = anchor.nearest_other(), .distance = anchor.distance_other()}};
}

void Count(const AnchorRecord& anchor, MisalignmentCounts& counts) {
  ++counts.anchors;
  counts.with_triples += anchor.triples.triples > 0;
  counts.misaligned += anchor.triples.greater + anchor.triples.equal > 0;
  counts.strictly_misaligned += anchor.triples.greater > 0;
  counts.with_neighbour += anchor.nearest_same.exists() || anchor.nearest_other.exists();
  counts.nearest_of_another_class += anchor.NearestIsOfAnotherClass();
  counts.nearest_ties_across_classes += anchor.NearestTiesAcrossClasses();
}

// Without anchors, which begin at `begin`.
Misalignment Empty(const v1::AlignmentJob& job, uint64_t begin) {
  Misalignment empty;
  empty.spec = {.distance = {.norm = job.norm(), .threshold = static_cast<uint8_t>(job.threshold())},
                .most_misaligned = job.most_misaligned()};
  empty.classes = job.data().classes();
  empty.begin = empty.end = begin;
  empty.counts.by_pair.resize(size_t{empty.classes} * empty.classes);
  return empty;
}

Misalignment Assemble(const v1::AlignmentJob& job, absl::Span<const v1::AlignmentResult> shards) {
  Misalignment whole = Empty(job, job.anchors().start());
  for (const v1::AlignmentResult& shard : shards) {
    Misalignment part = Empty(job, whole.end);
    part.end += static_cast<uint64_t>(shard.anchors_size());
    for (const v1::AnchorAlignment& anchor : shard.anchors()) {
      part.anchors.push_back(ToRecord(anchor));
      Count(part.anchors.back(), part.counts);
      part.nearest_by_class.insert(part.nearest_by_class.end(), anchor.nearest_by_class().begin(),
                                   anchor.nearest_by_class().end());
    }
    for (const v1::PairAlignment& pair : shard.pairs()) {
      part.counts.by_pair[size_t{pair.from()} * part.classes + pair.to()] = {
          .triples = pair.triples(), .greater = pair.greater(), .equal = pair.equal()};
    }
    for (const v1::MisalignedTriple& triple : shard.most_misaligned()) {
      part.most_misaligned.push_back({.anchor = triple.anchor(),
                                      .same = triple.same(),
                                      .other = triple.other(),
                                      .distance_same = triple.distance_same(),
                                      .distance_other = triple.distance_other(),
                                      .gap = triple.gap()});
    }
    Merge(whole, part).IgnoreError();  // they follow one another and are of the same job
  }
  return whole;
}

class Rows {
 public:
  Rows(const Misalignment& measured, const v1::MetricRow& head) : measured_(measured), head_(head) {}

  void AddShareOfTriples(const char* metric, uint64_t count) {
    const uint64_t triples = measured_.counts.Total().triples;
    if (triples == 0) return;
    SetExact(static_cast<double>(count) / static_cast<double>(triples), triples, kOfAllTriples, Append(metric));
  }
  void AddShareOfAnchors(const char* metric, uint64_t count, uint64_t n) {
    if (n > 0) SetShare(count, n, Append(metric));
  }
  void AddWithin(double radius, absl::Span<const uint32_t> ascending) {
    if (measured_.counts.anchors == 0) return;
    v1::MetricRow& row = Append("within_radius");
    row.set_epsilon(radius);
    SetShare(CountWithin(ascending, measured_.spec.distance.norm, radius), measured_.counts.anchors, row);
  }
  void AddQuantile(const char* metric, double share, absl::Span<const uint32_t> ascending) {
    if (ascending.empty()) return;
    SetExact(DistanceOfModelInputs(measured_.spec.distance.norm, Quantile(ascending, share)), ascending.size(),
             kOfAllAnchors, Append(metric));
  }

  std::vector<v1::MetricRow> Finish() { return std::move(rows_); }

 private:
  v1::MetricRow& Append(const char* metric) {
    rows_.push_back(head_);
    rows_.back().set_metric(metric);
    return rows_.back();
  }

  const Misalignment& measured_;
  const v1::MetricRow& head_;
  std::vector<v1::MetricRow> rows_;
};

}  // namespace

std::vector<v1::MetricRow> AlignmentRows(const v1::AlignmentJob& job, absl::Span<const double> radii,
                                         absl::Span<const v1::AlignmentResult> shards, const v1::MetricRow& head) {
  const Misalignment measured = Assemble(job, shards);
  const MisalignmentCounts& counts = measured.counts;
  const TripleCounts total = counts.Total();
  Rows rows(measured, head);
  rows.AddShareOfTriples("misaligned_share", total.greater + total.equal);
  rows.AddShareOfTriples("strictly_misaligned_share", total.greater);
  rows.AddShareOfTriples("tied_share", total.equal);
  rows.AddShareOfAnchors("misaligned_anchors", counts.misaligned, counts.with_triples);
  rows.AddShareOfAnchors("strictly_misaligned_anchors", counts.strictly_misaligned, counts.with_triples);
  rows.AddShareOfAnchors("nearest_neighbour_error", counts.nearest_of_another_class, counts.with_neighbour);
  rows.AddShareOfAnchors("nearest_neighbour_ties", counts.nearest_ties_across_classes, counts.with_neighbour);
  const std::vector<uint32_t> to_others = NearestDistances(measured, std::nullopt, std::nullopt);
  for (const double radius : radii) rows.AddWithin(radius, to_others);
  rows.AddQuantile("distance_to_other_class_min", 0, to_others);
  rows.AddQuantile("distance_to_other_class_q01", 0.01, to_others);
  rows.AddQuantile("distance_to_other_class_q10", 0.1, to_others);
  rows.AddQuantile("distance_to_other_class_median", 0.5, to_others);
  return rows.Finish();
}

v1::ExportedAnchor ToExported(const v1::AlignmentJob& job, const v1::AnchorAlignment& anchor) {
  v1::ExportedAnchor exported;
  *exported.mutable_anchor() = anchor;
  if (anchor.distance_same() != kNoDistance) {
    exported.set_distance_same(DistanceOfModelInputs(job.norm(), anchor.distance_same()));
  }
  if (anchor.distance_other() != kNoDistance) {
    exported.set_distance_other(DistanceOfModelInputs(job.norm(), anchor.distance_other()));
  }
  return exported;
}

std::vector<v1::ExportedTriple> MostMisaligned(const v1::AlignmentJob& job,
                                               absl::Span<const v1::AlignmentResult> shards) {
  std::vector<v1::ExportedTriple> exported;
  for (const MisalignedTriple& triple : Assemble(job, shards).most_misaligned) {
    v1::ExportedTriple& one = exported.emplace_back();
    v1::MisalignedTriple& counted = *one.mutable_triple();
    counted.set_anchor(triple.anchor);
    counted.set_same(triple.same);
    counted.set_other(triple.other);
    counted.set_distance_same(triple.distance_same);
    counted.set_distance_other(triple.distance_other);
    counted.set_gap(triple.gap);
    one.set_distance_same(DistanceOfModelInputs(job.norm(), triple.distance_same));
    one.set_distance_other(DistanceOfModelInputs(job.norm(), triple.distance_other));
  }
  return exported;
}

std::vector<v1::ExportedPair> PairsOf(const v1::AlignmentJob& job, absl::Span<const v1::AlignmentResult> shards) {
  const Misalignment measured = Assemble(job, shards);
  std::vector<v1::ExportedPair> exported;
  for (uint32_t from = 0; from < measured.classes; ++from) {
    for (uint32_t to = 0; to < measured.classes; ++to) {
      v1::ExportedPair& one = exported.emplace_back();
      const TripleCounts& counts = measured.counts.by_pair[size_t{from} * measured.classes + to];
      v1::PairAlignment& pair = *one.mutable_pair();
      pair.set_from(from);
      pair.set_to(to);
      pair.set_triples(counts.triples);
      pair.set_greater(counts.greater);
      pair.set_equal(counts.equal);
      const std::vector<uint32_t> ascending = NearestDistances(measured, from, to);
      one.set_anchors(ascending.size());
      if (ascending.empty()) continue;
      const auto quantile = [&](double share) { return DistanceOfModelInputs(job.norm(), Quantile(ascending, share)); };
      one.set_minimum(quantile(0));
      one.set_q01(quantile(0.01));
      one.set_q10(quantile(0.1));
      one.set_median(quantile(0.5));
      one.set_q90(quantile(0.9));
      one.set_maximum(quantile(1));
    }
  }
  return exported;
}

}  // namespace tightrope
