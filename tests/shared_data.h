// Where tests find the models, bounds and data that are not part of the repository.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include "gtest/gtest.h"

namespace tightrope {

// $TIGHTROPE_SHARED, then ../shared beside the source; empty where neither exists.
inline std::string SharedDirectory() {
  if (const char* shared = std::getenv("TIGHTROPE_SHARED")) return shared;
  const std::filesystem::path beside = std::filesystem::path(TIGHTROPE_SOURCE_DIR).parent_path() / "shared";
  return std::filesystem::is_directory(beside) ? beside.string() : "";
}

}  // namespace tightrope

// Skips a test that needs `file` below the shared directory and names what is missing; fails instead where
// $TIGHTROPE_REQUIRE_SHARED is set (continuous integration).
#define TIGHTROPE_NEEDS_SHARED(file)                                                                                \
  if (const std::string needed = ::tightrope::SharedDirectory() + "/" + (file); !std::filesystem::exists(needed)) { \
    if (std::getenv("TIGHTROPE_REQUIRE_SHARED") != nullptr) FAIL() << "missing shared test data: " << needed;       \
    GTEST_SKIP() << "shared test data not here: " << needed << " (set TIGHTROPE_SHARED)";                           \
  }
