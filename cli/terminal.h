// A block of lines at the bottom of the terminal that is redrawn in place, and what the terminal can show.
#pragma once

#include <string>
#include <vector>

#include "cli/text_layout.h"

namespace tightrope {

// Draws on one file descriptor. The cursor is hidden while a block stands. Not thread-safe, but for the signal
// handler's function.
class Terminal {
 public:
  explicit Terminal(int descriptor);
  // Clears the block and shows the cursor again.
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // A terminal that moves its cursor; false for pipes, files and TERM=dumb.
  bool live() const { return live_; }
  // As it is now: the window may have been resized. Pipes have 100 columns.
  TextStyle Style() const;

  // Replaces the block. REQUIRES: live(); no line wider than Style().width.
  void Draw(const std::vector<std::string>& lines);
  // Removes the block; lines printed next stand where it was.
  void Clear();

  // Async-signal-safe: shows the cursor again if some Terminal hid it.
  static void RestoreCursorInSignalHandler();
  // Async-signal-safe: others, such as the shell after ^Z, may have written below the blocks that stand; they are left
  // there, and what is drawn next begins below.
  static void LeaveBlocksInSignalHandler();

 private:
  // Forgets the block where others have written since.
  void NoticeOthers();
  std::string Erase() const;

  const int descriptor_;
  const bool live_;
  std::vector<size_t> drawn_;  // widths of the lines that stand
  int others_seen_ = 0;
};

}  // namespace tightrope
