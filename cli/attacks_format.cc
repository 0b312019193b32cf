#include "cli/attacks_format.h"

#include "absl/strings/str_cat.h"
#include "cli/results_format.h"
#include "core/experiment/attack_table.h"
#include "core/plan/plan.h"

namespace tightrope {
namespace {

std::string Needs(AttackNeeds needs) {
  switch (needs) {
    case AttackNeeds::kGradients:
      return "gradients";
    case AttackNeeds::kLogits:
      return "logits";
    case AttackNeeds::kDecisions:
      return "decisions";
  }
  return "";
}

}  // namespace

std::string AttacksTable(const TextStyle& style) {
  TextTable table({{"method"},
                   {"norms"},
                   {"needs"},
                   {"looks for"},
                   {"targeted"},
                   {"source", TextTable::Align::kLeft, /*shrinks=*/true}});
  for (const AttackFacts& attack : AttackTable()) {
    std::string norms;
    for (const v1::Norm norm : attack.norms) {
      absl::StrAppend(&norms, norms.empty() ? "" : " ", NormName(NormName(norm), style));
    }
    table.AddRow({attack.Name(), norms, Needs(attack.needs),
                  attack.minimum_norm ? "the nearest witness" : "a witness in the ball",
                  attack.Targeted() ? "can be" : "no", attack.source});
  }
  return absl::StrCat(
      table.Render(style), "\n",
      "docs/experiment-file.md has the keys of each. What needs no gradients takes a model that has none.\n");
}

}  // namespace tightrope
