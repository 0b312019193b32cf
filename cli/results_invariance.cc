// What models make of sets of invariance-based examples.
#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/number_format.h"
#include "cli/results_sections.h"

namespace tightrope {
namespace {

using FigureKey = std::tuple<std::string, std::string, double>;  // metric, norm, ε
FigureKey KeyOf(const v1::MetricRow& row) { return {row.metric(), row.norm(), row.epsilon()}; }

// A model on a set, of one seed or of several.
struct Line {
  std::string model;
  std::string training;
  std::string seeds;
  std::map<FigureKey, const v1::MetricRow*> figures;

  const v1::MetricRow* Find(const std::string& metric, const std::string& norm = "") const {
    const auto found = figures.find({metric, norm, 0});
    return found == figures.end() ? nullptr : found->second;
  }
};

bool SameFigure(const v1::MetricRow& a, const v1::MetricRow& b) {
  return a.job_digest() == b.job_digest() && a.value() == b.value() && a.n() == b.n();
}

bool SameFigures(const Line& a, const Line& b) {
  return std::equal(
      a.figures.begin(), a.figures.end(), b.figures.begin(), b.figures.end(),
      [](const auto& x, const auto& y) { return x.first == y.first && SameFigure(*x.second, *y.second); });
}

// Seeds that share every job are one line.
std::vector<Line> Merged(std::vector<Line> lines) {
  std::vector<Line> merged;
  for (Line& line : lines) {
    const auto same =
        std::find_if(merged.begin(), merged.end(), [&](const Line& one) { return SameFigures(one, line); });
    if (same == merged.end()) {
      merged.push_back(std::move(line));
    } else {
      absl::StrAppend(&same->seeds, " ", line.seeds);
    }
  }
  return merged;
}

// The lines of one model and training: over seeds where there is such a row, with the figures that are the same for all
// seeds beside it; else, or if they are asked for, those of single seeds.
std::vector<Line> LinesOf(const RowPointers& rows, bool each_seed) {
  std::vector<Line> singles;
  Line summary;
  for (const v1::MetricRow* row : rows) {
    const std::string seeds = absl::StrJoin(row->seeds(), " ");
    if (row->seeds_size() > 1) {
      summary.seeds = seeds;
      summary.figures.emplace(KeyOf(*row), row);
      continue;
    }
    auto line = std::find_if(singles.begin(), singles.end(), [&](const Line& one) { return one.seeds == seeds; });
    if (line == singles.end())
      line = singles.insert(line, Line{.model = {}, .training = {}, .seeds = seeds, .figures = {}});
    line->figures.emplace(KeyOf(*row), row);
  }
  if (!summary.figures.empty() && !singles.empty()) {
    for (const auto& figure : singles.front().figures) {
      const bool same = std::all_of(singles.begin(), singles.end(), [&](const Line& line) {
        const auto other = line.figures.find(figure.first);
        return other != line.figures.end() && SameFigure(*figure.second, *other->second);
      });
      if (same) summary.figures.insert(figure);
    }
  }
  std::vector<Line> lines;
  if (summary.figures.empty() || each_seed) lines = Merged(std::move(singles));
  if (!summary.figures.empty()) lines.push_back(std::move(summary));
  for (Line& line : lines) {
    line.model = rows.front()->model();
    line.training = rows.front()->training();
  }
  return lines;
}

// Takes what the lines show of rows to its cells, and notes their intervals.
class Cells {
 public:
  explicit Cells(std::set<std::string>& intervals) : intervals_(intervals) {}

  std::string Share(const v1::MetricRow* row) const { return row == nullptr ? "" : Percent(row->value(), 2); }
  std::string WithInterval(const v1::MetricRow* row) {
    if (row == nullptr) return "";
    if (!row->interval().empty()) intervals_.insert(row->interval());
    return IntervalText(*row);
  }

 private:
  std::set<std::string>& intervals_;
};

// Names are not repeated in the lines below.
class Names {
 public:
  // `several_lines`: some training has more than one, so that gaps help to tell them apart.
  explicit Names(bool several_lines) : several_lines_(several_lines) {}

  // Adds a gap before another model, and before another training.
  std::vector<std::string> Of(const Line& line, TextTable& table) {
    const bool same_model = !first_ && line.model == model_;
    const bool same_training = same_model && line.training == training_;
    if (!first_ && (!same_model || (several_lines_ && !same_training))) table.AddGap();
    first_ = false;
    model_ = line.model;
    training_ = line.training;
    return {same_model ? "" : model_, same_training ? "" : training_};
  }

 private:
  const bool several_lines_;
  bool first_ = true;
  std::string model_, training_;
};

constexpr auto kRight = TextTable::Align::kRight;
constexpr auto kLeft = TextTable::Align::kLeft;

std::string Summary(const Line& line, const Cells& cells) {
  const v1::MetricRow* const changed = line.Find("changed");
  if (changed == nullptr) return "";
  return absl::StrCat("of ", Grouped(changed->n()), " examples, the label changed in ", cells.Share(changed),
                      " %, is none of the classes in ", cells.Share(line.Find("none_of_these")), " %, undecided in ",
                      cells.Share(line.Find("undecided")), " %\n");
}

std::string PredictionsTable(const std::vector<Line>& lines, const TextStyle& style, Cells& cells) {
  std::set<std::string> norms;  // in which attacks looked
  for (const Line& line : lines) {
    for (const auto& [key, row] : line.figures) {
      if (row->metric() == "inside_robust_radius") norms.insert(row->norm());
    }
  }
  std::vector<TextTable::Column> columns = {{"model", kLeft, true}, {"training", kLeft, true}, {"n", kRight},
                                            {"agree %", kRight},    {"keep %", kRight},        {"third %", kRight},
                                            {"error %", kRight},    {"interval %", kRight},    {"all %", kRight}};
  for (const std::string& norm : norms) columns.push_back({absl::StrCat("in ", NormName(norm, style), " %"), kRight});
  columns.push_back({"seeds", kLeft, true});
  TextTable table(columns);
  std::set<std::pair<std::string, std::string>> trainings;
  for (const Line& line : lines) trainings.emplace(line.model, line.training);
  Names names(/*several_lines=*/trainings.size() < lines.size());
  for (const Line& line : lines) {
    std::vector<std::string> row = names.Of(line, table);
    const v1::MetricRow* const keep = line.Find("keep_rate");
    row.push_back(Grouped(keep == nullptr ? 0 : keep->n()));
    for (const char* metric : {"agreement_changed", "keep_rate", "third_class_rate", "invariance_error"}) {
      row.push_back(cells.Share(line.Find(metric)));
    }
    row.push_back(cells.WithInterval(line.Find("invariance_error")));
    row.push_back(cells.Share(line.Find("agreement")));
    for (const std::string& norm : norms) row.push_back(cells.Share(line.Find("inside_robust_radius", norm)));
    row.push_back(line.seeds);
    table.AddRow(row);
  }
  return table.Render(style);
}

// Empty where nothing attacks.
std::string TradeOffTable(const std::vector<Line>& lines, const TextStyle& style, Cells& cells) {
  TextTable table({{"model", kLeft, true},
                   {"training", kLeft, true},
                   {"norm"},
                   {style.unicode ? "ε" : "epsilon"},
                   {"sensitivity", kRight},
                   {"interval %", kRight},
                   {"invariance", kRight},
                   {"interval %", kRight},
                   {"seeds", kLeft, true}});
  Names names(/*several_lines=*/true);
  bool any = false;
  for (const Line& line : lines) {
    const v1::MetricRow* invariance = line.Find("invariance_error");  // shown once: it has no radius
    for (const auto& [key, row] : line.figures) {
      if (row->metric() != "sensitivity_error") continue;
      any = true;
      std::vector<std::string> cell = names.Of(line, table);
      for (const std::string& text :
           {NormName(row->norm(), style), Shortest(row->epsilon()), cells.Share(row), cells.WithInterval(row),
            cells.Share(invariance), cells.WithInterval(invariance), line.seeds}) {
        cell.push_back(text);
      }
      table.AddRow(cell);
      invariance = nullptr;
    }
  }
  return any ? table.Render(style) : "";
}

constexpr char kLegend[] =
    "n: changed examples, whose label is another than their source's. Of these, agree: the prediction\n"
    "is the oracle's label; keep: the source's; third: neither; error: it is what it was on the source,\n"
    "where that was classified right. all: agreement with the oracle on all that it labels. in a norm:\n"
    "changed ones no farther from their source than the radius at which no attack breaks it.\n";

}  // namespace

bool IsOnASet(const v1::MetricRow& row) {
  for (const char* metric :
       {"changed", "none_of_these", "undecided", "agreement", "agreement_changed", "agreement_unchanged", "keep_rate",
        "third_class_rate", "prediction_kept", "invariance_error", "inside_robust_radius", "inside_certified_radius",
        "sensitivity_error"}) {
    if (row.metric() == metric) return true;
  }
  return false;
}

std::string InvarianceSection(const RowPointers& rows, const ResultsTableOptions& options,
                              std::set<std::string>& intervals) {
  if (rows.empty()) return "";
  const TextStyle& style = options.style;
  std::vector<std::string> sets;
  for (const v1::MetricRow* row : rows) {
    if (std::find(sets.begin(), sets.end(), row->attack()) == sets.end()) sets.push_back(row->attack());
  }
  Cells cells(intervals);
  std::string text = "invariance-based examples\n";
  for (const std::string& set : sets) {
    std::vector<std::pair<std::string, std::string>> models;  // and trainings
    std::map<std::pair<std::string, std::string>, RowPointers> by_model;
    for (const v1::MetricRow* row : rows) {
      if (row->attack() != set) continue;
      RowPointers& of_model = by_model[{row->model(), row->training()}];
      if (of_model.empty()) models.emplace_back(row->model(), row->training());
      of_model.push_back(row);
    }
    std::vector<Line> lines;
    for (const auto& model : models) {
      for (Line& line : LinesOf(by_model[model], options.each_seed)) lines.push_back(std::move(line));
    }
    absl::StrAppend(&text, "\n", Clip(set, style.width, style.unicode), "\n", Summary(lines.front(), cells), "\n",
                    PredictionsTable(lines, style, cells));
    const std::string trade_off = TradeOffTable(lines, style, cells);
    if (!trade_off.empty()) absl::StrAppend(&text, "\ntrade-off: errors on the same examples, %\n\n", trade_off);
  }
  return absl::StrCat(text, "\n", kLegend);
}

}  // namespace tightrope
