#include "core/device_list.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace tightrope {

absl::StatusOr<std::vector<DeviceName>> ParseDeviceList(absl::string_view list) {
  std::vector<DeviceName> devices;
  if (list == "auto") return devices;
  for (absl::string_view name : absl::StrSplit(list, ',')) {
    name = absl::StripAsciiWhitespace(name);
    DeviceName device;
    if (absl::string_view number = name; absl::ConsumePrefix(&number, "cuda:")) {
      uint32_t gpu = 0;
      if (absl::SimpleAtoi(number, &gpu)) device = gpu;
    }
    if (name != "cpu" && !device.has_value()) {
      return absl::InvalidArgumentError(absl::StrCat("give auto, or cpu and cuda:N separated by commas, not: ",
                                                     name.empty() ? "an empty name" : name));
    }
    if (std::find(devices.begin(), devices.end(), device) != devices.end()) {
      return absl::InvalidArgumentError(absl::StrCat("a device is named twice: ", name));
    }
    devices.push_back(device);
  }
  return devices;
}

}  // namespace tightrope
