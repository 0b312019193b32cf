// What --devices means, before anybody has looked which GPUs there are.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tightrope {

// The number of a GPU; nothing: the cpu.
using DeviceName = std::optional<uint32_t>;

// `cpu` and `cuda:N` separated by commas, each at most once; empty for `auto`. Errors: INVALID_ARGUMENT, saying what to
// write.
absl::StatusOr<std::vector<DeviceName>> ParseDeviceList(absl::string_view list);

}  // namespace tightrope
