// tightrope coordinator: serves one data directory until it is told to stop.
#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/session.h"
#include "cli/worker_program.h"
#include "coordinator/server.h"

namespace tightrope {
namespace {

struct CoordinatorCommandOptions {
  std::string directory = kDefaultDirectory;
  std::string listen = "127.0.0.1:7411";
  bool insecure = false;
};

std::string HostName() {
  std::array<char, HOST_NAME_MAX + 1> name = {};
  return gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "HOST";
}

int Serve(const CoordinatorCommandOptions& options) {
  absl::StatusOr<std::unique_ptr<CoordinatorServer>> server = CoordinatorServer::Start(
      {.directory = options.directory, .listen = options.listen, .insecure = options.insecure});
  if (!server.ok()) return Report(server.status());
  const std::string address = (*server)->address();
  const std::string reachable = AddressForOthers(address, HostName());
  std::cout << "coordinator of " << options.directory << " at " << address << "\n"
            << "  start a worker:  tightrope worker --coordinator " << reachable << "\n"
            << "  submit:          tightrope submit EXPERIMENT.yaml --coordinator " << reachable << " --watch\n"
            << "  stop:            ^C; unfinished experiments go on when it is started again\n"
            << std::flush;

  std::atomic<bool> ended{false};
  std::thread stopper([&] {
    while (!ended && !Interrupted()) SleepUnlessInterrupted(absl::Milliseconds(100));
    if (!ended) (*server)->Shutdown();
  });
  const absl::Status status = (*server)->Wait();
  ended = true;
  stopper.join();
  return Report(status);
}

}  // namespace

Action DefineCoordinator(CLI::App& app) {
  const auto options = std::make_shared<CoordinatorCommandOptions>();
  app.add_option("--dir", options->directory, "Data directory with the store and the artifacts; created where missing")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--listen", options->listen, "Address to listen on; port 0 takes any free one")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_flag("--insecure", options->insecure,
               "Allow an address that other machines reach: anybody there can then submit, read and change everything");
  return [options] { return Serve(*options); };
}

}  // namespace tightrope
