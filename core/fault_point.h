// Named places where a process can be made to die, so that tests with real processes can kill at exactly the moments
// that matter. Does nothing unless $TIGHTROPE_KILL_AT is set when the process starts:
//
//   TIGHTROPE_KILL_AT=worker.attack.before-commit@/tmp/killed      die (SIGKILL) at that point, once
//   TIGHTROPE_KILL_AT=worker.training.after-epoch#3@/tmp/killed    at the third time it is reached
//
// The file after @ is created when the process dies there; while it exists nobody dies, so a restarted process lives.
// Every point is listed in FaultPoints(); KillTest in tests/end_to_end_test.cc dies at each.
#pragma once

#include <string>
#include <vector>

namespace tightrope {

// Thread-safe; a branch on a constant when not armed.
void FaultPoint(const char* name);

// All names, sorted; arming any other name aborts.
std::vector<std::string> FaultPoints();

}  // namespace tightrope
