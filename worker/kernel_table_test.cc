#include "worker/kernel_table.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

// Answers with what it has been told, or as the table asks; notes what it is asked.
class FakeExchange final : public KernelExchange {
 public:
  absl::StatusOr<v1::ChooseKernelsResponse> ChooseKernels(const v1::ChooseKernelsRequest& request) override {
    asked.emplace_back();
    for (const v1::KernelOfSignature& proposal : request.proposals()) asked.back().push_back(proposal.signature());
    if (!failures.empty()) {
      const absl::Status failure = failures.back();
      failures.pop_back();
      return failure;
    }
    v1::ChooseKernelsResponse response;
    if (silent) return response;
    *response.mutable_choices() = request.proposals();
    for (v1::KernelOfSignature& choice : *response.mutable_choices()) {
      if (!kernel.empty()) choice.set_kernel(kernel);
    }
    return response;
  }

  std::string kernel;
  bool silent = false;
  std::vector<absl::Status> failures;
  std::vector<std::vector<std::string>> asked;
};

class KernelTableTest : public ::testing::Test {
 protected:
  absl::StatusOr<KernelTable::Choice> Choose(const std::vector<std::string>& signatures,
                                             const std::string& device = "cpu") {
    const auto propose = [&](const std::vector<std::string>& unknown) {
      KernelTable::Choice proposals;
      for (const std::string& signature : unknown) proposals[signature] = "fast";
      timed.push_back(unknown);
      return proposals;
    };
    return table_.Choose(device, "1.13", signatures, propose, cancellation_);
  }

  FakeExchange exchange_;
  Cancellation cancellation_;
  std::vector<std::vector<std::string>> timed;
  KernelTable table_{exchange_, {.first = absl::Milliseconds(1), .give_up_after = absl::Milliseconds(5)}};
};

TEST_F(KernelTableTest, NothingToChoose_NobodyIsAsked) {
  EXPECT_THAT(*Choose({}), IsEmpty());
  EXPECT_THAT(exchange_.asked, IsEmpty());
}

TEST_F(KernelTableTest, WhatIsKnownIsNeitherTimedNorAskedForAgain) {
  EXPECT_THAT(*Choose({"a", "b"}), ElementsAre(Pair("a", "fast"), Pair("b", "fast")));
  EXPECT_THAT(*Choose({"b", "c"}), ElementsAre(Pair("b", "fast"), Pair("c", "fast")));
  EXPECT_THAT(timed, ElementsAre(ElementsAre("a", "b"), ElementsAre("c")));
  EXPECT_THAT(exchange_.asked, ElementsAre(ElementsAre("a", "b"), ElementsAre("c")));
}

TEST_F(KernelTableTest, TheCoordinatorsChoiceIsTakenAgainstOurOwn) {
  exchange_.kernel = "exact";
  EXPECT_THAT(*Choose({"a"}), ElementsAre(Pair("a", "exact")));
  EXPECT_THAT(*Choose({"a"}), ElementsAre(Pair("a", "exact")));
}

TEST_F(KernelTableTest, AnotherKindOfDeviceIsAnotherQuestion) {
  ASSERT_OK(Choose({"a"}));
  exchange_.kernel = "exact";
  EXPECT_THAT(*Choose({"a"}, "cuda"), ElementsAre(Pair("a", "exact")));
}

TEST_F(KernelTableTest, CoordinatorIsAwayForAWhile_TimedOnceAndAskedAgain) {
  exchange_.failures = {absl::UnavailableError("gone"), absl::DeadlineExceededError("slow")};
  EXPECT_THAT(*Choose({"a"}), ElementsAre(Pair("a", "fast")));
  EXPECT_THAT(timed, ElementsAre(ElementsAre("a")));
  EXPECT_EQ(exchange_.asked.size(), 3u);
}

TEST_F(KernelTableTest, CoordinatorStaysAway_IsUnavailable_AndTheNextShardAsksAgain) {
  exchange_.failures.assign(100, absl::UnavailableError("gone"));
  EXPECT_THAT(Choose({"a"}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("gone")));
  exchange_.failures.clear();
  EXPECT_OK(Choose({"a"}));
}

TEST_F(KernelTableTest, AnAttemptThatIsCancelledStopsWaiting) {
  cancellation_.Cancel();
  EXPECT_THAT(Choose({"a"}), StatusIs(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
}

TEST_F(KernelTableTest, ACoordinatorThatDoesNotKnowTheCallIsTooOld) {
  exchange_.failures = {absl::UnimplementedError("")};
  EXPECT_THAT(Choose({"a"}), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("update the coordinator")));
}

TEST_F(KernelTableTest, AnAnswerThatLeavesSignaturesOutIsAnError) {
  exchange_.silent = true;
  EXPECT_THAT(Choose({"a"}), StatusIs(absl::StatusCode::kInternal, HasSubstr("no kernel for a")));
}

}  // namespace
}  // namespace tightrope
