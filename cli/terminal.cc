#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tightrope {
namespace {

constexpr char kHideCursor[] = "\x1b[?25l";
constexpr char kShowCursor[] = "\x1b[?25h";
// Lines are cut at the margin, not wrapped: a window may be narrower than its size says while it is being resized.
constexpr char kCutLines[] = "\x1b[?7l";
constexpr char kWrapLines[] = "\x1b[?7h";

// The descriptor of a terminal whose cursor is hidden, or -1.
std::atomic<int> hidden_on{-1};
// How often others may have written.
std::atomic<int> others{0};
static_assert(std::atomic<int>::is_always_lock_free, "signal handlers need it");

void WriteAll(int descriptor, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written <= 0) return;  // nobody is looking any more
    text.remove_prefix(static_cast<size_t>(written));
  }
}

bool CanRedraw(int descriptor) {
  const char* term = std::getenv("TERM");
  return isatty(descriptor) == 1 && term != nullptr && absl::string_view(term) != "dumb";
}

// Files and pipes have no width; names in tables should be whole there.
constexpr size_t kWidthOfFiles = 160;

}  // namespace

Terminal::Terminal(int descriptor) : descriptor_(descriptor), live_(CanRedraw(descriptor)), others_seen_(others) {}

Terminal::~Terminal() { Clear(); }

TextStyle Terminal::Style() const {
  TextStyle style;
  style.unicode = LocaleIsUtf8();
  style.color = live_ && std::getenv("NO_COLOR") == nullptr;
  winsize size = {};
  if (isatty(descriptor_) != 1) {
    style.width = kWidthOfFiles;
  } else if (ioctl(descriptor_, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    style.width = size.ws_col;
  }
  return style;
}

void Terminal::NoticeOthers() {
  const int now = others;
  if (std::exchange(others_seen_, now) != now) drawn_.clear();
}

std::string Terminal::Erase() const {
  if (drawn_.empty()) return "";
  // A window that was made narrower has wrapped what stands: count the rows it takes now.
  const size_t width = std::max<size_t>(1, Style().width);
  size_t rows = 0;
  for (const size_t line : drawn_) rows += std::max<size_t>(1, (line + width - 1) / width);
  return absl::StrCat("\x1b[", rows, "A\r\x1b[J");
}

void Terminal::Draw(const std::vector<std::string>& lines) {
  NoticeOthers();
  std::string text = absl::StrCat(drawn_.empty() ? kHideCursor : Erase(), kCutLines);
  drawn_.clear();
  for (const std::string& line : lines) {
    absl::StrAppend(&text, line, "\n");
    drawn_.push_back(DisplayWidth(line));
  }
  text += kWrapLines;
  hidden_on = descriptor_;
  WriteAll(descriptor_, text);
}

void Terminal::Clear() {
  if (drawn_.empty()) return;
  NoticeOthers();
  WriteAll(descriptor_, Erase() + kShowCursor);
  drawn_.clear();
  hidden_on = -1;
}

void Terminal::RestoreCursorInSignalHandler() {
  const int descriptor = hidden_on;
  if (descriptor >= 0) WriteAll(descriptor, kShowCursor);
}

void Terminal::LeaveBlocksInSignalHandler() { ++others; }

}  // namespace tightrope
