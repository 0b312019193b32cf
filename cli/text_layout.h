// Text in columns on a terminal. Widths count characters (UTF-8 code points), not bytes.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace tightrope {

// How text may look where it is shown.
struct TextStyle {
  size_t width = 100;    // columns
  bool unicode = false;  // may use characters beyond ASCII
  bool color = false;    // may use ANSI colours
};

// True where the environment's locale (LC_ALL, else LC_CTYPE, else LANG) names UTF-8. Read from the variables, because
// a minimal machine lacks the locale's data while its terminal understands UTF-8 well.
bool LocaleIsUtf8();

// Code points of UTF-8 text; ANSI colour sequences count nothing.
size_t DisplayWidth(absl::string_view text);

// `text` in at most `width` columns; what is cut is marked by "…" (or "~" in ASCII). REQUIRES: no colour sequences in
// it.
std::string Clip(absl::string_view text, size_t width, bool unicode);

// Rows of cells, aligned. Columns are two blanks apart; trailing blanks are not printed.
class TextTable {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string title;
    Align align = Align::kLeft;
    bool shrinks = false;  // may be clipped where the table is wider than the terminal
  };

  explicit TextTable(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: one cell a column.
  void AddRow(std::vector<std::string> cells);
  // A line without cells, to set groups apart.
  void AddGap() { rows_.emplace_back(); }

  // Title line and rows, each ended by a newline. Columns that shrink are clipped, widest first, to fit `style.width`.
  std::string Render(const TextStyle& style) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace tightrope
