#include "cli/suggestion.h"

#include <algorithm>
#include <cstddef>

namespace tightrope {
namespace {

// Optimal string alignment distance.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> distance(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) distance[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) distance[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = distance[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      distance[i][j] = std::min({distance[i - 1][j] + 1, distance[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
      }
    }
  }
  return distance[a.size()][b.size()];
}

}  // namespace

std::string Nearest(const std::string& word, const std::vector<std::string>& names) {
  // A third of the word may be wrong: 'rnu' is 'run', but 'lint' is nothing.
  size_t best = word.size() / 3 + 1;
  std::string nearest;
  for (const std::string& name : names) {
    if (word.size() >= 3 && name.rfind(word, 0) == 0) return name;
    const size_t distance = Distance(word, name);
    if (distance < best || (distance == best && nearest.empty() && distance < name.size())) {
      best = distance;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace tightrope
