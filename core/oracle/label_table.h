// Labels that people gave to a set of examples: the oracle of a human study.
//
// A row is an example by its position in the set that was shown (not the index of its source in a data set: a set may
// show two examples of one source). A column is an annotator. An answer is a class, "none of these", or missing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/oracle/oracle_label.h"

namespace tightrope {

// What the annotators say of one example.
struct Vote {
  // The answer that more than half of those who answered gave, which may be kNoneOfThese. kUndecided where there is no
  // such answer: a tie, a mere plurality (2 of 5 against 1, 1, 1), or nobody answered. A plurality is not promoted, so
  // that a label never rests on a minority; Agreement counts how many that leaves out.
  int32_t label = kUndecided;
  uint32_t most = 0;     // votes of the most frequent answer
  uint32_t answers = 0;  // of all annotators; the agreement of the example is most / answers
};

// Immutable once read, so safe to share between threads.
class LabelTable {
 public:
  // An annotator was not asked, or gave no answer.
  static constexpr int32_t kNoAnswer = -2;
  // Examples × annotators, at most; larger tables are refused before anything is allocated.
  static constexpr uint64_t kMaxCells = uint64_t{1} << 24;
  static constexpr uint64_t kMaxAnnotators = 4096;
  static constexpr uint32_t kMaxClasses = 1 << 15;

  // What the table must fit: the number of examples in the set, and of classes.
  struct Size {
    uint64_t examples = 0;
    uint32_t classes = 0;
  };

  // NumPy: an array of integers of any width, shape (examples) for one annotator or (examples, annotators); -1 is "none
  // of these", -2 no answer.
  //
  // CSV, told from NumPy by content, in UTF-8. Its first line names the columns:
  //   index,annotator,label    one answer a line, in any order
  //   index,NAME,NAME…         one example a line, one column an annotator; an empty cell is no answer
  // `index` counts from 0. A label is a class number, or "none of these", "none" or -1. Examples without a line have no
  // answer. Empty lines are skipped; quotes as in RFC 4180; a byte order mark and \r\n are fine.
  //
  // Errors: INVALID_ARGUMENT with line and column (CSV) or position in the array (NumPy), and what to write instead: a
  // label that is no class, an index that is no example, an answer given twice (with both lines), a line with too few
  // or too many fields, two columns of one name, more than kMaxCells cells, kMaxAnnotators annotators or
  // kMaxClasses classes; as ParseNpy.
  static absl::StatusOr<LabelTable> Parse(absl::string_view bytes, Size size);

  uint64_t examples() const { return examples_; }
  uint32_t classes() const { return classes_; }
  // Names from the file, in its order; "0", "1", … for NumPy. Long form: in order of first appearance.
  const std::vector<std::string>& annotators() const { return annotators_; }

  // A class, kNoneOfThese or kNoAnswer. REQUIRES: example < examples(), annotator < annotators().size().
  int32_t Answer(uint64_t example, size_t annotator) const { return cells_[example * annotators_.size() + annotator]; }

  // REQUIRES: example < examples().
  Vote VoteOf(uint64_t example) const;

 private:
  LabelTable(Size size, std::vector<std::string> annotators);

  static absl::StatusOr<LabelTable> ParseArray(absl::string_view bytes, Size size);
  static absl::StatusOr<LabelTable> ParseText(absl::string_view text, Size size);

  uint64_t examples_ = 0;
  uint32_t classes_ = 0;
  std::vector<std::string> annotators_;
  std::vector<int16_t> cells_;  // examples × annotators
};

}  // namespace tightrope
