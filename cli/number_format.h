// Numbers as people and scripts read them. Nothing here depends on the locale, so that output is the same everywhere.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace tightrope {

// The shortest decimal that reads back as exactly `value`: 0.1, 1e-07, 97.
std::string Shortest(double value);

// Thousands set apart: 12,345.
std::string Grouped(uint64_t value);

// Three figures and a magnitude, for estimates: 940, 12.3 k, 4.56 M, 1.2 G.
std::string Rounded(double value);

// A share in [0, 1] in percent without the sign: 0.8912 → "89.12".
std::string Percent(double share, int decimals);

// Minutes and seconds, or hours, minutes and seconds: 0:07, 12:30, 3:05:09. An infinite or negative duration is "-".
std::string Clock(absl::Duration duration);

}  // namespace tightrope
