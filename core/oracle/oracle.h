// What gives the true label of an input: the second half of every claim about an invariance-based example, whose label
// changed although the model's prediction did not.
//
//   dataset   the label travels with the source: right only for changes that keep it (the usual assumption, and what an
//             attack's own check of success compares with)
//   table     people: the majority of a table of labels
//   nearest   a vote of the nearest neighbours among data that the attack did not use
//   rule      data whose label is a closed form (rule_dataset.h makes one)
//
// An oracle that asks another model implements the same interface where LibTorch is.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/dataset/dataset.h"
#include "core/oracle/label_table.h"
#include "core/oracle/oracle_label.h"

namespace tightrope {

// Examples whose labels are asked for, in one order.
struct OracleQuestions {
  absl::Span<const uint64_t> examples;  // position in the set of examples that was made
  absl::Span<const uint64_t> sources;   // index in its data set of what each was made from
  absl::Span<const float> images;       // one after another, all of one size, in [0, 1]
};

// Immutable, so safe to share between threads; the answer to one example does not depend on the others.
class Oracle {
 public:
  virtual ~Oracle() = default;

  // One label an example: a class, kNoneOfThese or kUndecided. Errors: INVALID_ARGUMENT (lists of different lengths; an
  // index beyond what the oracle knows; an oracle that looks at images: another size than its data has, or a value that
  // is not in [0, 1], which is most often an image that was not divided by 255).
  virtual absl::StatusOr<std::vector<int32_t>> Label(const OracleQuestions& questions) const = 0;
};

// `labels`: of all sources, each a class.
std::unique_ptr<Oracle> MakeDatasetOracle(std::vector<uint8_t> labels);

// Answers with the majority of the example's row (Vote::label).
std::unique_ptr<Oracle> MakeTableOracle(LabelTable table);

struct NearestOptions {
  // Half-open range of the data that votes: what the attack did not draw from, if the answer is to be independent of
  // it. `end` 0: all of the data.
  uint64_t begin = 0, end = 0;
  uint32_t neighbours = 1;
};

// The class with most votes among the nearest images in ℓ2. Distances are exact integers, so that ties are real ties:
// values are taken in steps of 1/65280 (a 256th of a grey level), which all images in grey levels are multiples of. Of
// equally distant images the one with the lower index is nearer, as a search for the first minimum finds it; of classes
// with equally many votes the one of the nearest image wins. Always answers with a class. O(elements) per question and
// image. REQUIRES: `data` lives as long as the oracle. Errors: INVALID_ARGUMENT (an empty range or one beyond the data,
// no neighbours or more than there are images).
absl::StatusOr<std::unique_ptr<Oracle>> MakeNearestOracle(const Dataset& data, NearestOptions options);

// Checks what Oracle::Label promises of the questions, for oracles elsewhere: one source an example, and images of
// `elements` values in [0, 1] (0: images are not looked at). Errors: INVALID_ARGUMENT.
absl::Status CheckQuestions(const OracleQuestions& questions, uint64_t elements);

}  // namespace tightrope
