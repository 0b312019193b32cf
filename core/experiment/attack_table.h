// What is known of every attack without running it: the rules, the planner and `tightrope attacks` read it here. An
// attack is a row of the table in attack_table.cc.
#pragma once

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

}  // namespace tightrope
