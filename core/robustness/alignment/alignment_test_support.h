// What the tests of alignment share.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dataset/dataset.h"

namespace tightrope {

// Images of one channel and one row.
inline Dataset MakeDataset(const std::vector<std::vector<uint8_t>>& images, const std::vector<uint8_t>& labels,
                           uint32_t classes) {
  Dataset data{.count = images.size(),
               .channels = 1,
               .height = 1,
               .width = static_cast<uint32_t>(images.at(0).size()),
               .pixels = {},
               .labels = labels,
               .classes = classes};
  for (const auto& image : images) data.pixels.insert(data.pixels.end(), image.begin(), image.end());
  return data;
}

}  // namespace tightrope
