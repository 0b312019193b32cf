#include "core/robustness/invariance/invariance_sources.h"

#include <cassert>
#include <cstddef>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/artifact/npy.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

uint64_t ElementsOf(const Dataset& data) { return uint64_t{data.channels} * data.height * data.width; }

std::string Described(absl::string_view dtype, const std::vector<int64_t>& shape) {
  return absl::StrCat(dtype, " of shape (", absl::StrJoin(shape, ", "), ")");
}

absl::StatusOr<NpyArray> ParseAs(absl::string_view what, absl::string_view bytes, absl::string_view dtype,
                                 const std::vector<int64_t>& shape) {
  absl::StatusOr<NpyArray> array = ParseNpy(bytes);
  ABSL_RETURN_IF_ERROR(array.status()) << "the array of " << what;
  if (array->dtype != dtype || array->shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat("the array of ", what, " must be ", Described(dtype, shape),
                                                   ", as the job and its data say; got ",
                                                   Described(array->dtype, array->shape)));
  }
  return array;
}

}  // namespace

absl::Status CheckSources(const InvarianceSources& sources) {
  const Dataset& data = sources.data;
  const uint64_t elements = ElementsOf(data);
  if (elements == 0 || data.pixels.size() != data.count * elements || data.labels.size() != data.count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the arrays of the sources' data do not match their shape: ", data.count, "×", data.channels, "×", data.height,
        "×", data.width, " with ", data.pixels.size(), " pixels and ", data.labels.size(), " labels"));
  }
  for (size_t i = 0; i < sources.indices.size(); ++i) {
    if (sources.indices[i] < data.count) continue;
    return absl::InvalidArgumentError(absl::StrCat("a source is no example of its data of ", data.count,
                                                   "; at position ", sources.begin + i, ": ", sources.indices[i]));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint64_t>> SourceIndices(const v1::Sources& sources, const v1::Shard& range,
                                                    absl::string_view array, uint64_t examples) {
  if (range.begin() > range.end() || range.end() > sources.count()) {
    return absl::InvalidArgumentError(absl::StrCat("the positions are not inside the set of ", sources.count(),
                                                   " sources: [", range.begin(), ", ", range.end(), ")"));
  }
  std::vector<uint64_t> indices;
  if (sources.indices_sha256().empty()) {
    if (sources.count() > examples || sources.first() > examples - sources.count()) {
      return absl::InvalidArgumentError(absl::StrCat("the set's ", sources.count(), " sources from example ",
                                                     sources.first(), " on go beyond the data's ", examples,
                                                     " examples"));
    }
    for (uint64_t i = range.begin(); i < range.end(); ++i) indices.push_back(sources.first() + i);
    return indices;
  }
  ABSL_ASSIGN_OR_RETURN(const NpyArray parsed,
                        ParseAs("sources", array, "<i8", {static_cast<int64_t>(sources.count())}));
  for (uint64_t i = range.begin(); i < range.end(); ++i) {
    int64_t index = 0;
    std::memcpy(&index, parsed.data.data() + i * sizeof(index), sizeof(index));
    if (index < 0 || static_cast<uint64_t>(index) >= examples) {
      return absl::InvalidArgumentError(
          absl::StrCat("the array of sources names what is no example of the data; give "
                       "indices from 0 to ",
                       examples, ", without it; at position ", i, ": ", index));
    }
    indices.push_back(static_cast<uint64_t>(index));
  }
  return indices;
}

absl::StatusOr<std::vector<float>> ExampleRows(absl::string_view array, const Dataset& data, const RowRange& range) {
  assert(range.begin <= range.end && range.end <= range.rows);
  ABSL_ASSIGN_OR_RETURN(const NpyArray parsed, ParseAs("examples", array, "<f4",
                                                       {static_cast<int64_t>(range.rows), int64_t{data.channels},
                                                        int64_t{data.height}, int64_t{data.width}}));
  const size_t elements = ElementsOf(data);
  std::vector<float> values((range.end - range.begin) * elements);
  if (!values.empty()) {
    std::memcpy(values.data(), parsed.data.data() + range.begin * elements * sizeof(float),
                values.size() * sizeof(float));
  }
  return values;
}

}  // namespace tightrope
