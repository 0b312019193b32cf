#include "cli/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "cli/exit_code.h"
#include "cli/terminal.h"

namespace tightrope {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "the signal handler needs it");

extern "C" void OnSignal(int) {
  if (!interrupted.exchange(true)) return;
  Terminal::RestoreCursorInSignalHandler();
  _exit(kExitInterrupted);
}

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

bool Interrupted() { return interrupted; }

absl::Status CheckInterrupted() { return Interrupted() ? absl::CancelledError("interrupted") : absl::OkStatus(); }

void SleepUnlessInterrupted(absl::Duration limit) {
  // The signal may be delivered to another thread, so the sleep is cut into pieces short enough for a person.
  constexpr absl::Duration kPiece = absl::Milliseconds(50);
  for (; limit > absl::ZeroDuration() && !Interrupted(); limit -= kPiece) {
    poll(nullptr, 0, static_cast<int>(absl::ToInt64Milliseconds(std::min(limit, kPiece))));
  }
}

}  // namespace tightrope
