#include "core/printable_text.h"

#include "absl/strings/str_cat.h"

namespace tightrope {
namespace {

// Length of the UTF-8 sequence that `text` starts with; 0 if it starts with none.
size_t SequenceLength(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return 1;
  const size_t length = byte(0) >= 0xC2 && byte(0) <= 0xDF   ? 2
                        : byte(0) >= 0xE0 && byte(0) <= 0xEF ? 3
                        : byte(0) >= 0xF0 && byte(0) <= 0xF4 ? 4
                                                             : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF.
  if (byte(0) == 0xE0 && byte(1) < 0xA0) return 0;
  if (byte(0) == 0xED && byte(1) > 0x9F) return 0;
  if (byte(0) == 0xF0 && byte(1) < 0x90) return 0;
  if (byte(0) == 0xF4 && byte(1) > 0x8F) return 0;
  return length;
}

}  // namespace

std::string PrintableText(absl::string_view text, size_t limit) {
  std::string printable;
  while (!text.empty()) {
    const size_t length = SequenceLength(text);
    if (printable.size() + (length == 0 ? 1 : length) > limit) break;
    if (length == 0) {
      printable += '?';
    } else {
      absl::StrAppend(&printable, text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return printable;
}

}  // namespace tightrope
