#include "core/experiment/radius_rule.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "core/experiment/schema.h"

namespace tightrope {
namespace {

std::optional<std::string> BeyondTheInputs(v1::Norm norm, double epsilon, const v1::DatasetRef& data) {
  const double elements = static_cast<double>(data.channels()) * data.height() * data.width();
  const double largest = norm == v1::NORM_L2 ? std::sqrt(elements) : elements;
  if (epsilon <= largest) return std::nullopt;
  return absl::StrCat("`epsilon` of ", EnumValueName(norm), " is 0 to ", NumberText(std::round(largest * 1000) / 1000),
                      ", ", norm == v1::NORM_L2 ? "the diagonal of " : "the number of elements of ", data.channels(),
                      "x", data.height(), "x", data.width(), " inputs in [0, 1]; ", NumberText(epsilon), " is not");
}

}  // namespace

std::optional<std::string> RadiusProblem(v1::Norm norm, double epsilon, const v1::DatasetRef* data) {
  if (norm == v1::NORM_LINF && epsilon > 1) {
    const std::string hint =
        epsilon <= 255 ? absl::StrCat("; in pixel values of 0 to 255 write ", NumberText(epsilon), "/255") : "";
    return absl::StrCat("`epsilon` of linf is 0 to 1, because inputs are in [0, 1]; ", NumberText(epsilon), " is not",
                        hint);
  }
  if (norm == v1::NORM_SPATIAL && epsilon > 1) {
    return absl::StrCat("`epsilon` of spatial is 0 to 1, a share of `max_rotation` and `max_translation`; ",
                        NumberText(epsilon), " is not");
  }
  if (norm == v1::NORM_L0 && epsilon != std::floor(epsilon)) {
    return absl::StrCat("`epsilon` of l0 is a whole number, of input elements; ", NumberText(epsilon), " is not");
  }
  const bool bounded_by_the_inputs = norm == v1::NORM_L2 || norm == v1::NORM_L1 || norm == v1::NORM_L0;
  if (data == nullptr || !bounded_by_the_inputs) return std::nullopt;
  return BeyondTheInputs(norm, epsilon, *data);
}

}  // namespace tightrope
