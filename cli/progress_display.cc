#include "cli/progress_display.h"

#include <unistd.h>

#include <iostream>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/interrupt.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(200);
constexpr absl::Duration kBetweenConnections = absl::Seconds(1);

absl::Status NotWorkedOn(const std::string& experiment) {
  return absl::FailedPreconditionError(absl::StrCat("the coordinator does not work on ", experiment,
                                                    ", which is not finished; submit it again to go on"));
}

// Why a stream ended that did not end with a finished experiment.
absl::Status EndOf(const absl::Status& stream) {
  if (!stream.ok() && !absl::IsOutOfRange(stream)) return stream;
  return absl::UnavailableError("the coordinator stopped before the experiment was finished");
}

}  // namespace

ProgressDisplay::ProgressDisplay(std::function<absl::Time()> now) : now_(std::move(now)), terminal_(STDERR_FILENO) {}

void ProgressDisplay::Update(const v1::StatusResponse& status) {
  history_.Add(status, now_());
  Show();
}

void ProgressDisplay::Refresh() {
  if (history_.empty()) return;
  history_.Add(v1::StatusResponse(history_.latest()), now_());
  Show();
}

void ProgressDisplay::Show() {
  if (terminal_.live()) {
    terminal_.Draw(RenderProgress(history_, terminal_.Style()));
  } else if (const std::optional<std::string> line = log_.Next(history_, now_())) {
    std::cerr << *line << std::endl;
  }
}

void ProgressDisplay::Say(const std::string& line) {
  terminal_.Clear();
  std::cerr << line << std::endl;
  if (!history_.empty() && terminal_.live()) Show();
}

void ProgressDisplay::Close() { terminal_.Clear(); }

absl::StatusOr<v1::ExperimentStatus> Follow(Client& client, const std::string& experiment, ProgressDisplay& display,
                                            const std::function<absl::Status(const v1::StatusResponse&)>& tick,
                                            const Reconnecting& reconnecting) {
  std::unique_ptr<StatusFeed> feed = client.Watch(experiment, kTick);
  absl::Time lost = absl::InfiniteFuture();  // when the coordinator was; in the future while it is there
  v1::StatusResponse newest;
  while (true) {
    ABSL_RETURN_IF_ERROR(CheckInterrupted());
    absl::StatusOr<v1::StatusResponse> status = feed->Next(kTick);
    if (status.ok() && status->experiments_size() == 1) {
      if (std::exchange(lost, absl::InfiniteFuture()) <= display.now()) display.Say("the coordinator answers again");
      newest = *std::move(status);
      display.Update(newest);
      if (newest.experiments(0).finished()) return newest.experiments(0);
      if (!newest.experiments(0).active()) return NotWorkedOn(experiment);
    } else if (absl::IsDeadlineExceeded(status.status())) {
      display.Refresh();
    } else {
      const absl::Status end = EndOf(status.status());
      if (!absl::IsUnavailable(end)) return end;
      if (lost > display.now()) {
        lost = display.now();
        if (reconnecting.patience > absl::ZeroDuration()) {
          display.Say(absl::StrCat(end.message(), "; waiting for the coordinator"));
        }
      }
      if (display.now() - lost >= reconnecting.patience) return end;
      reconnecting.pause(kBetweenConnections);
      feed = client.Watch(experiment, kTick);
    }
    ABSL_RETURN_IF_ERROR(tick(newest));
  }
}

}  // namespace tightrope
