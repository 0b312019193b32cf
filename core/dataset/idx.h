// The IDX format of MNIST and its relatives: a big-endian header, then unsigned bytes.
//
//   images   0x00000803  count  rows  columns   then count·rows·columns bytes
//   labels   0x00000801  count                  then count bytes
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tightrope {

// Views of the parsed bytes, valid as long as those.
struct IdxImages {
  uint32_t count = 0, rows = 0, columns = 0;  // all ≥ 1
  absl::string_view pixels;                   // count·rows·columns
};
struct IdxLabels {
  absl::string_view labels;  // ≥ 1, one a byte
  uint32_t classes = 0;      // the largest label + 1
};

// Nothing is allocated; the header is believed only where the bytes are there. Errors: INVALID_ARGUMENT saying what is
// wrong.
absl::StatusOr<IdxImages> ReadIdxImages(absl::string_view bytes);
absl::StatusOr<IdxLabels> ReadIdxLabels(absl::string_view bytes);

}  // namespace tightrope
