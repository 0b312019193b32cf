// The one pair of macros for absl::Status, under the names that Abseil itself uses from LTS 20260526 on
// (absl/status/status_macros.h); this file goes when the oldest supported Abseil has them.
//
//   ABSL_RETURN_IF_ERROR(reader.Open(path)) << "cannot read the experiment " << path;
//   ABSL_ASSIGN_OR_RETURN(const Dataset data, ReadDataset(path));
//
// Context given by << is put before the message, as "context: message"; code and payloads are kept.
#pragma once

#include <sstream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace tightrope {

// Returns `status` with "context: " before its message; an OK status is returned as it is.
inline absl::Status Annotate(const absl::Status& status, const std::string& context) {
  if (status.ok() || context.empty()) return status;
  absl::Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload([&](auto url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

namespace internal {

class StatusBuilder {
 public:
  explicit StatusBuilder(absl::Status status) : status_(std::move(status)) {}

  template <typename T>
  StatusBuilder&& operator<<(const T& value) && {
    context_ << value;
    return std::move(*this);
  }

  operator absl::Status() && { return Annotate(status_, context_.str()); }  // NOLINT: implicit, to be returned
  template <typename T>
  operator absl::StatusOr<T>() && {  // NOLINT: implicit, to be returned
    return Annotate(status_, context_.str());
  }

 private:
  absl::Status status_;
  std::ostringstream context_;
};

}  // namespace internal
}  // namespace tightrope

#ifndef ABSL_RETURN_IF_ERROR
#define ABSL_RETURN_IF_ERROR(expression)                                     \
  if (absl::Status tightrope_status = (expression); tightrope_status.ok()) { \
  } else /* NOLINT */                                                        \
    return ::tightrope::internal::StatusBuilder(std::move(tightrope_status))

#define TIGHTROPE_CONCAT_INNER(a, b) a##b
#define TIGHTROPE_CONCAT(a, b) TIGHTROPE_CONCAT_INNER(a, b)
#define ABSL_ASSIGN_OR_RETURN(lhs, expression) \
  TIGHTROPE_ASSIGN_OR_RETURN(TIGHTROPE_CONCAT(tightrope_statusor_, __LINE__), lhs, expression)
#define TIGHTROPE_ASSIGN_OR_RETURN(statusor, lhs, expression) \
  auto statusor = (expression);                               \
  if (!statusor.ok()) return std::move(statusor).status();    \
  lhs = std::move(statusor).value()
#endif
