#include "core/fault_point.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace tightrope {
namespace {

constexpr std::array kNames = {
    "artifact.before-rename",
    "coordinator.commit.after-durable",
    "coordinator.commit.before-durable",
    "coordinator.lease.after-grant",
    "coordinator.submit.after-durable",
    "coordinator.submit.before-durable",
    "worker.attack.before-commit",
    "worker.attack.in-step",
    "worker.lease.before-start",
    "worker.training.after-checkpoint",
    "worker.training.before-commit",
    "worker.training.in-epoch",
};

struct Armed {
  std::string name;    // empty: not armed
  std::string marker;  // created on dying
  long hit = 1;

  Armed() {
    const char* text = std::getenv("TIGHTROPE_KILL_AT");
    if (text == nullptr) return;
    name = text;
    if (const size_t at = name.find('@'); at != std::string::npos) {
      marker = name.substr(at + 1);
      name.resize(at);
    }
    if (const size_t hash = name.find('#'); hash != std::string::npos) {
      hit = std::strtol(name.c_str() + hash + 1, nullptr, 10);
      name.resize(hash);
    }
    if (std::find(kNames.begin(), kNames.end(), name) == kNames.end()) {
      std::fprintf(stderr, "TIGHTROPE_KILL_AT names no fault point: %s\n", name.c_str());
      std::abort();
    }
  }
};

}  // namespace

void FaultPoint(const char* name) {
  static const Armed armed;
  static std::atomic<long> hits{0};
  if (armed.name.empty() || armed.name != name) return;
  if (hits.fetch_add(1) + 1 != armed.hit) return;
  if (!armed.marker.empty()) {
    const int marker = open(armed.marker.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (marker < 0) return;
    close(marker);
  }
  kill(getpid(), SIGKILL);
  pause();
}

std::vector<std::string> FaultPoints() { return {kNames.begin(), kNames.end()}; }

}  // namespace tightrope
