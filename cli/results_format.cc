#include "cli/results_format.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/number_format.h"

namespace tightrope {
namespace {

// What a row over seeds has in common with the rows of single seeds under it.
using Setting =
    std::tuple<std::string, std::string, std::string, std::string, std::string, std::string, double, std::string>;

Setting SettingOf(const v1::MetricRow& row) {
  return {row.experiment(), row.dataset(), row.model(),   row.training(),
          row.metric(),     row.norm(),    row.epsilon(), row.attack()};
}

std::string AttackCell(const v1::MetricRow& row) {
  if (row.metric() == "clean_accuracy") return "(clean)";
  if (row.metric() == "robust_accuracy") return row.attack();
  return row.attack().empty() ? row.metric() : absl::StrCat(row.metric(), " ", row.attack());
}

// "zero_gradients: 12 of 100 …; probabilities: …".
std::string DiagnosticsText(const v1::MetricRow& row) {
  std::vector<std::string> parts;
  for (const v1::Diagnostic& diagnostic : row.diagnostics()) {
    parts.push_back(absl::StrCat(diagnostic.kind(), ": ", diagnostic.message()));
  }
  return absl::StrJoin(parts, "; ");
}

// What there is to doubt in the rows of the table; rows that differ in their radius only share a paragraph where the
// same is to be said of them.
std::string Doubts(const std::vector<const v1::MetricRow*>& shown, const TextStyle& style) {
  std::vector<std::pair<std::string, std::string>> in_order;  // where, what
  std::map<std::pair<std::string, std::string>, std::string> radii;
  for (const v1::MetricRow* row : shown) {
    for (const v1::Diagnostic& diagnostic : row->diagnostics()) {
      const auto paragraph = std::pair(absl::StrCat(row->model(), row->training().empty() ? "" : ", ", row->training(),
                                                    ", ", row->attack(), " ", NormName(row->norm(), style)),
                                       absl::StrCat(diagnostic.message(), " (", diagnostic.kind(), ")"));
      std::string& at = radii[paragraph];
      if (at.empty()) in_order.push_back(paragraph);
      absl::StrAppend(&at, " ", Shortest(row->epsilon()));
    }
  }
  std::string text;
  for (const auto& paragraph : in_order) {
    absl::StrAppend(&text, "\nwarning: ", paragraph.first, radii[paragraph], ":\n    ", paragraph.second, "\n");
  }
  return text;
}

std::string IntervalNote(const std::set<std::string>& intervals, bool any_spread, const TextStyle& style) {
  std::string note = absl::StrCat("interval: ", absl::StrJoin(intervals, ", or "), ".");
  if (any_spread) {
    absl::StrAppend(&note, " ", style.unicode ? "±" : "+-", ": sample standard deviation across seeds, in points.");
  }
  return note;
}

}  // namespace

void WriteResults(const std::vector<v1::MetricRow>& rows, RecordFormat format, std::ostream& out) {
  RecordWriter writer(
      out, format,
      {"experiment", "model", "training", "dataset", "metric", "norm", "epsilon", "attack", "value", "lower", "upper",
       "n", "seeds", "job_digest", "interval", "spread", "model_digest", "dataset_digest", "diagnostics"});
  for (const v1::MetricRow& row : rows) {
    writer.Write({row.experiment(), row.model(), TextOrNull(row.training()), row.dataset(), row.metric(),
                  TextOrNull(row.norm()), row.has_epsilon() ? RecordValue(row.epsilon()) : RecordValue(),
                  TextOrNull(row.attack()), row.value(), row.lower(), row.upper(), row.n(),
                  TextOrNull(absl::StrJoin(row.seeds(), " ")), TextOrNull(row.job_digest()), TextOrNull(row.interval()),
                  row.has_spread() ? RecordValue(row.spread()) : RecordValue(), TextOrNull(row.model_digest()),
                  TextOrNull(row.dataset_digest()), TextOrNull(DiagnosticsText(row))});
  }
  writer.Finish();
}

std::string NormName(const std::string& norm, const TextStyle& style) {
  if (!style.unicode) return norm;
  if (norm == "linf") return "ℓ∞";
  return norm.size() == 2 && norm[0] == 'l' ? absl::StrCat("ℓ", norm.substr(1)) : norm;
}

std::string ResultsTable(const std::vector<v1::MetricRow>& rows, const ResultsTableOptions& options) {
  if (rows.empty()) return "no results yet: no evaluation or attack has been committed\n";
  const TextStyle& style = options.style;
  std::set<Setting> over_seeds;
  for (const auto& row : rows) {
    if (row.seeds_size() > 1) over_seeds.insert(SettingOf(row));
  }

  // Rows of one job, which several seeds share (a TorchScript model's clean accuracy), are shown as one.
  std::map<std::pair<Setting, std::string>, std::string> seeds;
  const auto place_of = [](const v1::MetricRow& row) { return std::pair(SettingOf(row), row.job_digest()); };

  // Groups in order of first appearance; within one, the rows of a model and training stand together, and rows that
  // differ only in their seeds follow each other, so that they can be compared.
  std::vector<const v1::MetricRow*> shown;
  std::map<std::pair<std::string, std::string>, size_t> group_rank, model_rank;
  std::map<Setting, size_t> setting_rank;
  for (const auto& row : rows) {
    group_rank.emplace(std::pair(row.experiment(), row.dataset()), group_rank.size());
    model_rank.emplace(std::pair(row.model(), row.training()), model_rank.size());
    setting_rank.emplace(SettingOf(row), setting_rank.size());
    const bool summarised = row.seeds_size() <= 1 && over_seeds.count(SettingOf(row)) > 0;
    if (summarised && !options.each_seed) continue;
    std::string& of_place = seeds[place_of(row)];
    if (of_place.empty()) shown.push_back(&row);
    absl::StrAppend(&of_place, of_place.empty() ? "" : " ", absl::StrJoin(row.seeds(), " "));
  }
  std::stable_sort(shown.begin(), shown.end(), [&](const v1::MetricRow* a, const v1::MetricRow* b) {
    const auto rank = [&](const v1::MetricRow* row) {
      return std::tuple(group_rank[{row->experiment(), row->dataset()}], model_rank[{row->model(), row->training()}],
                        setting_rank[SettingOf(*row)]);
    };
    return rank(a) < rank(b);
  });

  std::set<std::string> intervals;
  bool any_spread = false;
  std::string text;
  for (size_t first = 0; first < shown.size();) {
    const v1::MetricRow& head = *shown[first];
    const auto right = TextTable::Align::kRight;
    const auto left = TextTable::Align::kLeft;
    TextTable table({{"model", left, true},
                     {"training", left, true},
                     {"attack", left, true},
                     {"norm"},
                     {style.unicode ? "ε" : "epsilon"},
                     {"accuracy %", right},
                     {style.unicode ? "±" : "+-", right},
                     {"interval %", right},
                     {"n", right},
                     {"seeds", left, true}});
    size_t i = first;
    for (; i < shown.size() && shown[i]->experiment() == head.experiment() && shown[i]->dataset() == head.dataset();
         ++i) {
      const v1::MetricRow& row = *shown[i];
      const bool same_model = i > first && shown[i - 1]->model() == row.model();
      const bool same_training = same_model && shown[i - 1]->training() == row.training();
      if (i > first && !same_training) table.AddGap();
      if (!row.interval().empty()) intervals.insert(row.interval());
      any_spread |= row.has_spread();
      table.AddRow({same_model ? "" : row.model(), same_training ? "" : row.training(), AttackCell(row),
                    NormName(row.norm(), style), row.has_epsilon() ? Shortest(row.epsilon()) : "",
                    Percent(row.value(), 2), row.has_spread() ? Percent(row.spread(), 2) : "",
                    absl::StrCat("[", Percent(row.lower(), 2), ", ", Percent(row.upper(), 2), "]"), Grouped(row.n()),
                    seeds[place_of(row)]});
    }
    absl::StrAppend(&text, first == 0 ? "" : "\n", head.experiment(), " on ", head.dataset(), "\n\n",
                    table.Render(style), "\n");
    first = i;
  }
  absl::StrAppend(&text, IntervalNote(intervals, any_spread, style), "\n", Doubts(shown, style));
  return text;
}

}  // namespace tightrope
