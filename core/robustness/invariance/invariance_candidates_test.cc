#include "core/robustness/invariance/invariance_candidates.h"

#include <memory>

#include "core/robustness/invariance/invariance_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

TEST(InvarianceCandidatesTest, EachMethodSaysHowManyAndL0WantsThemAsBits) {
  v1::InvarianceSet set;
  EXPECT_EQ(CandidatesOf(set), CandidateChoice());
  set.mutable_linf()->set_candidates(7);
  EXPECT_EQ(CandidatesOf(set), (CandidateChoice{.count = 7, .as_bits = false}));
  set.mutable_interpolate()->set_candidates(8);
  EXPECT_EQ(CandidatesOf(set), (CandidateChoice{.count = 8, .as_bits = false}));
  set.mutable_l0()->set_candidates(9);
  EXPECT_EQ(CandidatesOf(set), (CandidateChoice{.count = 9, .as_bits = true}));
}

TEST(InvarianceCandidatesTest, AllImagesAreSharedAndTheFirstAreCopied) {
  const auto training = std::make_shared<const Dataset>(RandomImages(30, 1, 4, 4, 3, 1, 1));
  for (const uint64_t all : {0, 30}) {
    const auto candidates = PrepareCandidates(training, {.count = all});
    ASSERT_OK(candidates);
    EXPECT_EQ(candidates->images, training);
    EXPECT_EQ(&candidates->search.training(), training.get());
    EXPECT_FALSE(candidates->bits);
  }
  const auto first = PrepareCandidates(training, {.count = 12, .as_bits = true});
  ASSERT_OK(first);
  EXPECT_EQ(first->images->count, 12u);
  EXPECT_EQ(first->images->labels, std::vector<uint8_t>(training->labels.begin(), training->labels.begin() + 12));
  EXPECT_EQ(first->images->pixels, std::vector<uint8_t>(training->pixels.begin(), training->pixels.begin() + 12 * 16));
  EXPECT_EQ(first->images->classes, 3u);
  EXPECT_EQ(&first->search.training(), first->images.get());
  ASSERT_TRUE(first->bits);
  EXPECT_EQ(&first->bits->data(), first->images.get());
}

TEST(InvarianceCandidatesTest, WhatCannotBePreparedIsRefused) {
  const auto training = std::make_shared<const Dataset>(RandomImages(30, 2, 4, 4, 3, 1, 1));
  EXPECT_THAT(PrepareCandidates(training, {.count = 31}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most the 30 examples")));
  EXPECT_THAT(PrepareCandidates(training, {.count = 3, .as_bits = true}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one channel")));
  auto broken = std::make_shared<Dataset>(*training);
  broken->pixels.pop_back();
  EXPECT_THAT(PrepareCandidates(broken, {.count = 30}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("can't be searched")));
  EXPECT_THAT(PrepareCandidates(broken, {.count = 29}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("can't be searched")));
}

}  // namespace
}  // namespace tightrope
