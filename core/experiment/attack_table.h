// What is known of every attack without running it: the rules, the planner and `tightrope attacks` read it here. An
// attack is a row of the table in attack_table.cc.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "tightrope/v1/experiment.pb.h"

namespace tightrope {

struct AttackFacts {
  v1::Attack::MethodCase method = v1::Attack::METHOD_NOT_SET;
  std::vector<v1::Norm> norms;  // that it takes
  bool needs_gradients = true;  // false: forward passes only
  bool minimum_norm = false;    // looks for the nearest witness; the others look in a ball of a given radius
  bool targeted = false;        // can aim at given classes
  std::string source;           // the paper
  // Whether the seed has a say in it.
  bool (*draws_at_random)(const v1::Attack&) = nullptr;

  // As the file writes it: "pgd".
  std::string Name() const;
  bool Takes(v1::Norm norm) const;
};

// In the order of the schema; every method has a row.
absl::Span<const AttackFacts> AttackTable();

// Null where no method is set, or one that this version does not know.
const AttackFacts* FindAttack(const v1::Attack& attack);

// The attacks that an ensemble runs, in order: its `components`, or those of its version.
std::vector<v1::AutoAttackComponent> ComponentsOf(const v1::AutoAttack& attack);

// One of the attacks that AutoAttack runs.
struct EnsembleMember {
  std::string name;   // "apgd_t"
  v1::Attack attack;  // as its own entry would be; no method for a component that this version does not know
};

// The attacks of ComponentsOf with the parameters of the authors' code (Croce and Hein 2020; commit a392200), but for
// targets, of which there are at most as many as other classes.
std::vector<EnsembleMember> MembersOf(const v1::AutoAttack& attack, v1::Norm norm, uint32_t classes);

}  // namespace tightrope
