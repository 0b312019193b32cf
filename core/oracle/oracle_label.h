// The answers that are no class. Classes count from 0.
#pragma once

#include <cstdint>

namespace tightrope {

// The oracle has looked and says that the image belongs to no class (the garbage class of the paper's oracle).
inline constexpr int32_t kNoneOfThese = -1;
// The oracle cannot say: annotators without a majority, or nobody asked. Never counted as a label.
inline constexpr int32_t kUndecided = -3;

}  // namespace tightrope
