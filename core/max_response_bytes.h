// The largest message that a coordinator sends and that the command line takes: results of a large sweep come in one.
#pragma once

namespace tightrope {

inline constexpr int kMaxResponseBytes = 256 << 20;

}  // namespace tightrope
