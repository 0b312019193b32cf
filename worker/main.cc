// tightrope-worker: computes shards for a coordinator.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "core/robustness/torch.h"
#include "core/usable_cores.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"
#include "worker/worker.h"

namespace tightrope {
namespace {

constexpr int kExitDone = 0;
constexpr int kExitWrongInput = 2;
constexpr int kExitUnreachable = 3;  // the coordinator, the cache or a device can't be reached or used

// Signals become bytes in this pipe, read by a thread. Not sigwait: libraries start threads before main that do not
// block signals, and any of them may get one.
std::array<int, 2> signal_pipe = {-1, -1};
volatile sig_atomic_t signals_seen = 0;

extern "C" void HandleSignal(int signal_number) {
  if (signals_seen != 0) _exit(128 + signal_number);  // asked twice: now
  signals_seen = 1;
  const char byte = 's';
  // A pipe that holds nothing yet takes a byte.
  [[maybe_unused]] const ssize_t written = write(signal_pipe[1], &byte, 1);
}

// Calls `worker.Drain` at the first SIGTERM or SIGINT while it lives; the second one ends the process.
class DrainOnSignal {
 public:
  explicit DrainOnSignal(Worker& worker) {
    if (pipe2(signal_pipe.data(), O_CLOEXEC) != 0) return;  // out of descriptors: signals keep their usual effect
    struct sigaction action = {};
    action.sa_handler = HandleSignal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    thread_ = std::thread([&worker] {
      char byte = 0;
      if (read(signal_pipe[0], &byte, 1) != 1 || byte != 's') return;
      spdlog::info("leaving: leases are given back, finished work is delivered; signal again to exit at once");
      worker.Drain();
    });
  }
  ~DrainOnSignal() {
    if (!thread_.joinable()) return;
    const char byte = 'q';
    [[maybe_unused]] const ssize_t written = write(signal_pipe[1], &byte, 1);
    thread_.join();
  }
  DrainOnSignal(const DrainOnSignal&) = delete;
  DrainOnSignal& operator=(const DrainOnSignal&) = delete;

 private:
  std::thread thread_;
};

std::string DefaultCache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return absl::StrCat(cache, "/tightrope");
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return absl::StrCat(home, "/.cache/tightrope");
  }
  return "/tmp/tightrope-cache";
}

struct Flags {
  std::string coordinator;
  std::string cache = DefaultCache();
  std::string devices = "auto";
  int executors = UsableCores();
  bool exit_with_parent = false;
  double idle_exit = 0;
  double give_up_after = 600;
  std::string log_level = "info";
};

void DeclareFlags(CLI::App& app, Flags& flags) {
  app.add_option("--coordinator", flags.coordinator, "address of the coordinator, HOST:PORT")->required();
  app.add_option("--cache", flags.cache, "directory for data sets and models; workers may share one")
      ->capture_default_str();
  app.add_option("--devices", flags.devices, "auto, cpu, or a list such as cuda:0,cuda:1")->capture_default_str();
  app.add_option("--executors", flags.executors, "shards computed at a time on the cpu; a GPU has one")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_flag("--exit-with-parent", flags.exit_with_parent, "be killed when the process that started this one ends");
  app.add_option("--idle-exit", flags.idle_exit,
                 "leave after this many seconds without work from a coordinator that answers; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--give-up-after", flags.give_up_after, "exit after this many seconds without an answer")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--log-level", flags.log_level, "what is written to standard error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  app.set_version_flag("--version",
                       absl::StrCat("tightrope-worker ", TIGHTROPE_VERSION, ", LibTorch ", LibTorchVersion()));
}

int RunWorker(const Flags& flags) {
  const absl::StatusOr<std::vector<torch::Device>> devices = ParseDevices(flags.devices, flags.executors);
  if (!devices.ok()) {
    spdlog::error("--devices: {}", std::string(devices.status().message()));
    return kExitWrongInput;
  }
  WorkerOptions options = {
      .coordinator = flags.coordinator,
      .cache_directory = flags.cache,
      .devices = {},
      .version = absl::StrCat(TIGHTROPE_VERSION, ", LibTorch ", TORCH_VERSION),
      .loop = {.give_up_after = absl::Seconds(flags.give_up_after)},
  };
  if (flags.idle_exit > 0) options.loop.idle_exit = absl::Seconds(flags.idle_exit);
  for (const torch::Device& device : *devices) options.devices.push_back(device.str());

  const absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Create(options, MakeTorchShardRunner);
  if (!worker.ok()) {
    spdlog::error("--cache: {}", worker.status().ToString());
    return absl::IsNotFound(worker.status()) || absl::IsPermissionDenied(worker.status()) ? kExitWrongInput
                                                                                          : kExitUnreachable;
  }
  spdlog::info("{} executor(s), coordinator {}, cache {}", options.devices.size(), flags.coordinator, flags.cache);
  const DrainOnSignal drain_on_signal(**worker);
  const absl::StatusOr<LeaseLoop::End> end = (*worker)->Run();
  if (!end.ok()) {
    spdlog::error("{}", end.status().ToString());
    return kExitUnreachable;
  }
  switch (*end) {
    case LeaseLoop::End::kDone:
      spdlog::info("no more work");
      return kExitDone;
    case LeaseLoop::End::kDrained:
      spdlog::info("left");
      return kExitDone;
    case LeaseLoop::End::kUnreachable:
      break;
  }
  spdlog::error("the coordinator at {} cannot be reached; is it running, and is the address right?", flags.coordinator);
  return kExitUnreachable;
}

int Main(int argc, char** argv) {
  const pid_t parent = getppid();
  KeepFreedMemory();
  UseOneThreadPerExecutor();
  UseReproducibleArithmetic();
  Flags flags;
  CLI::App app("Computes shards of experiments for a Tightrope coordinator.", "tightrope-worker");
  DeclareFlags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitWrongInput;
  }
  spdlog::set_default_logger(spdlog::stderr_color_mt("worker"));
  spdlog::set_level(spdlog::level::from_str(flags.log_level));
  spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e %^%l%$ %v");
  if (flags.exit_with_parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return kExitDone;  // it ended before we asked to be told
  }
  return RunWorker(flags);
}

}  // namespace
}  // namespace tightrope

int main(int argc, char** argv) { return tightrope::Main(argc, argv); }
