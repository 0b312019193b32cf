// Following one experiment of a coordinator to its end: `watch`, and `submit --watch`.
#pragma once

#include <string>

#include "cli/client.h"

namespace tightrope {

// Shows progress, then failures and how many jobs are done. Returns the exit code of the command. ^C ends the watching
// only. A coordinator that is restarted is waited for, for a minute.
int WatchExperiment(Client& client, const std::string& experiment);

}  // namespace tightrope
