// Which coordinator a command talks to: one that runs somewhere, or, where none runs on a data directory, one in this
// process for as long as the command takes.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/client.h"
#include "cli/interrupt.h"
#include "coordinator/server.h"

namespace tightrope {

inline constexpr char kDefaultDirectory[] = "tightrope-data";

// What --coordinator and --dir say.
struct Target {
  std::string coordinator;  // HOST:PORT; empty: look at `directory`
  std::string directory = kDefaultDirectory;
};

// Declares the two options; they exclude each other. `target` must outlive the parse.
void AddTargetOptions(CLI::App& app, Target& target);

class Session {
 public:
  // Never creates a store. Errors: UNAVAILABLE (no coordinator answers, no store in the directory, the store can't be
  // opened), DATA_LOSS (it is damaged), FAILED_PRECONDITION (it was written by a newer version), INVALID_ARGUMENT (a
  // malformed address).
  static absl::StatusOr<std::unique_ptr<Session>> Open(const Target& target);

  ~Session();

  Client& client() { return *client_; }
  // True where the coordinator lives in this process: then nothing runs on that store.
  bool embedded() const { return server_ != nullptr; }

 private:
  Session(std::unique_ptr<CoordinatorServer> server, std::unique_ptr<Client> client);

  std::unique_ptr<CoordinatorServer> server_;
  std::unique_ptr<Client> client_;
};

// CoordinatorServer::Start, tried again for a moment while another command has the directory; a coordinator that stays
// is UNAVAILABLE. `pause` is called between tries.
absl::StatusOr<std::unique_ptr<CoordinatorServer>> StartOwnServer(
    const CoordinatorOptions& options, const std::function<void(absl::Duration)>& pause = &SleepUnlessInterrupted);

// Opens a session and calls `use` with it. Two commands on one directory at once are fine: the second is served by the
// coordinator inside the first, and when that one ends too early, `use` is called again with a session of our own; so
// `use` must not have shown anything when it returns UNAVAILABLE. A coordinator that stays without
// answering is given up after one try that takes longer than a race does.
absl::Status WithSession(const Target& target, const std::function<absl::Status(Session&)>& use);

}  // namespace tightrope
