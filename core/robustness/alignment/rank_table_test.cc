#include "core/robustness/alignment/rank_table.h"

#include <algorithm>
#include <limits>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

constexpr uint32_t kLargest = std::numeric_limits<uint32_t>::max();

void ExpectRight(RankTable& table, const std::vector<uint32_t>& elements, const std::vector<uint32_t>& others) {
  uint64_t greater = 0, equal = 0;
  for (const uint32_t element : elements) {
    for (const uint32_t other : others) {
      greater += element > other;
      equal += element == other;
    }
  }
  table.Assign(elements);
  const RankTable::Comparison comparison = table.Compare(others);
  EXPECT_EQ(comparison.greater, greater);
  EXPECT_EQ(comparison.equal, equal);
}

TEST(RankTableTest, EqualsEveryPairCompared_WhateverTheRangeAndTheTies) {
  std::mt19937_64 random(1);
  RankTable table;  // one for all: nothing is left of the set before
  for (int trial = 0; trial < 2000; ++trial) {
    const uint64_t range = uint64_t{1} << random() % 33;
    const uint64_t base = random() % (kLargest - range + 2);
    const auto draw = [&](uint64_t margin) {
      const uint64_t low = base < margin ? 0 : base - margin;
      return static_cast<uint32_t>(std::min<uint64_t>(kLargest, low + random() % (range + 2 * margin)));
    };
    std::vector<uint32_t> elements(random() % 70), others(random() % 70);
    for (uint32_t& element : elements) element = draw(0);
    for (uint32_t& other : others)
      other = elements.empty() || random() % 2 == 0 ? draw(5) : elements[random() % elements.size()];
    ExpectRight(table, elements, others);
  }
}

TEST(RankTableTest, TheEndsOfTheRangeAreNumbersLikeOthers) {
  RankTable table;
  const std::vector<uint32_t> ends = {0, 1, kLargest - 1, kLargest, 0, kLargest, 65'535, 65'536, 1u << 31};
  ExpectRight(table, ends, ends);
  ExpectRight(table, {0}, ends);
  ExpectRight(table, {kLargest}, ends);
  ExpectRight(table, {0, kLargest}, ends);
}

TEST(RankTableTest, OneFarElementPutsAllOthersIntoOneInterval_WhichIsSearchedNotScanned) {
  RankTable table;
  std::vector<uint32_t> elements = {kLargest};
  std::vector<uint32_t> others;
  for (uint32_t i = 0; i < 5000; ++i) {
    elements.push_back(1000 + i * 7 % 4096);
    others.push_back(900 + i);
  }
  ExpectRight(table, elements, others);
}

TEST(RankTableTest, AnEmptySetHasNoPairs) {
  RankTable table;
  ExpectRight(table, {3, 4}, {3});
  ExpectRight(table, {}, {3, 4});
  ExpectRight(table, {3, 4}, {});
}

}  // namespace
}  // namespace tightrope
