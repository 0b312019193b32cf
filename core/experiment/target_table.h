// The `targets` of a set of invariance-based examples: which classes a source of a class may be turned into.
//
//   all                  every class into all others
//   published            the authors' table for the digits of MNIST (Tramèr et al. 2020)
//   0: 4 6 8 9, 1: 7     a row a class; a class without a row into all others
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// The rows that `text` stands for, by class, their targets ascending, so that one table has one form; none for `all`.
// `classes` is the number of classes of the data, 0 where it is not known.
// Errors: INVALID_ARGUMENT, with the row and the word that is wrong and what to write instead.
absl::StatusOr<std::vector<v1::TargetRow>> ParseTargets(absl::string_view text, uint32_t classes);

}  // namespace tightrope
