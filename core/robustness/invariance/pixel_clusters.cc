#include "core/robustness/invariance/pixel_clusters.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace tightrope {

std::vector<int32_t> PixelClusters(const std::vector<bool>& marked, int64_t height, int64_t width,
                                   const ClusterOptions& options) {
  const int64_t reach = static_cast<int64_t>(options.radius);
  const double squared_radius = options.radius * options.radius;
  const auto neighbours = [&](int64_t pixel) {
    std::vector<int64_t> near;
    const int64_t y = pixel / width, x = pixel % width;
    for (int64_t v = std::max<int64_t>(0, y - reach); v <= std::min(height - 1, y + reach); ++v) {
      for (int64_t u = std::max<int64_t>(0, x - reach); u <= std::min(width - 1, x + reach); ++u) {
        const double squared_distance = static_cast<double>((v - y) * (v - y) + (u - x) * (u - x));
        if (marked[static_cast<size_t>(v * width + u)] && squared_distance <= squared_radius)
          near.push_back(v * width + u);
      }
    }
    return near;
  };
  const auto is_core = [&](const std::vector<int64_t>& near) {
    return static_cast<int64_t>(near.size()) >= options.min_neighbours;
  };

  constexpr int32_t kNoise = -1;
  std::vector<int32_t> clusters(marked.size());
  for (size_t i = 0; i < marked.size(); ++i) clusters[i] = marked[i] ? kNoise : 0;
  int32_t last = 0;
  for (int64_t first = 0; first < height * width; ++first) {
    if (clusters[static_cast<size_t>(first)] != kNoise || !is_core(neighbours(first))) continue;
    ++last;
    std::vector<int64_t> reached = {first};
    clusters[static_cast<size_t>(first)] = last;
    while (!reached.empty()) {
      const std::vector<int64_t> near = neighbours(reached.back());
      reached.pop_back();
      if (!is_core(near)) continue;  // at the border: it belongs to the cluster but does not make it grow
      for (const int64_t pixel : near) {
        if (clusters[static_cast<size_t>(pixel)] != kNoise) continue;
        clusters[static_cast<size_t>(pixel)] = last;
        reached.push_back(pixel);
      }
    }
  }
  return clusters;
}

}  // namespace tightrope
