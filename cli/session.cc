#include "cli/session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "cli/interrupt.h"
#include "core/artifact/data_directory.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(5);
// Another command on the same directory ends, or begins to listen, within moments: how often we look again, and after
// what pause.
constexpr int kTries = 20;
constexpr absl::Duration kBetweenTries = absl::Milliseconds(100);

// What Start says of a directory that another coordinator has.
bool HeldByAnother(const absl::Status& status) { return absl::IsAborted(status); }

}  // namespace

void AddTargetOptions(CLI::App& app, Target& target) {
  CLI::Option* coordinator =
      app.add_option("--coordinator", target.coordinator, "Address of a running coordinator")->type_name("HOST:PORT");
  CLI::Option* directory = app.add_option("--dir", target.directory, "Data directory with the store and the artifacts")
                               ->type_name("DIR")
                               ->capture_default_str();
  coordinator->excludes(directory);
}

Session::Session(std::unique_ptr<CoordinatorServer> server, std::unique_ptr<Client> client)
    : server_(std::move(server)), client_(std::move(client)) {}

Session::~Session() { client_.reset(); }

absl::StatusOr<std::unique_ptr<Session>> Session::Open(const Target& target) {
  std::string address = target.coordinator;
  std::unique_ptr<CoordinatorServer> server;
  if (address.empty()) {
    const DataDirectory directory(target.directory);
    if (!directory.HasStore()) {
      return absl::UnavailableError(
          absl::StrCat("no data here: there is no store in the directory ", target.directory));
    }
    if (absl::StatusOr<std::string> running = directory.RunningAddress(); running.ok()) {
      address = *std::move(running);
    } else {
      absl::StatusOr<std::unique_ptr<CoordinatorServer>> started = CoordinatorServer::Start(
          {.directory = target.directory, .listen = "127.0.0.1:0", .insecure = false, .resume_experiments = false});
      // Another command came first and has the directory now: not wrong input, but a moment's bad luck.
      if (HeldByAnother(started.status())) return absl::UnavailableError(started.status().message());
      ABSL_RETURN_IF_ERROR(started.status()) << "cannot open the store in " << target.directory;
      server = *std::move(started);
      address = server->address();
    }
  }
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::Connect(address, kPatience));
  return std::unique_ptr<Session>(new Session(std::move(server), std::move(client)));
}

absl::StatusOr<std::unique_ptr<CoordinatorServer>> StartOwnServer(const CoordinatorOptions& options,
                                                                  const std::function<void(absl::Duration)>& pause) {
  for (int i = 1;; ++i) {
    absl::StatusOr<std::unique_ptr<CoordinatorServer>> server = CoordinatorServer::Start(options);
    if (!HeldByAnother(server.status())) return server;
    if (i == kTries) return absl::UnavailableError(server.status().message());
    ABSL_RETURN_IF_ERROR(CheckInterrupted());
    pause(kBetweenTries);
  }
}

absl::Status WithSession(const Target& target, const std::function<absl::Status(Session&)>& use) {
  const DataDirectory directory(target.directory);
  const absl::Time end = absl::Now() + kTries * kBetweenTries;
  for (int i = 1;; ++i) {
    const std::string before = directory.RunningAddress().value_or("");
    absl::StatusOr<std::unique_ptr<Session>> session = Session::Open(target);
    absl::Status status = session.ok() ? use(**session) : session.status();
    const bool may_be_a_race = absl::IsUnavailable(status) && target.coordinator.empty() &&
                               !(session.ok() && (*session)->embedded()) && directory.HasStore();
    if (!may_be_a_race || Interrupted() || i == kTries) return status;
    // A coordinator that stays and does not answer is suspended, say; each try costs the patience of a connection.
    const bool stays = !before.empty() && directory.RunningAddress().value_or("") == before;
    if (stays && absl::Now() >= end) return status;
    session = absl::UnavailableError("closed");
    SleepUnlessInterrupted(kBetweenTries);
  }
}

}  // namespace tightrope
