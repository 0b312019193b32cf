// SIGINT and SIGTERM as a flag that a command looks at, so that it can end cleanly: state kept, terminal restored,
// workers ended. A second signal ends the process at once. ^Z and ^\ do what they always do, but show the cursor first.
// Thread-safe.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace tightrope {

// Handles the signals from here to the end of the process; to be called once, before threads are started.
void CatchInterrupts();

// True once a signal has come.
bool Interrupted();

// CANCELLED once a signal has come, else OK.
absl::Status CheckInterrupted();

// Sleeps for `limit` or until a signal comes.
void SleepUnlessInterrupted(absl::Duration limit);

}  // namespace tightrope
