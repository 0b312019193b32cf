// A coordinator: the store, the scheduler and the gRPC services (Coordinator, Artifacts, Experiments, health,
// reflection) of one data directory. `tightrope coordinator` runs one; `tightrope run`, and every command given --dir
// while no coordinator is running there, hold one in their own process on a loopback port.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tightrope {

// The largest message that a coordinator sends, for its clients to take: the results of a large sweep come in one.
inline constexpr int kMaxResponseBytes = 256 << 20;

struct CoordinatorOptions {
  std::string directory;               // --dir
  std::string listen = "127.0.0.1:0";  // port 0: any free one
  bool insecure = false;               // needed to listen on anything but loopback
  // Go on with every unfinished experiment in the store. Without it only experiments submitted to this process run.
  bool resume_experiments = true;
  absl::Duration lease = absl::Seconds(30);
  absl::Duration poll = absl::Seconds(8);  // longest hold of a Sync
  int max_failures = 2;                    // failures of the work itself that are tried again
  int max_losses = 8;                      // lost workers that are tried again
};

class CoordinatorServer {
 public:
  // Errors: INVALID_ARGUMENT (a malformed address; a file is where the directory should be), FAILED_PRECONDITION (a
  // non-loopback address without `insecure`; a store written by a newer version), ABORTED (another coordinator has the
  // directory), PERMISSION_DENIED, RESOURCE_EXHAUSTED (disk full), UNAVAILABLE (the address cannot be bound, the store
  // cannot be opened), DATA_LOSS (the store is damaged, or no store).
  static absl::StatusOr<std::unique_ptr<CoordinatorServer>> Start(const CoordinatorOptions& options);

  virtual ~CoordinatorServer() = default;  // shuts down

  virtual std::string address() const = 0;  // host:port
  // Tells workers, in their next Sync, that no more work will come.
  virtual void ReleaseWorkers() = 0;
  // Blocks until Shutdown, or until the store fails: that status.
  virtual absl::Status Wait() = 0;
  // Ends calls in flight; thread-safe, may be called from a signal-watching thread.
  virtual void Shutdown() = 0;
};

}  // namespace tightrope
