// Rotations and shifts of 8-bit images by cubic splines, bit for bit as scipy.ndimage.rotate(x, degrees, reshape=False)
// and scipy.ndimage.shift(x, (down, right)) give them for uint8 arrays with their defaults: order 3, prefiltered, zeros
// from outside (mode "constant"). The published search for invariance-based examples (Tramèr et al. 2020, the l-inf
// notebook) is built from these two, and its neighbours can only be reproduced with the same bits.
//
// The method. The image is taken as a cubic B-spline that passes through its pixels; its coefficients come from a
// recursive filter along each axis (Unser, Aldroubi and Eden 1991) whose ends continue the image as in a mirror that
// stands on the outermost pixels. An output pixel is the spline at its place in the input, Σ c[i][j]·w_i·w_j over the
// 4×4 coefficients around it; 0 where that place lies outside [0, height − 1]×[0, width − 1]. It is rounded to the
// nearest integer, halves up, and clipped to 0 … 255: after each of the two steps, which is why a rotation and a shift
// in one affine map would give other pixels. Sums are in double in SciPy's order (1.10) and with no fused operations.
//
// Everything here is a pure function, safe on any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace tightrope {

// A rotation about the image's centre and then a shift. Negating the three values undoes it only nearly: the published
// attack negates them and keeps the order.
struct RotationAndShift {
  double down = 0, right = 0;  // pixels, of either sign
  double degrees = 0;          // anticlockwise as the image is seen (rows run down)

  RotationAndShift Negated() const { return {.down = -down, .right = -right, .degrees = -degrees}; }
};

// Shifts along each axis and rotations, evenly from minus the largest to the largest; one alone is 0.
struct GridOptions {
  double max_shift = 3;      // pixels
  uint32_t shifts = 5;       // an axis
  double max_rotation = 30;  // degrees
  uint32_t rotations = 31;
};

// Every choice of them, `down` changing slowest and `degrees` fastest. REQUIRES: at least one of each.
std::vector<RotationAndShift> MoveGrid(const GridOptions& options);

// The 775 points of the published search, in its order, MoveGrid's defaults: `down` (slowest) and `right` in −3, −1.5,
// 0, 1.5, 3 pixels, `degrees` (fastest) in −30, −28 … 30.
std::vector<RotationAndShift> PublishedGrid();

// One plane of an image as a spline.
class SplineImage {
 public:
  // `pixels`: height·width values in rows, both ≥ 1. They are not kept.
  SplineImage(absl::Span<const uint8_t> pixels, int64_t height, int64_t width);

  // To `out`, height·width pixels. REQUIRES: |degrees| ≤ 1e14; finite shifts.
  void Rotate(double degrees, absl::Span<uint8_t> out) const;
  void Shift(double down, double right, absl::Span<uint8_t> out) const;

 private:
  int64_t height_, width_;
  std::vector<double> coefficients_;  // height·width
};

// Both steps on each of the `channels` planes of an image (channels·height·width pixels).
std::vector<uint8_t> RotatedThenShifted(absl::Span<const uint8_t> image, int64_t channels, int64_t height,
                                        int64_t width, const RotationAndShift& move);

// Every point of `grid`, in its order: grid.size()·image.size() pixels. Each angle is turned by once.
std::vector<uint8_t> TransformedOverGrid(absl::Span<const uint8_t> image, int64_t channels, int64_t height,
                                         int64_t width, absl::Span<const RotationAndShift> grid);

// Sine and cosine of an angle in degrees with exact values at multiples of 90 (Moshier's Cephes: sindg, cosdg), as
// SciPy's rotation takes them.
struct SineAndCosine {
  double sine, cosine;
};
SineAndCosine OfDegrees(double degrees);

}  // namespace tightrope
