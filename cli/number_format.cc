#include "cli/number_format.h"

#include <array>
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace tightrope {

std::string Shortest(double value) {
  std::array<char, 64> digits;
  const std::to_chars_result end = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  return std::string(digits.data(), end.ptr);
}

std::string Grouped(uint64_t value) {
  const std::string digits = absl::StrCat(value);
  std::string grouped;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) grouped += ',';
    grouped += digits[i];
  }
  return grouped;
}

std::string Rounded(double value) {
  static constexpr std::array<const char*, 6> kMagnitudes = {"", " k", " M", " G", " T", " P"};
  size_t magnitude = 0;
  // 999.5 and not 1000: three figures of 999.7 would be "1000".
  while (value >= 999.5 && magnitude + 1 < kMagnitudes.size()) {
    value /= 1000;
    ++magnitude;
  }
  if (magnitude == 0) return absl::StrFormat("%.0f", value);
  const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return absl::StrFormat("%.*f%s", decimals, value, kMagnitudes[magnitude]);
}

std::string Percent(double share, int decimals) { return absl::StrFormat("%.*f", decimals, 100 * share); }

std::string Clock(absl::Duration duration) {
  if (duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) return "-";
  const int64_t seconds = absl::ToInt64Seconds(duration + absl::Milliseconds(500));
  if (seconds < 3600) return absl::StrFormat("%d:%02d", seconds / 60, seconds % 60);
  return absl::StrFormat("%d:%02d:%02d", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

}  // namespace tightrope
