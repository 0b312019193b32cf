#include "cli/results_format.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/number_format.h"
#include "cli/results_sections.h"

namespace tightrope {
namespace {

// What a row over seeds has in common with the rows of single seeds under it, in one experiment on one data set.
using Setting = std::tuple<std::string, std::string, std::string, std::string, double, std::string>;

Setting SettingOf(const v1::MetricRow& row) {
  return {row.model(), row.training(), row.metric(), row.norm(), row.epsilon(), row.attack()};
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
std::string Doubts(const RowPointers& shown, const TextStyle& style) {
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

namespace {

// Rows of an experiment on one data set, in the order given.
struct Group {
  std::string experiment;
  std::string dataset;
  RowPointers accuracies, on_sets, on_distances;
};

std::vector<Group> GroupsOf(const std::vector<v1::MetricRow>& rows) {
  std::vector<Group> groups;
  for (const v1::MetricRow& row : rows) {
    auto group = std::find_if(groups.begin(), groups.end(), [&](const Group& one) {
      return one.experiment == row.experiment() && one.dataset == row.dataset();
    });
    if (group == groups.end()) {
      group = groups.insert(group, Group{.experiment = row.experiment(),
                                         .dataset = row.dataset(),
                                         .accuracies = {},
                                         .on_sets = {},
                                         .on_distances = {}});
    }
    (IsOnASet(row) ? group->on_sets : IsOnADistance(row) ? group->on_distances : group->accuracies).push_back(&row);
  }
  return groups;
}

// Accuracies as they are shown: the rows of a model and training stand together, and rows that differ only in their
// seeds follow each other, so that they can be compared.
class Accuracies {
 public:
  Accuracies(const RowPointers& rows, bool each_seed) {
    std::set<Setting> over_seeds;
    for (const v1::MetricRow* row : rows) {
      if (row->seeds_size() > 1) over_seeds.insert(SettingOf(*row));
    }
    std::map<std::pair<std::string, std::string>, size_t> model_rank;
    std::map<Setting, size_t> setting_rank;
    for (const v1::MetricRow* row : rows) {
      model_rank.emplace(std::pair(row->model(), row->training()), model_rank.size());
      setting_rank.emplace(SettingOf(*row), setting_rank.size());
      const bool summarised = row->seeds_size() <= 1 && over_seeds.count(SettingOf(*row)) > 0;
      if (summarised && !each_seed) continue;
      std::string& of_place = seeds_[PlaceOf(*row)];
      if (of_place.empty()) shown_.push_back(row);
      absl::StrAppend(&of_place, of_place.empty() ? "" : " ", absl::StrJoin(row->seeds(), " "));
    }
    std::stable_sort(shown_.begin(), shown_.end(), [&](const v1::MetricRow* a, const v1::MetricRow* b) {
      const auto rank = [&](const v1::MetricRow* row) {
        return std::pair(model_rank[{row->model(), row->training()}], setting_rank[SettingOf(*row)]);
      };
      return rank(a) < rank(b);
    });
  }

  const RowPointers& shown() const { return shown_; }

  // Empty where there are none.
  std::string Table(const TextStyle& style) const {
    if (shown_.empty()) return "";
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
    const v1::MetricRow* last = nullptr;
    for (const v1::MetricRow* row : shown_) {
      const bool same_model = last != nullptr && last->model() == row->model();
      const bool same_training = same_model && last->training() == row->training();
      if (last != nullptr && !same_training) table.AddGap();
      last = row;
      table.AddRow({same_model ? "" : row->model(), same_training ? "" : row->training(), AttackCell(*row),
                    NormName(row->norm(), style), row->has_epsilon() ? Shortest(row->epsilon()) : "",
                    Percent(row->value(), 2), row->has_spread() ? Percent(row->spread(), 2) : "", IntervalText(*row),
                    Grouped(row->n()), seeds_.at(PlaceOf(*row))});
    }
    return table.Render(style);
  }

 private:
  // Rows of one job, which several seeds share (a TorchScript model's clean accuracy), are shown as one.
  using Place = std::pair<Setting, std::string>;
  static Place PlaceOf(const v1::MetricRow& row) { return {SettingOf(row), row.job_digest()}; }

  RowPointers shown_;
  std::map<Place, std::string> seeds_;
};

}  // namespace

std::string ResultsTable(const std::vector<v1::MetricRow>& rows, const ResultsTableOptions& options) {
  if (rows.empty()) return "no results yet: no evaluation or attack has been committed\n";
  const TextStyle& style = options.style;
  std::set<std::string> intervals;
  bool any_spread = false;
  RowPointers shown;
  std::string text;
  for (const Group& group : GroupsOf(rows)) {
    const Accuracies accuracies(group.accuracies, options.each_seed);
    for (const v1::MetricRow* row : accuracies.shown()) {
      if (!row->interval().empty()) intervals.insert(row->interval());
      any_spread |= row->has_spread();
      shown.push_back(row);
    }
    absl::StrAppend(&text, text.empty() ? "" : "\n\n", group.experiment, " on ", group.dataset, "\n");
    for (const std::string& section : {accuracies.Table(style), InvarianceSection(group.on_sets, options, intervals),
                                       AlignmentSection(group.on_distances, style, intervals)}) {
      if (!section.empty()) absl::StrAppend(&text, "\n", section);
    }
  }
  if (!intervals.empty()) absl::StrAppend(&text, "\n", IntervalNote(intervals, any_spread, style), "\n");
  return text + Doubts(shown, style);
}

std::string IntervalText(const v1::MetricRow& row) {
  return absl::StrCat("[", Percent(row.lower(), 2), ", ", Percent(row.upper(), 2), "]");
}

}  // namespace tightrope
