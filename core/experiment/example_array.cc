#include "core/experiment/example_array.h"

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/artifact/npy.h"
#include "core/experiment/schema.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

// Larger data sets have no examples that a double could not number.
constexpr double kNoLimit = 9007199254740992.0;

// An item as a double, which is exact for all but integers far beyond any index.
using ItemReader = double (*)(const char*);

template <typename Item>
double ItemAt(const char* at) {
  Item item;
  std::memcpy(&item, at, sizeof(item));
  return static_cast<double>(item);
}

struct ItemType {
  absl::string_view dtype;
  size_t bytes;
  ItemReader read;
};

constexpr ItemType kPixelTypes[] = {{"|u1", 1, ItemAt<uint8_t>}, {"<f4", 4, ItemAt<float>}, {"<f8", 8, ItemAt<double>}};

constexpr ItemType kIndexTypes[] = {{"|i1", 1, ItemAt<int8_t>},   {"<i2", 2, ItemAt<int16_t>},
                                    {"<i4", 4, ItemAt<int32_t>},  {"<i8", 8, ItemAt<int64_t>},
                                    {"|u1", 1, ItemAt<uint8_t>},  {"<u2", 2, ItemAt<uint16_t>},
                                    {"<u4", 4, ItemAt<uint32_t>}, {"<u8", 8, ItemAt<uint64_t>}};

template <size_t n>
const ItemType* FindType(const ItemType (&types)[n], absl::string_view dtype) {
  for (const ItemType& type : types) {
    if (type.dtype == dtype) return &type;
  }
  return nullptr;
}

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("(", absl::StrJoin(shape, ", "), ")"); }

// "[3, 0, 12, 5]"
std::string PlaceText(size_t item, const std::vector<int64_t>& shape) {
  std::vector<size_t> place(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    place[i] = item % static_cast<size_t>(shape[i]);
    item /= static_cast<size_t>(shape[i]);
  }
  return absl::StrCat("[", absl::StrJoin(place, ", "), "]");
}

absl::Status CheckShape(const std::vector<int64_t>& shape, const v1::DatasetRef* data) {
  const bool without_channel = shape.size() == 3;
  bool fits = without_channel || shape.size() == 4;
  std::string wanted = "N x C x H x W, or N x H x W";
  if (data != nullptr) {
    wanted = absl::StrCat("N x ", data->channels(), " x ", data->height(), " x ", data->width());
    if (data->channels() == 1) absl::StrAppend(&wanted, " or N x ", data->height(), " x ", data->width());
    const int64_t channels = shape.size() == 4 ? shape[1] : 1;
    fits = fits && channels == data->channels() && shape[shape.size() - 2] == data->height() &&
           shape[shape.size() - 1] == data->width();
  }
  if (!fits) return absl::InvalidArgumentError(absl::StrCat("examples are ", wanted, "; this is ", ShapeText(shape)));
  if (shape[0] == 0) return absl::InvalidArgumentError("there are no examples in it");
  return absl::OkStatus();
}

// What is wrong with a value, or "".
std::string ProblemOf(double value, double white, bool white_given) {
  if (!std::isfinite(value)) return " is not finite";
  if (value < 0) return " is below 0";
  if (value <= white) return "";
  if (white_given) return absl::StrCat(" is above `white`, which is ", NumberText(white));
  return " is above 1, which is white in files of floating point; where 255 is, write `white: 255`";
}

}  // namespace

absl::StatusOr<ExampleArray> ParseExamples(absl::string_view npy, std::optional<double> white,
                                           const v1::DatasetRef* data) {
  ABSL_ASSIGN_OR_RETURN(const NpyArray array, ParseNpy(npy));
  const ItemType* const type = FindType(kPixelTypes, array.dtype);
  if (type == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("examples are bytes, float32 or float64; save astype(numpy.uint8) or astype(numpy.float32); this "
                     "is of type ",
                     array.dtype));
  }
  ABSL_RETURN_IF_ERROR(CheckShape(array.shape, data));
  const size_t items = array.data.size() / type->bytes;
  if (items > kMaxArrayBytes / sizeof(float)) {
    return absl::InvalidArgumentError(absl::StrCat("one file has at most ", kMaxArrayBytes / sizeof(float),
                                                   " values; make several of it; this has ", items));
  }
  ExampleArray result;
  result.count = static_cast<uint64_t>(array.shape[0]);
  result.white = white.value_or(type->bytes == 1 ? 255 : 1);
  const auto divisor = static_cast<float>(result.white);
  if (!std::isnormal(divisor)) {
    return absl::InvalidArgumentError(
        absl::StrCat("`white` is too small for float32 numbers: ", NumberText(result.white)));
  }
  std::vector<float> values(items);
  for (size_t i = 0; i < items; ++i) {
    const double value = type->read(array.data.data() + i * type->bytes);
    const std::string problem = ProblemOf(value, result.white, white.has_value());
    if (!problem.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the value ", NumberText(value), " at ", PlaceText(i, array.shape), problem));
    }
    values[i] = static_cast<float>(value) / divisor + 0.0f;  // -0 would be another identity for the same examples
  }
  std::vector<int64_t> shape = array.shape;
  if (shape.size() == 3) shape.insert(shape.begin() + 1, 1);
  result.npy = WriteNpy(values, shape);
  return result;
}

absl::StatusOr<ExampleArray> ParseIndices(absl::string_view npy, const v1::DatasetRef* data) {
  ABSL_ASSIGN_OR_RETURN(const NpyArray array, ParseNpy(npy));
  const ItemType* const type = FindType(kIndexTypes, array.dtype);
  if (type == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("indices are whole numbers; save astype(numpy.int64); this is of type ", array.dtype));
  }
  if (array.shape.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("indices are a list, an array of one dimension; this is ", ShapeText(array.shape)));
  }
  const size_t items = array.data.size() / type->bytes;
  if (items == 0) return absl::InvalidArgumentError("there are no indices in it");
  if (items > kMaxArrayBytes / sizeof(int64_t)) {
    return absl::InvalidArgumentError(absl::StrCat("one file has at most ", kMaxArrayBytes / sizeof(int64_t),
                                                   " indices; make several of it; this has ", items));
  }
  const double limit = data == nullptr ? kNoLimit : static_cast<double>(data->count());
  std::vector<int64_t> indices(items);
  for (size_t i = 0; i < items; ++i) {
    const double index = type->read(array.data.data() + i * type->bytes);
    if (!(index >= 0 && index < limit)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the index ", NumberText(index), " at ", PlaceText(i, array.shape), " is not one of the test split",
          data == nullptr ? "" : absl::StrCat(", which has ", data->count(), " examples, numbered from 0")));
    }
    indices[i] = static_cast<int64_t>(index);
  }
  ExampleArray result;
  result.count = items;
  result.npy = WriteIndexNpy(indices);
  return result;
}

}  // namespace tightrope
