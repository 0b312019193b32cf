#include "cli/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

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

extern "C" void OnStop(int) {
  const int error = errno;
  Terminal::RestoreCursorInSignalHandler();
  raise(SIGSTOP);
  errno = error;
}

extern "C" void OnContinue(int) { Terminal::LeaveBlocksInSignalHandler(); }

// SA_RESETHAND: the signal that is raised takes its default course once this returns.
extern "C" void OnQuit(int number) {
  Terminal::RestoreCursorInSignalHandler();
  raise(number);
}

// A signal that is ignored stays so: the shell has no job control.
void Catch(int number, void (*handler)(int), int flags) {
  struct sigaction before = {};
  if (sigaction(number, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) return;
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(number, &action, nullptr);
}

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM}) sigaction(signal, &action, nullptr);
  Catch(SIGTSTP, OnStop, SA_RESTART);
  Catch(SIGCONT, OnContinue, SA_RESTART);
  Catch(SIGQUIT, OnQuit, static_cast<int>(SA_RESETHAND));
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
