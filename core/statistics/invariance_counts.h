// What a model makes of invariance-based examples: counts over examples that merge exactly, and the shares that are
// reported of them.
//
// An example was made from a source. Its label is the oracle's; where that is another class than the source's, the
// example is *changed*, where it is the same, *unchanged*; together they are *labelled*. Examples that the oracle calls
// none of these, or cannot decide, are counted, and enter no share of labelled examples.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/oracle/oracle_label.h"
#include "core/statistics/proportion.h"

namespace tightrope {

// One example and one model.
struct JudgedExample {
  int32_t source_label = 0;           // a class
  int32_t oracle_label = kUndecided;  // of the example: a class, kNoneOfThese or kUndecided
  int32_t source_prediction = -1;     // -1: the logits were not finite, which agrees with nothing
  int32_t prediction = -1;            // of the example; likewise
  // From the source, in the norm and the units of the radii.
  double distance = 0;
  // The largest radius at which the model, right on the source, withstood an attack on it, or was certified there;
  // absent where nobody tried, 0 where it is not robust at any.
  std::optional<double> robust_radius{};
  std::optional<double> certified_radius{};
};

// Of the changed examples whose source has a radius of one kind.
struct RadiusCounts {
  uint64_t known = 0;
  uint64_t inside = 0;  // no farther from the source than the radius
  // Of those inside, with another prediction than the source has. Under a certificate there can be none: more than 0 is
  // an unsound certificate, or a tolerance that is too large. Under an attack it is a point that the attack missed.
  uint64_t inside_moved = 0;

  bool operator==(const RadiusCounts&) const = default;
};

struct InvarianceCounts {
  uint64_t n = 0;
  uint64_t none_of_these = 0;
  uint64_t undecided = 0;
  uint64_t unchanged = 0;
  uint64_t unchanged_agree = 0;  // prediction = oracle's label

  uint64_t changed = 0;
  // These three are disjoint: the prediction is the oracle's label, the source's label, or a third class. What remains
  // of `changed` has logits that are not finite.
  uint64_t changed_agree = 0;
  uint64_t changed_source_label = 0;
  uint64_t changed_third_class = 0;
  // The definition of an invariance-based example (the prediction of the example is that of its source), whether the
  // source was classified right or not; differs from changed_source_label only where it was not.
  uint64_t changed_kept = 0;
  // Of the changed, those whose source was classified right, and of these again those kept.
  uint64_t changed_source_right = 0;
  uint64_t changed_source_right_kept = 0;

  RadiusCounts robust;
  RadiusCounts certified;

  // Counts of disjoint sets of examples of one model add up to those of the union.
  InvarianceCounts& operator+=(const InvarianceCounts& other);
  bool operator==(const InvarianceCounts&) const = default;
};

// Counts one more. An example is inside a radius where distance ≤ radius + tolerance: 0 for examples that keep to their
// ball; the published set of ε = 0.4 oversteps it by less than a grey level and needs 1/255. A distance that is NaN is
// outside.
void Count(const JudgedExample& outcome, double tolerance, InvarianceCounts& counts);

struct InvarianceShare {
  std::string metric;
  uint64_t successes = 0;
  uint64_t n = 0;  // of what; 0: nothing to take a share of, and then value is 0 and the interval [0, 1]
  double value = 0;
  Interval interval;  // Clopper-Pearson
};

// In this order; "of" says what n counts:
//
//   changed                   label changed by the oracle (an attack's success, whatever the model), of all
//   none_of_these             of all
//   undecided                 of all
//   agreement                 prediction = oracle's label, of labelled
//   agreement_changed         of changed
//   agreement_unchanged       of unchanged
//   keep_rate                 prediction = source's label, of changed: what published figures count
//   third_class_rate          neither the source's label nor the oracle's, of changed
//   prediction_kept           prediction = prediction of the source, of changed
//   invariance_error          prediction kept, of changed with the source classified right: the definition
//   inside_robust_radius      of changed with a known radius
//   inside_certified_radius   of changed with a known radius
//
// REQUIRES: 0 < confidence < 1.
std::vector<InvarianceShare> SharesOf(const InvarianceCounts& counts, double confidence);

}  // namespace tightrope
