// What tests of rule data share.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/oracle/rule_dataset.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {

template <typename Parameters>
std::unique_ptr<RuleDataset> Rule(const Parameters& parameters, uint64_t seed = 1) {
  auto rule = MakeRuleDataset(parameters, seed);
  EXPECT_OK(rule);
  return *std::move(rule);
}

inline std::vector<float> Drawn(const RuleDataset& rule, uint64_t index) {
  std::vector<float> features(rule.features());
  rule.Draw(index, absl::MakeSpan(features));
  return features;
}

}  // namespace tightrope
