// The mistakes of one experiment file, collected so that all are reported at once.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tightrope {

// Lines and columns count from 1; columns count bytes, as compilers do.
struct Mistake {
  int line = 0;
  int column = 0;
  std::string message;
};

inline bool operator<(const Mistake& a, const Mistake& b) {
  return std::tie(a.line, a.column, a.message) < std::tie(b.line, b.column, b.message);
}

// Sorted by position. The same mistake at the same place counts once: a value that is wrong in every entry that a sweep
// expands to is one mistake. Not thread-safe.
class MistakeList {
 public:
  void Add(int line, int column, std::string message) { mistakes_.insert({line, column, std::move(message)}); }

  bool empty() const { return mistakes_.empty(); }
  const std::set<Mistake>& mistakes() const { return mistakes_; }

  // OK where there are none; otherwise INVALID_ARGUMENT with a line "PATH:LINE:COLUMN: message" for each, and a last
  // line that counts the rest where there are more than kMostShown. CountMistakes tells how many there are.
  absl::Status ToStatus(absl::string_view path) const;

  static constexpr size_t kMostShown = 200;

 private:
  std::set<Mistake> mistakes_;
};

// How many mistakes a status of MistakeList::ToStatus stands for, those not shown included; 0 for any other status.
size_t CountMistakes(const absl::Status& status);

// `text` as a message shows it: in back-quotes, control characters escaped, at most 60 bytes.
std::string Quoted(absl::string_view text);

// The candidate that `text` was probably meant to be, or "" where none is near: at most one change in three letters, or
// the beginning of a candidate. Candidates are in lower case.
std::string Nearest(absl::string_view text, const std::vector<std::string>& candidates);

// "; did you mean `epsilon`?", or "" where none is near.
std::string DidYouMean(absl::string_view text, const std::vector<std::string>& candidates);

}  // namespace tightrope
