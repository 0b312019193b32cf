// Groups of neighbouring pixels: DBSCAN (Ester, Kriegel, Sander and Xu 1996) on the places of an image's marked pixels.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tightrope {

struct ClusterOptions {
  double radius = 2;           // pixels at most this far apart are neighbours (l2)
  int64_t min_neighbours = 5;  // a pixel with so many neighbours, itself among them, is the core of a cluster
};

// Of height·width pixels in rows: 0 where `marked` is false, −1 for noise (neither a core nor a neighbour of one), else
// the number of the cluster, from 1. Clusters are numbered in the order of their first core pixels, and a pixel that is
// near to several belongs to the first of them, as in scikit-learn.
std::vector<int32_t> PixelClusters(const std::vector<bool>& marked, int64_t height, int64_t width,
                                   const ClusterOptions& options);

}  // namespace tightrope
