// What is reported of a distance: rows of `results`, and what `export` shows of anchors, triples and pairs of classes.
// Shards are those of one committed alignment job, in their order.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "tightrope/v1/experiments.pb.h"
#include "tightrope/v1/plan.pb.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// `head` says what all rows say of the cell. In this order; what has nothing to count is left out:
//
//   misaligned_share, strictly_misaligned_share, tied_share   of triples: d(x, x1) ≥, >, = d(x, x2)
//   misaligned_anchors, strictly_misaligned_anchors           of anchors with triples: some triple is
//   nearest_neighbour_error                                   of anchors: the nearest other example has another label
//   nearest_neighbour_ties                                    … and one as near has the anchor's
//   within_radius                                             of anchors, for each of `radii`: an example of another
//                                                             class is no farther
//   distance_to_other_class_min, _q01, _q10, _median          from anchors to the nearest such example, input units
std::vector<v1::MetricRow> AlignmentRows(const v1::AlignmentJob& job, absl::Span<const double> radii,
                                         absl::Span<const v1::AlignmentResult> shards, const v1::MetricRow& head);

// With its distances in input units.
v1::ExportedAnchor ToExported(const v1::AlignmentJob& job, const v1::AnchorAlignment& anchor);
// The most misaligned of all shards' first, as many as the job keeps.
std::vector<v1::ExportedTriple> MostMisaligned(const v1::AlignmentJob& job,
                                               absl::Span<const v1::AlignmentResult> shards);
// Of all pairs of classes, by from and to; where they are equal, the distances to the anchor's own class.
std::vector<v1::ExportedPair> PairsOf(const v1::AlignmentJob& job, absl::Span<const v1::AlignmentResult> shards);

}  // namespace tightrope
