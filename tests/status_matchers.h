// Matchers for absl::Status and absl::StatusOr under the names of newer Abseil's absl/status/status_matchers.h.
#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

namespace tightrope {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

// StatusIs(code, message matcher)
MATCHER_P2(StatusIs, code, message, "") {
  const absl::Status& status = GetStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code &&
         ::testing::ExplainMatchResult(message, std::string(status.message()), result_listener);
}

}  // namespace tightrope

// On the status alone: not every value of a StatusOr can be printed.
#define ASSERT_OK(expression) ASSERT_THAT(::tightrope::GetStatus((expression)), ::tightrope::IsOk())
#define EXPECT_OK(expression) EXPECT_THAT(::tightrope::GetStatus((expression)), ::tightrope::IsOk())
