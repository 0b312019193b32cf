#include "cli/progress_display.h"

#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

using News = std::vector<absl::StatusOr<v1::StatusResponse>>;

class FakeFeed final : public StatusFeed {
 public:
  explicit FakeFeed(News news) : news_(news.begin(), news.end()) {}
  absl::StatusOr<v1::StatusResponse> Next(absl::Duration) override {
    absl::StatusOr<v1::StatusResponse> next = std::move(news_.front());
    news_.pop_front();
    return next;
  }

 private:
  std::deque<absl::StatusOr<v1::StatusResponse>> news_;
};

// A coordinator that can only be watched: each connection has its news, and when all are used up nobody answers.
class FakeClient final : public Client {
 public:
  explicit FakeClient(std::vector<News> connections) : connections_(std::move(connections)) {}
  std::unique_ptr<StatusFeed> Watch(const std::string&, absl::Duration) override {
    const size_t connection = watched_++;
    return std::make_unique<FakeFeed>(
        connection < connections_.size() ? connections_[connection] : News{absl::UnavailableError("nobody answers")});
  }
  size_t watched() const { return watched_; }

  absl::StatusOr<v1::SubmitResponse> Submit(const ExperimentFile&, const std::function<void(uint64_t)>&) override {
    return no_;
  }
  absl::StatusOr<v1::StatusResponse> Status(const std::string&) override { return no_; }
  absl::StatusOr<std::vector<v1::MetricRow>> Results(const std::string&) override { return no_; }
  absl::Status ExportExamples(const std::string&,
                              const std::function<absl::Status(const v1::ExportedExamples&)>&) override {
    return no_;
  }
  absl::Status ExportEpochs(const std::string&,
                            const std::function<absl::Status(const v1::ExportEpochsResponse&)>&) override {
    return no_;
  }
  absl::Status ExportArtifacts(const std::string&,
                               const std::function<absl::Status(const v1::ExportArtifactsResponse&)>&) override {
    return no_;
  }
  absl::Status ExportAlignments(const std::string&,
                                const std::function<absl::Status(const v1::ExportAlignmentsResponse&)>&) override {
    return no_;
  }
  absl::StatusOr<std::vector<std::string>> FindCommitted(const std::vector<std::string>&) override { return no_; }
  absl::Status Download(const std::string&, const std::string&) override { return no_; }

 private:
  const absl::Status no_ = absl::UnimplementedError("not here");
  const std::vector<News> connections_;
  size_t watched_ = 0;
};

v1::StatusResponse Status(bool active, bool finished) {
  v1::StatusResponse status;
  v1::ExperimentStatus& experiment = *status.add_experiments();
  experiment.set_name("quick");
  experiment.set_active(active);
  experiment.set_finished(finished);
  return status;
}

// A clock that only pauses move.
class FollowTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::ExperimentStatus> FollowIt(FakeClient& client, absl::Duration patience) {
    ProgressDisplay display([this] { return now_; });
    testing::internal::CaptureStderr();
    auto end = Follow(client, "quick", display, [](const v1::StatusResponse&) { return absl::OkStatus(); },
                      {.patience = patience, .pause = [this](absl::Duration pause) { now_ += pause; }});
    told_ = testing::internal::GetCapturedStderr();
    return end;
  }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  std::string told_;
};

TEST_F(FollowTest, CoordinatorThatIsRestarted_IsWaitedFor) {
  const absl::Status away = absl::UnavailableError("the coordinator at node1:7 does not answer");
  FakeClient client(
      {{Status(true, false), away}, {away}, {away}, {absl::DeadlineExceededError(""), Status(true, true)}});
  const auto end = FollowIt(client, absl::Seconds(60));
  ASSERT_OK(end);
  EXPECT_TRUE(end->finished());
  EXPECT_THAT(told_, AllOf(HasSubstr("node1:7 does not answer; waiting for the coordinator\n"),
                           HasSubstr("the coordinator answers again\n")));
}

TEST_F(FollowTest, CoordinatorThatStops_IsWaitedForToo) {
  FakeClient client({{Status(true, false), absl::OutOfRangeError("")}, {Status(true, true)}});
  EXPECT_OK(FollowIt(client, absl::Seconds(60)));
}

TEST_F(FollowTest, CoordinatorThatStaysAway_IsGivenUpAfterAMinute) {
  FakeClient gone({{Status(true, false), absl::UnavailableError("nobody answers")}});
  const absl::Time start = now_;
  EXPECT_THAT(FollowIt(gone, absl::Seconds(60)), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("nobody answers")));
  EXPECT_EQ(now_ - start, absl::Seconds(60));
  EXPECT_EQ(gone.watched(), 61u);
}

TEST_F(FollowTest, WithoutPatience_TheFirstLossIsTheEnd) {
  FakeClient client({{Status(true, false), absl::OutOfRangeError("")}});
  EXPECT_THAT(FollowIt(client, absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("the coordinator stopped")));
  EXPECT_EQ(client.watched(), 1u);
  EXPECT_THAT(told_, Not(HasSubstr("waiting for the coordinator")));
}

TEST_F(FollowTest, ExperimentThatNobodyWorksOn_IsNotTakenForACoordinatorThatStopped) {
  FakeClient client({{Status(false, false), absl::OutOfRangeError("")}});
  EXPECT_THAT(FollowIt(client, absl::Seconds(60)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("does not work on quick")));
  EXPECT_EQ(client.watched(), 1u);
}

TEST_F(FollowTest, ErrorThatWaitingDoesNotMend_IsReturned) {
  FakeClient client({{absl::NotFoundError("no such experiment: quick")}});
  EXPECT_THAT(FollowIt(client, absl::Seconds(60)), StatusIs(absl::StatusCode::kNotFound, HasSubstr("quick")));
}

}  // namespace
}  // namespace tightrope
