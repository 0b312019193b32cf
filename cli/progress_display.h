// Shows the progress of a run on standard error while it lasts: redrawn in place on a terminal, plain lines elsewhere.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/terminal.h"

namespace tightrope {

// Not thread-safe.
class ProgressDisplay {
 public:
  explicit ProgressDisplay(std::function<absl::Time()> now);

  absl::Time now() const { return now_(); }

  void Update(const v1::StatusResponse& status);
  // The last status again: time goes on even when nothing else does.
  void Refresh();
  // A line that stays, above the view.
  void Say(const std::string& line);
  // Ends the view; on a terminal it is removed, since a summary follows.
  void Close();

 private:
  void Show();

  const std::function<absl::Time()> now_;
  Terminal terminal_;
  ProgressHistory history_;
  ProgressLog log_;
};

// What Follow does where the coordinator goes away: it may come back, as one that is started again does.
struct Reconnecting {
  absl::Duration patience = absl::ZeroDuration();  // how long it tries
  std::function<void(absl::Duration)> pause = &SleepUnlessInterrupted;
};

// Shows `experiment` until it is finished, and returns its last status. `tick` is called with the newest status several
// times a second; an error that it returns ends it all.
// Errors: CANCELLED (interrupted), NOT_FOUND (no such experiment), FAILED_PRECONDITION (the coordinator does not work
// on it), UNAVAILABLE (the coordinator went away and has not come back), those of `tick`.
absl::StatusOr<v1::ExperimentStatus> Follow(Client& client, const std::string& experiment, ProgressDisplay& display,
                                            const std::function<absl::Status(const v1::StatusResponse&)>& tick,
                                            const Reconnecting& reconnecting = {});

}  // namespace tightrope
