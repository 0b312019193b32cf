// One YAML value → one field of a message.
#pragma once

#include <optional>

#include "absl/strings/string_view.h"
#include "core/experiment/yaml_document.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace tightrope {

// Sets the single-valued field, or appends to the repeated one. False, and nothing set, where the value is not what
// Expectation(field) says. REQUIRES: not a message field.
bool ReadScalar(const YamlNode& node, const google::protobuf::FieldDescriptor& field,
                google::protobuf::Message& message);

// `0.1`, `1e-3`, `8/255`. Nothing for infinities, NaN, hexadecimal and what is no number.
std::optional<double> ParseNumber(absl::string_view text);

}  // namespace tightrope
