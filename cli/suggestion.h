// "Did you mean …?"
#pragma once

#include <string>
#include <vector>

namespace tightrope {

// The name that `word` is most likely a misspelling of: the one fewest insertions, deletions, replacements and swaps of
// neighbours away, or one that it begins. Empty where nothing is near.
std::string Nearest(const std::string& word, const std::vector<std::string>& names);

}  // namespace tightrope
