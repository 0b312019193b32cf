// The affine transforms that the published l0 attack by invariance-based examples draws (Tramèr et al. 2020,
// l0/invariant_l0_attack.py), and bilinear interpolation by them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "core/random/random_stream.h"

namespace tightrope {

// The box that transforms are drawn from, uniformly. The default shifts and darkens by less than the published search
// does: maps about the centre leave a digit in the middle of the image, and more of them come near to something (of the
// published 100 sources the median distance after 100 transforms is 49 pixels, with the published shifts 56).
struct AffineRanges {
  double degrees = 14.323944878270580;  // ±, 0.25 radians
  double scale = 0.2;                   // 1 ± this, each axis
  double shear = 0.2;                   // ±, each axis
  double shift = 2;                     // ±, pixels, each axis
  double least_darkening = 0.5, most_darkening = 2;
};

// As in the source: shifts of ± 8 pixels, and a darkening from −0.25, where draws of at most 0 find nothing.
inline AffineRanges PublishedAffineRanges() { return {.shift = 8, .least_darkening = -0.25, .most_darkening = 4}; }

struct AffineDraw {
  double degrees = 0;
  double scale_x = 1, scale_y = 1;
  double shear_x = 0, shear_y = 0;
  double shift_x = 0, shift_y = 0;
  double darkening = 1;  // the exponent p of Darkened
};

// Transform number `index`; whoever asks gets the same.
AffineDraw DrawAffine(const RandomStream& stream, uint32_t index, const AffineRanges& ranges);

// From the place (x, y) of an output pixel, column and row, to the place in the input that it is read at.
struct AffineMap {
  double xx = 1, xy = 0, x0 = 0;
  double yx = 0, yy = 1, y0 = 0;

  AffineMap Inverse() const;
};

// Shear · scale · shift · rotation, in this order of matrices. By default about the centre of the image. In the
// published form about its top left corner, and with the "rotation" [[cos, sin], [sin, cos]] of the source, which is
// none: it stretches one diagonal and shrinks the other.
AffineMap MapOf(const AffineDraw& draw, int64_t height, int64_t width, bool published_form);

// What an output pixel is made of: Σ weight[i]·input[pixel[i]], weights ≥ 0. A place outside counts as 0 (weight 0, and
// any pixel).
struct BilinearTaps {
  std::array<int32_t, 4> pixel = {};
  std::array<double, 4> weight = {};
};

// One for each pixel of an image in rows.
std::vector<BilinearTaps> BilinearTapsOf(const AffineMap& map, int64_t height, int64_t width);

std::vector<float> Interpolated(absl::Span<const BilinearTaps> taps, absl::Span<const float> image);

// How much of each input pixel is left in the sum of all pixels after `there` and then `back`: their adjoints applied
// to ones. The sum that an image keeps is then one inner product.
std::vector<double> KeptWeights(absl::Span<const BilinearTaps> there, absl::Span<const BilinearTaps> back);

// (1 − (1 − value)^p)^(1/p) on [0, 1], for p > 0: thickens the strokes of an interpolated image where p > 1 and thins
// them where p < 1. ("Darkening" in the source, on images that are white on black.)
double Darkened(double value, double p);
// The value that is darkened to ½: what is above it counts as a set pixel.
double DarkeningThreshold(double p);

}  // namespace tightrope
