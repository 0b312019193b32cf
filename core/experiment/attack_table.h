// What is known of every attack without running it: the rules, the planner and `tightrope attacks` read it here. An
// attack is a row of the table in attack_table.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// What an attack asks of a model.
enum class AttackNeeds { kGradients, kLogits, kDecisions };

// Passes of one example through a model.
struct Passes {
  double forward = 0;
  double backward = 0;
};

struct AttackFacts {
  v1::Attack::MethodCase method = v1::Attack::METHOD_NOT_SET;
  std::vector<v1::Norm> norms;  // that it takes
  AttackNeeds needs = AttackNeeds::kGradients;
  bool minimum_norm = false;  // looks for the nearest witness; the others look in a ball of a given radius
  std::string source;         // the paper
  // Whether the seed has a say in it.
  bool (*draws_at_random)(const v1::Attack&) = nullptr;
  // What an example needs in a ball of this radius, in all where `minimum_norm`; at most, apart from confirmations.
  // Null for an ensemble, whose members have theirs.
  Passes (*passes)(const v1::Attack&, const v1::DatasetRef& data, double radius) = nullptr;

  // As the file writes it: "pgd".
  std::string Name() const;
  bool Takes(v1::Norm norm) const;
  // Whether it can aim at given classes: its message has `targets`.
  bool Targeted() const;
};

// In the order of the schema; every method has a row.
absl::Span<const AttackFacts> AttackTable();

// Null where no method is set, or one that this version does not know.
const AttackFacts* FindAttack(const v1::Attack& attack);

// What keeps an attack from being run although each of its values is a good one.
struct AttackProblem {
  std::string key;  // of v1::Attack: "norm", "pgd.loss"
  std::string message;
};
// `classes` 0: not known. Nothing for a method that this version does not know.
std::optional<AttackProblem> FindProblem(const v1::Attack& attack, uint32_t classes);

// The attack with at most as many targets as there are classes other than the label.
v1::Attack WithTargetsAmong(const v1::Attack& attack, uint32_t classes);

// The attacks that an ensemble runs, in order: its `components`, or those of its version.
std::vector<v1::AutoAttackComponent> ComponentsOf(const v1::AutoAttack& attack);

// One of the attacks that AutoAttack runs.
struct EnsembleMember {
  std::string name;   // "apgd_t"
  v1::Attack attack;  // as its own entry would be; no method for a component that this version does not know
};

// The attacks of ComponentsOf with the parameters of the authors' code (Croce and Hein 2020; commit a392200), but for
// targets, see WithTargetsAmong.
std::vector<EnsembleMember> MembersOf(const v1::AutoAttack& attack, v1::Norm norm, uint32_t classes);

}  // namespace tightrope
