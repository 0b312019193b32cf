#include "cli/alignments_format.h"

#include <utility>

#include "core/plan/plan.h"

namespace tightrope {
namespace {

// Columns that all tables begin with.
std::vector<std::string> ColumnsWith(std::vector<std::string> own) {
  std::vector<std::string> columns = {"experiment", "set", "norm"};
  columns.insert(columns.end(), own.begin(), own.end());
  return columns;
}

void WriteRow(const v1::ExportAlignmentsResponse& response, const std::vector<RecordValue>& own, RecordWriter& writer) {
  std::vector<RecordValue> values = {response.experiment(), response.cell().alignment(), NormName(response.norm())};
  values.insert(values.end(), own.begin(), own.end());
  writer.Write(values);
}

RecordValue ShareOf(uint64_t count, uint64_t of) {
  return of == 0 ? RecordValue() : RecordValue(static_cast<double>(count) / static_cast<double>(of));
}

void WriteAnchors(const v1::ExportAlignmentsResponse& response, RecordWriter& writer) {
  for (const v1::ExportedAnchor& one : response.anchors()) {
    const v1::AnchorAlignment& anchor = one.anchor();
    const auto if_there = [](bool there, const auto& value) { return there ? RecordValue(value) : RecordValue(); };
    WriteRow(response,
             {anchor.index(), anchor.label(), anchor.triples(), anchor.greater(), anchor.equal(),
              if_there(one.has_distance_same(), anchor.nearest_same()),
              if_there(one.has_distance_same(), one.distance_same()),
              if_there(one.has_distance_other(), anchor.nearest_other()),
              if_there(one.has_distance_other(), one.distance_other())},
             writer);
  }
}

void WritePairs(const v1::ExportAlignmentsResponse& response, RecordWriter& writer) {
  for (const v1::ExportedPair& one : response.pairs()) {
    const v1::PairAlignment& pair = one.pair();
    std::vector<RecordValue> values = {pair.from(),
                                       pair.to(),
                                       pair.triples(),
                                       pair.greater(),
                                       pair.equal(),
                                       ShareOf(pair.greater() + pair.equal(), pair.triples()),
                                       ShareOf(pair.greater(), pair.triples()),
                                       ShareOf(pair.equal(), pair.triples()),
                                       one.anchors()};
    for (const double distance : {one.minimum(), one.q01(), one.q10(), one.median(), one.q90(), one.maximum()}) {
      values.push_back(one.anchors() == 0 ? RecordValue() : RecordValue(distance));
    }
    WriteRow(response, values, writer);
  }
}

void WriteTriples(const v1::ExportAlignmentsResponse& response, RecordWriter& writer) {
  for (const v1::ExportedTriple& one : response.triples()) {
    const v1::MisalignedTriple& triple = one.triple();
    WriteRow(response,
             {triple.anchor(), triple.same(), triple.other(), one.distance_same(), one.distance_other(), triple.gap()},
             writer);
  }
}

}  // namespace

const AlignmentTable* FindAlignmentTable(absl::string_view what) {
  static const auto& tables = *new std::vector<AlignmentTable>{
      {"anchors",
       ColumnsWith({"index", "label", "triples", "greater", "equal", "nearest_same", "distance_same", "nearest_other",
                    "distance_other"}),
       WriteAnchors},
      {"pairs",
       ColumnsWith({"from", "to", "triples", "greater", "equal", "misaligned_share", "strictly_misaligned_share",
                    "tied_share", "anchors", "distance_min", "distance_q01", "distance_q10", "distance_median",
                    "distance_q90", "distance_max"}),
       WritePairs},
      {"triples", ColumnsWith({"anchor", "same", "other", "distance_same", "distance_other", "gap"}), WriteTriples}};
  for (const AlignmentTable& table : tables) {
    if (table.what == what) return &table;
  }
  return nullptr;
}

}  // namespace tightrope
