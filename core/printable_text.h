// Text of unknown origin, made fit for a message.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace tightrope {

// At most `limit` bytes of `text`, safe for a Protocol Buffers string: what is not UTF-8 (a path, a message of a
// library) is replaced and no character is cut in two, because a message that cannot be parsed would keep every later
// one from arriving.
std::string PrintableText(absl::string_view text, size_t limit);

}  // namespace tightrope
