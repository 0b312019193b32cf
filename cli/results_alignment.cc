// What distances say of the labels of a data set.
#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/number_format.h"
#include "cli/results_sections.h"

namespace tightrope {
namespace {

constexpr auto kRight = TextTable::Align::kRight;
constexpr auto kLeft = TextTable::Align::kLeft;

// One distance.
struct Line {
  std::string name;
  std::string norm;
  std::map<std::string, const v1::MetricRow*> figures;  // by metric, but for within_radius
  RowPointers within;                                   // rows within_radius

  const v1::MetricRow* Find(const char* metric) const {
    const auto found = figures.find(metric);
    return found == figures.end() ? nullptr : found->second;
  }
  std::string Share(const char* metric) const {
    const v1::MetricRow* const row = Find(metric);
    return row == nullptr ? "" : Percent(row->value(), 2);
  }
  std::string Distance(const char* metric) const {
    const v1::MetricRow* const row = Find(metric);
    return row == nullptr ? "" : absl::StrFormat("%.4g", row->value());
  }
};

std::vector<Line> LinesOf(const RowPointers& rows) {
  std::vector<Line> lines;
  for (const v1::MetricRow* row : rows) {
    auto line = std::find_if(lines.begin(), lines.end(), [&](const Line& one) { return one.name == row->attack(); });
    if (line == lines.end()) {
      line = lines.insert(line, Line{.name = row->attack(), .norm = row->norm(), .figures = {}, .within = {}});
    }
    if (row->metric() == "within_radius") {
      line->within.push_back(row);
    } else {
      line->figures.emplace(row->metric(), row);
    }
  }
  return lines;
}

std::string MainTable(const std::vector<Line>& lines, const TextStyle& style, std::set<std::string>& intervals) {
  TextTable table({{"distance", kLeft, true},
                   {"norm"},
                   {style.unicode ? "≥ %" : ">= %", kRight},
                   {"> %", kRight},
                   {"= %", kRight},
                   {"anchors %", kRight},
                   {"1-NN error %", kRight},
                   {"interval %", kRight},
                   {"min", kRight},
                   {"1 %", kRight},
                   {"median", kRight}});
  for (const Line& line : lines) {
    const v1::MetricRow* const error = line.Find("nearest_neighbour_error");
    if (error != nullptr) intervals.insert(error->interval());
    table.AddRow({line.name, NormName(line.norm, style), line.Share("misaligned_share"),
                  line.Share("strictly_misaligned_share"), line.Share("tied_share"), line.Share("misaligned_anchors"),
                  line.Share("nearest_neighbour_error"), error == nullptr ? "" : IntervalText(*error),
                  line.Distance("distance_to_other_class_min"), line.Distance("distance_to_other_class_q01"),
                  line.Distance("distance_to_other_class_median")});
  }
  return table.Render(style);
}

// Empty where no radii were asked for.
std::string WithinTable(const std::vector<Line>& lines, const TextStyle& style, std::set<std::string>& intervals) {
  TextTable table({{"distance", kLeft, true},
                   {"norm"},
                   {style.unicode ? "ε" : "epsilon"},
                   {"anchors %", kRight},
                   {"interval %", kRight},
                   {"n", kRight}});
  bool any = false;
  for (const Line& line : lines) {
    for (const v1::MetricRow* row : line.within) {
      const bool first = row == line.within.front();
      any = true;
      intervals.insert(row->interval());
      table.AddRow({first ? line.name : "", first ? NormName(line.norm, style) : "", Shortest(row->epsilon()),
                    Percent(row->value(), 2), IntervalText(*row), Grouped(row->n())});
    }
  }
  return any ? table.Render(style) : "";
}

}  // namespace

bool IsOnADistance(const v1::MetricRow& row) {
  for (const char* metric : {"misaligned_share", "strictly_misaligned_share", "tied_share", "misaligned_anchors",
                             "strictly_misaligned_anchors", "nearest_neighbour_error", "nearest_neighbour_ties",
                             "within_radius", "distance_to_other_class_min", "distance_to_other_class_q01",
                             "distance_to_other_class_q10", "distance_to_other_class_median"}) {
    if (row.metric() == metric) return true;
  }
  return false;
}

std::string AlignmentSection(const RowPointers& rows, const TextStyle& style, std::set<std::string>& intervals) {
  if (rows.empty()) return "";
  const std::vector<Line> lines = LinesOf(rows);
  const char* const misaligned = style.unicode ? "≥" : ">=";
  std::string text = absl::StrCat("alignment\n\n", MainTable(lines, style, intervals), "\n", misaligned,
                                  ", >, =: of all triples, the distance from an anchor to another example of its "
                                  "class against\nthat to one of another class. anchors: with a triple ",
                                  misaligned,
                                  ". min, 1 % and median: of the distances\nfrom anchors to the nearest example of "
                                  "another class, in input units.\n");
  const std::string within = WithinTable(lines, style, intervals);
  if (!within.empty()) {
    absl::StrAppend(&text, "\nanchors with an example of another class within ", style.unicode ? "ε" : "epsilon",
                    "\n\n", within);
  }
  return text;
}

}  // namespace tightrope
