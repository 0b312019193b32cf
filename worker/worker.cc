#include "worker/worker.h"

#include <unistd.h>

#include <array>
#include <deque>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/printable_text.h"
#include "core/status_macros.h"
#include "core/steady_clock.h"

namespace tightrope {
namespace {

v1::WorkerInfo InfoOf(const WorkerOptions& options) {
  v1::WorkerInfo info;
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) == 0) info.set_host(PrintableText(host.data(), host.size()));
  info.set_pid(getpid());
  info.mutable_devices()->Add(options.devices.begin(), options.devices.end());
  info.set_version(options.version);
  return info;
}

// The only randomness of a worker. No result depends on it.
std::string DrawWorkerId() {
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) absl::StrAppendFormat(&id, "%08x", device());
  return id;
}

std::function<double()> MakeJitter() {
  return [generator = std::mt19937(std::random_device()())]() mutable {
    return std::uniform_real_distribution<double>(0, 1)(generator);
  };
}

}  // namespace

absl::StatusOr<std::unique_ptr<Worker>> Worker::Create(const WorkerOptions& options, RunnerFactory make_runner) {
  ABSL_ASSIGN_OR_RETURN(BlobStore cache, BlobStore::Open(options.cache_directory));
  return std::unique_ptr<Worker>(new Worker(options, std::move(cache), std::move(make_runner)));
}

Worker::Worker(const WorkerOptions& options, BlobStore cache, RunnerFactory make_runner)
    : devices_(options.devices),
      make_runner_(std::move(make_runner)),
      connection_(ConnectToCoordinator(options.coordinator)),
      artifacts_(std::move(cache), connection_->artifacts()),
      datasets_(artifacts_),
      kernels_(connection_->kernels()),
      loop_(LeaseTable(DrawWorkerId(), InfoOf(options)), options.loop, connection_->sync(), SteadyClock(),
            MakeJitter()) {}

absl::StatusOr<LeaseLoop::End> Worker::Run() {
  const ShardRunnerFactory make_runner = [this](const std::string& device) {
    return make_runner_(device, artifacts_, datasets_, kernels_);
  };
  absl::Status status;
  std::deque<Executor> executors;
  try {
    for (const std::string& device : devices_) executors.emplace_back(loop_, device, make_runner, SteadyClock());
  } catch (const std::system_error& thrown) {
    status =
        absl::ResourceExhaustedError(absl::StrCat("cannot start the thread of executor ", executors.size() + 1, " of ",
                                                  devices_.size(), "; use fewer executors: ", thrown.what()));
    loop_.Drain();  // those that were started wait for the loop's end
  }
  const LeaseLoop::End end = loop_.Run();
  for (Executor& executor : executors) status.Update(executor.Join());
  if (!status.ok()) return status;
  return end;
}

void Worker::Drain() { loop_.Drain(); }

}  // namespace tightrope
