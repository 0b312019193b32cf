#include "core/experiment/mistake.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"

namespace tightrope {
namespace {

constexpr char kCountPayload[] = "tightrope/mistakes";

// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<size_t>> distance(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        distance[i][j] = i + j;
        continue;
      }
      const size_t substituted = distance[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      distance[i][j] = std::min({distance[i - 1][j] + 1, distance[i][j - 1] + 1, substituted});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        distance[i][j] = std::min(distance[i][j], distance[i - 2][j - 2] + 1);
      }
    }
  }
  return distance[a.size()][b.size()];
}

}  // namespace

absl::Status MistakeList::ToStatus(absl::string_view path) const {
  if (mistakes_.empty()) return absl::OkStatus();
  std::string text;
  size_t shown = 0;
  for (const Mistake& mistake : mistakes_) {
    if (shown > 0) text += '\n';
    if (shown++ == kMostShown) {
      absl::StrAppend(&text, path, ": and ", mistakes_.size() - kMostShown, " more mistakes");
      break;
    }
    absl::StrAppend(&text, path, ":", mistake.line, ":", mistake.column, ": ", mistake.message);
  }
  absl::Status status = absl::InvalidArgumentError(text);
  status.SetPayload(kCountPayload, absl::Cord(absl::StrCat(mistakes_.size())));
  return status;
}

size_t CountMistakes(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kCountPayload);
  size_t count = 0;
  return payload.has_value() && absl::SimpleAtoi(std::string(*payload), &count) ? count : 0;
}

std::string Quoted(absl::string_view text) {
  constexpr size_t kMostBytes = 60;
  if (text.size() <= kMostBytes) return absl::StrCat("`", absl::Utf8SafeCEscape(text), "`");
  size_t end = kMostBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a character
  return absl::StrCat("`", absl::Utf8SafeCEscape(text.substr(0, end)), "...`");
}

std::string Nearest(absl::string_view text, const std::vector<std::string>& candidates) {
  constexpr size_t kLongest = 64;  // keys are short; the comparison is quadratic
  constexpr size_t kShortestStem = 3;
  if (text.size() > kLongest) return "";
  const std::string lower = absl::AsciiStrToLower(text);
  std::string nearest;
  size_t best = std::max<size_t>(1, text.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const size_t distance = EditDistance(lower, candidate);
    if (distance < best && 2 * distance < candidate.size()) {
      best = distance;
      nearest = candidate;
    }
  }
  if (!nearest.empty() || lower.size() < kShortestStem) return nearest;
  const auto begins = std::find_if(candidates.begin(), candidates.end(),
                                   [&](const std::string& candidate) { return absl::StartsWith(candidate, lower); });
  return begins == candidates.end() ? "" : *begins;
}

std::string DidYouMean(absl::string_view text, const std::vector<std::string>& candidates) {
  const std::string nearest = Nearest(text, candidates);
  return nearest.empty() ? "" : absl::StrCat("; did you mean `", nearest, "`?");
}

}  // namespace tightrope
