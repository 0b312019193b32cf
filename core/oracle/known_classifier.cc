#include "core/oracle/known_classifier.h"

#include <algorithm>
#include <boost/math/policies/policy.hpp>
#include <boost/math/special_functions/beta.hpp>
#include <cmath>
#include <limits>

namespace tightrope {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Boost.Math throws by default; arguments that are in range, as ours are, need none of that.
namespace policies = boost::math::policies;
constexpr policies::policy<policies::domain_error<policies::errno_on_error>,
                           policies::overflow_error<policies::errno_on_error>,
                           policies::evaluation_error<policies::errno_on_error>>
    kNoThrow{};

// By symmetry a point of the spheres' space is its distance `a` from the middle in the classifier's coordinates and its
// distance `b` in the others; moves that leave this quadrant of a plane gain nothing. The label changes on the circle
// of radius `label`, the prediction on the line a = `prediction`; they meet in the corner (prediction, Height()) where
// the line cuts the circle.
struct Plane {
  double label = 0;
  double prediction = 0;

  bool Meet() const { return prediction < label; }
  double Height() const { return std::sqrt(label * label - prediction * prediction); }
};

KnownDistances PlaneDistances(const Plane& plane, double a, double b) {
  const double radius = std::hypot(a, b);
  const bool outside = radius > plane.label;
  KnownDistances distances;
  distances.ball = std::abs(a - plane.prediction);
  if (!plane.Meet()) {  // no point inside the circle is beyond the line
    distances.sensitivity = outside ? distances.ball : kNever;
    distances.invariance = outside ? kNever : plane.label - radius;
    return distances;
  }
  const double height = plane.Height();
  const double corner = std::hypot(a - plane.prediction, b - height);
  // Straight to the line, unless that crosses the circle; straight to the circle, unless that crosses the line.
  const bool line_first = outside ? b >= height : b <= height;
  const bool circle_first =
      outside ? a * plane.label >= plane.prediction * radius : a * plane.label <= plane.prediction * radius;
  distances.sensitivity = line_first ? distances.ball : corner;
  distances.invariance = circle_first ? std::abs(radius - plane.label) : corner;
  return distances;
}

// With all coordinates in use there is only the distance from the middle.
KnownDistances LineDistances(const Plane& plane, double radius) {
  const bool outside = radius > plane.label;
  KnownDistances distances;
  distances.ball = std::abs(radius - plane.prediction);
  const bool prediction_first = plane.Meet() != outside;
  distances.sensitivity = prediction_first ? distances.ball : kNever;
  distances.invariance = prediction_first ? kNever : std::abs(radius - plane.label);
  // Between the two circles lie sensitivity examples of one class and invariance examples of the other.
  if (plane.prediction == plane.label) distances.sensitivity = distances.invariance = kNever;
  return distances;
}

// A sphere of which the classifier sees `coordinates` of `dimension` features.
struct Sphere {
  double radius = 0;
  uint32_t coordinates = 0;
  uint32_t dimension = 0;

  // The share of the sphere with a < `bound`.
  double ShareBelow(double bound) const {
    if (bound <= 0) return 0;
    if (bound >= radius) return 1;
    const double share = bound / radius;
    return boost::math::ibeta(coordinates / 2.0, (dimension - coordinates) / 2.0, share * share, kNoThrow);
  }

  // Within how large an angle from the corner, seen from the middle, the sphere's points are at most `epsilon` from it.
  double AngleWithin(const Plane& plane, double epsilon) const {
    const double cosine =
        (radius * radius + plane.label * plane.label - epsilon * epsilon) / (2 * radius * plane.label);
    return std::acos(std::clamp(cosine, -1.0, 1.0));
  }

  // `a` at an angle from the axis on which a = 0, in the quadrant.
  double At(double angle) const { return radius * std::sin(std::clamp(angle, 0.0, std::acos(0.0))); }
};

double CornerAngle(const Plane& plane) { return std::asin(plane.prediction / plane.label); }

KnownErrors InnerErrors(const Sphere& sphere, const Plane& plane, double epsilon) {
  const double s = plane.prediction;
  KnownErrors errors;
  errors.clean = errors.sensitivity = 1 - sphere.ShareBelow(s);
  errors.ball = 1 - sphere.ShareBelow(s - epsilon);
  const bool reaches = epsilon >= plane.label - sphere.radius;
  if (!plane.Meet()) {
    errors.invariance = reaches ? 1 - errors.clean : 0;
    return errors;
  }
  const double angle = sphere.AngleWithin(plane, epsilon);
  double nearest = std::max(s - epsilon, 0.0);  // the least a that is within reach of the other side
  if (std::pow(sphere.radius, 2) - nearest * nearest > std::pow(plane.Height(), 2)) {
    nearest = sphere.At(CornerAngle(plane) - angle);
  }
  errors.sensitivity = 1 - sphere.ShareBelow(std::min(nearest, s));
  if (reaches) errors.invariance = sphere.ShareBelow(std::min(s, sphere.At(CornerAngle(plane) + angle)));
  return errors;
}

KnownErrors OuterErrors(const Sphere& sphere, const Plane& plane, double epsilon) {
  const double s = plane.prediction;
  KnownErrors errors;
  errors.clean = sphere.ShareBelow(s);
  errors.ball = errors.sensitivity = sphere.ShareBelow(s + epsilon);
  if (!plane.Meet()) return errors;
  const double angle = sphere.AngleWithin(plane, epsilon);
  if (std::pow(sphere.radius, 2) - std::pow(s + epsilon, 2) < std::pow(plane.Height(), 2)) {
    errors.sensitivity = sphere.ShareBelow(std::max(s, sphere.At(CornerAngle(plane) + angle)));
  }
  if (epsilon >= sphere.radius - plane.label) {
    errors.invariance = 1 - sphere.ShareBelow(std::max(s, sphere.At(CornerAngle(plane) - angle)));
  }
  return errors;
}

// Adds what a share `weight` of all examples contributes, all of which have `distances`.
void AddErrors(const KnownDistances& distances, double epsilon, double weight, KnownErrors& errors) {
  errors.clean += distances.right ? 0 : weight;
  errors.sensitivity += distances.sensitivity <= epsilon ? weight : 0;
  errors.invariance += distances.invariance <= epsilon ? weight : 0;
  errors.ball += distances.ball <= epsilon ? weight : 0;
}

constexpr KnownDistances kWrong = {/*right=*/false, /*sensitivity=*/0, /*invariance=*/kNever, /*ball=*/0};

KnownDistances RadiusDistances(const Plane& plane, double radius) {
  return (radius > plane.label) == (radius > plane.prediction) ? LineDistances(plane, radius) : kWrong;
}

double SquareOf(absl::Span<const float> features) {
  double square = 0;
  for (const float value : features) {
    const double offset = static_cast<double>(value) - 0.5;
    square += offset * offset;
  }
  return square;
}

KnownDistances FeatureDistances(const ThresholdClassifier& classifier, double first, double second) {
  const double seen = classifier.feature == 0 ? first : second;
  const bool label = first > 0.5;
  if (label != (seen > classifier.threshold)) return kWrong;
  KnownDistances distances;
  distances.ball = std::abs(seen - classifier.threshold);
  if (classifier.feature == 1) {
    distances.sensitivity = distances.ball;
    distances.invariance = std::abs(first - 0.5);
    return distances;
  }
  // The first feature's threshold and 1/2 part its line in three; in the middle part, label and prediction differ.
  const bool threshold_first = label ? classifier.threshold > 0.5 : classifier.threshold < 0.5;
  distances.sensitivity = threshold_first ? distances.ball : kNever;
  distances.invariance = threshold_first || classifier.threshold == 0.5 ? kNever : std::abs(first - 0.5);
  return distances;
}

double Position(bool above, uint32_t level) { return (above ? 128.0 + level : 127.0 - level) / 255; }

}  // namespace

int32_t Predict(const NormClassifier& classifier, absl::Span<const float> features) {
  return SquareOf(features.subspan(0, classifier.coordinates)) > classifier.threshold * classifier.threshold ? 1 : 0;
}

KnownDistances DistancesOf(const ConcentricSpheres& spheres, const NormClassifier& classifier,
                           absl::Span<const float> features) {
  const Plane plane = {LabelRadius(spheres), classifier.threshold};
  const double a = std::sqrt(SquareOf(features.subspan(0, classifier.coordinates)));
  const double b = std::sqrt(SquareOf(features.subspan(classifier.coordinates)));
  if (classifier.coordinates == spheres.dimension) return RadiusDistances(plane, a);
  const bool label = std::hypot(a, b) > plane.label;
  return label == (a > plane.prediction) ? PlaneDistances(plane, a, b) : kWrong;
}

KnownErrors ErrorsOf(const ConcentricSpheres& spheres, const NormClassifier& classifier, double epsilon) {
  const Plane plane = {LabelRadius(spheres), classifier.threshold};
  KnownErrors errors;
  if (classifier.coordinates == spheres.dimension) {
    for (const double radius : {spheres.inner, spheres.outer}) {
      AddErrors(RadiusDistances(plane, radius), epsilon, 0.5, errors);
    }
    return errors;
  }
  const KnownErrors inner = InnerErrors({spheres.inner, classifier.coordinates, spheres.dimension}, plane, epsilon);
  const KnownErrors outer = OuterErrors({spheres.outer, classifier.coordinates, spheres.dimension}, plane, epsilon);
  errors.clean = (inner.clean + outer.clean) / 2;
  errors.sensitivity = (inner.sensitivity + outer.sensitivity) / 2;
  errors.invariance = (inner.invariance + outer.invariance) / 2;
  errors.ball = (inner.ball + outer.ball) / 2;
  return errors;
}

int32_t Predict(const ThresholdClassifier& classifier, absl::Span<const float> features) {
  return static_cast<double>(features[classifier.feature]) > classifier.threshold ? 1 : 0;
}

KnownDistances DistancesOf(const ThresholdClassifier& classifier, absl::Span<const float> features) {
  return FeatureDistances(classifier, static_cast<double>(features[0]), static_cast<double>(features[1]));
}

KnownErrors ErrorsOf(const OverlyRobustFeature& parameters, const ThresholdClassifier& classifier, double epsilon) {
  const double first_levels = parameters.oracle_farthest - parameters.oracle_nearest + 1;
  const double second_levels = parameters.robust_farthest - parameters.robust_nearest + 1;
  KnownErrors errors;
  for (const bool label : {false, true}) {
    for (const bool agrees : {false, true}) {
      const double share = (agrees ? parameters.agreement : 1 - parameters.agreement) / 2;
      for (uint32_t i = parameters.oracle_nearest; i <= parameters.oracle_farthest; ++i) {
        for (uint32_t j = parameters.robust_nearest; j <= parameters.robust_farthest; ++j) {
          const KnownDistances distances =
              FeatureDistances(classifier, Position(label, i), Position(label == agrees, j));
          AddErrors(distances, epsilon, share / (first_levels * second_levels), errors);
        }
      }
    }
  }
  return errors;
}

double LeastBallError(const OverlyRobustFeature& parameters, double epsilon) {
  const double levels = parameters.oracle_farthest - parameters.oracle_nearest + 1;
  const double joined = std::floor(510 * epsilon) - 2 * parameters.oracle_nearest;
  return (1 - parameters.agreement) * std::clamp(joined, 0.0, levels) / levels;
}

}  // namespace tightrope
