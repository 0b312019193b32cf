#include "cli/plan_format.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "cli/number_format.h"
#include "cli/results_format.h"
#include "core/plan/plan.h"
#include "core/plan/work_estimate.h"
#include "nlohmann/json.hpp"

namespace tightrope {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShortDigest = 12;

// Job digest → the first cell that names it. A train job is named by the cells of the models that it makes.
std::map<std::string, const v1::Cell*> CellsByJob(const v1::Plan& plan) {
  std::map<std::string, const v1::Cell*> cells;
  for (const v1::Cell& cell : plan.cells()) cells.emplace(cell.job_digest(), &cell);
  for (const v1::Cell& cell : plan.cells()) cells.emplace(cell.train_job_digest(), &cell);
  return cells;
}

std::string DescriptionOf(const v1::Job& job, const std::map<std::string, const v1::Cell*>& cells) {
  const auto cell = cells.find(job.digest());
  return cell == cells.end() ? JobKind(job.spec()) : Describe(*cell->second, job);
}

std::string Count(size_t count, const char* one, const char* many) {
  return absl::StrCat(Grouped(count), " ", count == 1 ? one : many);
}

std::string DatasetText(const v1::DatasetRef& dataset, const char* role, const TextStyle& style) {
  const char* times = style.unicode ? "×" : "x";
  return absl::StrCat(Grouped(dataset.count()), " ", role, " images of ", dataset.channels(), times, dataset.height(),
                      times, dataset.width());
}

template <typename Entries>
std::string Names(const Entries& entries) {
  std::vector<std::string> names;
  for (const auto& entry : entries) {
    if (std::find(names.begin(), names.end(), entry.name()) == names.end()) names.push_back(entry.name());
  }
  return absl::StrJoin(names, ", ");
}

std::string AttacksText(const v1::Experiment& experiment, const TextStyle& style) {
  // One phrase for an attack and norm, with every radius: "pgd linf 0.05 0.1".
  std::vector<std::string> order;
  std::map<std::string, std::vector<std::string>> radii;
  for (const v1::Attack& attack : experiment.attacks()) {
    const std::string key = absl::StrCat(attack.name(), " ", NormName(NormName(attack.norm()), style));
    if (radii.find(key) == radii.end()) order.push_back(key);
    radii[key].push_back(Shortest(attack.epsilon()));
  }
  std::vector<std::string> phrases;
  for (const std::string& key : order) phrases.push_back(absl::StrCat(key, " ", absl::StrJoin(radii[key], " ")));
  return phrases.empty() ? "none" : absl::StrJoin(phrases, "; ");
}

struct Totals {
  size_t jobs = 0, cached_jobs = 0, shards = 0, cached_shards = 0;
  WorkEstimate left;
};

Totals TotalsOf(const PlanReport& report) {
  Totals totals;
  for (const v1::Job& job : report.plan.jobs()) {
    const size_t shards = static_cast<size_t>(job.shards_size());
    ++totals.jobs;
    totals.shards += shards;
    if (report.committed.count(job.digest()) > 0) {
      ++totals.cached_jobs;
      totals.cached_shards += shards;
      continue;
    }
    const WorkEstimate work = EstimateWork(job);
    totals.left.forward_passes += work.forward_passes;
    totals.left.backward_passes += work.backward_passes;
  }
  return totals;
}

}  // namespace

std::string PlanTable(const PlanReport& report, const TextStyle& style) {
  const v1::Experiment& experiment = report.experiment;
  std::string text = absl::StrCat(experiment.name(), " on ", experiment.dataset(), ": ");
  if (report.inputs.has_train()) {
    absl::StrAppend(&text, DatasetText(report.inputs.train(), "training", style), ", ");
  }
  absl::StrAppend(&text, DatasetText(report.inputs.test(), "test", style), "\n\n");

  const auto field = [&](const char* label, const std::string& value) {
    std::string line = absl::StrCat("  ", label);
    line.resize(13, ' ');
    absl::StrAppend(&text, Clip(line + value, style.width, style.unicode), "\n");
  };
  if (experiment.models_size() > 0) field("models", Names(experiment.models()));
  if (experiment.training_size() > 0) field("training", Names(experiment.training()));
  field("seeds", absl::StrJoin(experiment.seeds(), " "));
  if (experiment.models_size() > 0) field("attacks", AttacksText(experiment, style));
  if (experiment.alignment_size() > 0) field("alignment", Names(experiment.alignment()));
  if (experiment.invariance_size() > 0) field("invariance", Names(experiment.invariance()));
  field("examples", absl::StrCat("test ", experiment.examples().start(), " to ",
                                 experiment.examples().start() + experiment.examples().count()));
  text += "\n";

  const std::map<std::string, const v1::Cell*> cells = CellsByJob(report.plan);
  const auto right = TextTable::Align::kRight;
  TextTable table({{"digest"},
                   {"job", TextTable::Align::kLeft, /*shrinks=*/true},
                   {"shards", right},
                   {"examples", right},
                   {"passes", right},
                   {report.committed.empty() ? "" : "state"}});
  for (const v1::Job& job : report.plan.jobs()) {
    const WorkEstimate work = EstimateWork(job);
    table.AddRow({job.digest().substr(0, kShortDigest), DescriptionOf(job, cells),
                  Grouped(static_cast<uint64_t>(job.shards_size())), Grouped(ExamplesOf(job)),
                  Rounded(work.forward_passes + work.backward_passes),
                  report.committed.count(job.digest()) > 0 ? "cached" : ""});
  }
  absl::StrAppend(&text, table.Render(style), "\n");

  const Totals totals = TotalsOf(report);
  absl::StrAppend(&text, Count(totals.jobs, "job", "jobs"), " in ", Count(totals.shards, "shard", "shards"));
  if (report.store_asked) {
    absl::StrAppend(&text, "; ", Grouped(totals.cached_jobs), totals.cached_jobs == 1 ? " job (" : " jobs (",
                    Count(totals.cached_shards, "shard", "shards"), ") cached");
  }
  absl::StrAppend(&text, "\n");
  if (totals.cached_jobs == totals.jobs) {
    absl::StrAppend(&text, "nothing is left to do\n");
  } else {
    absl::StrAppend(&text, "at most ", Rounded(totals.left.forward_passes), " forward and ",
                    Rounded(totals.left.backward_passes), " backward passes of one example are left to do\n");
  }
  return text;
}

void WritePlanJson(const PlanReport& report, std::ostream& out) {
  const std::map<std::string, const v1::Cell*> cells = CellsByJob(report.plan);
  Json jobs = Json::array();
  for (const v1::Job& job : report.plan.jobs()) {
    const WorkEstimate work = EstimateWork(job);
    jobs.push_back({{"digest", job.digest()},
                    {"kind", JobKind(job.spec())},
                    {"description", DescriptionOf(job, cells)},
                    {"depends_on", std::vector<std::string>(job.depends_on().begin(), job.depends_on().end())},
                    {"shards", job.shards_size()},
                    {"examples", ExamplesOf(job)},
                    {"forward_passes", static_cast<uint64_t>(work.forward_passes)},
                    {"backward_passes", static_cast<uint64_t>(work.backward_passes)},
                    {"cached", report.committed.count(job.digest()) > 0}});
  }
  const auto text_or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  Json grid = Json::array();
  for (const v1::Cell& cell : report.plan.cells()) {
    grid.push_back({{"model", text_or_null(cell.model())},
                    {"training", text_or_null(cell.training())},
                    {"seed", cell.alignment().empty() ? Json(cell.seed()) : Json()},
                    {"attack", text_or_null(cell.attack())},
                    {"epsilon", cell.attack().empty() ? Json() : Json(cell.epsilon())},
                    {"invariance", text_or_null(cell.invariance())},
                    {"alignment", text_or_null(cell.alignment())},
                    {"job_digest", text_or_null(cell.job_digest())},
                    {"train_job_digest", text_or_null(cell.train_job_digest())}});
  }
  const Totals totals = TotalsOf(report);
  const Json object = {{"experiment", report.experiment.name()},
                       {"dataset", report.experiment.dataset()},
                       {"dataset_digest", DatasetDigest(report.inputs.test())},
                       {"jobs", std::move(jobs)},
                       {"cells", std::move(grid)},
                       {"totals",
                        {{"jobs", totals.jobs},
                         {"cached_jobs", totals.cached_jobs},
                         {"shards", totals.shards},
                         {"cached_shards", totals.cached_shards},
                         {"forward_passes_left", static_cast<uint64_t>(totals.left.forward_passes)},
                         {"backward_passes_left", static_cast<uint64_t>(totals.left.backward_passes)}}}};
  out << object.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) << "\n";
}

}  // namespace tightrope
