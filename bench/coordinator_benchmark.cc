// Shards a second through the real coordinator, over loopback gRPC: work that does nothing is leased, answered at once,
// committed durably and acknowledged. What is measured is the cost of a shard that is not the work itself.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/server.h"
#include "coordinator/testing/small_experiment.h"
#include "tightrope/v1/coordinator.grpc.pb.h"
#include "tightrope/v1/experiments.grpc.pb.h"

namespace tightrope {
namespace {

constexpr uint32_t kShards = 20'000;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

void Require(const grpc::Status& status, const char* what) {
  if (!status.ok()) Die(absl::StrCat(what, ": ", status.error_message()));
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection each, as separate processes have
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void Submit(const std::string& address) {
  const auto channel = Connect(address);
  const auto artifacts = v1::Artifacts::NewStub(channel);
  for (const std::string& bytes : SmallArtifacts()) {
    grpc::ClientContext context;
    v1::PutResponse response;
    const auto writer = artifacts->Put(&context, &response);
    v1::PutRequest request;
    request.set_sha256(Sha256(bytes));
    request.set_size(bytes.size());
    request.set_data(bytes);
    writer->Write(request);
    writer->WritesDone();
    Require(writer->Finish(), "cannot put an artifact");
  }
  grpc::ClientContext context;
  v1::SubmitResponse response;
  Require(v1::Experiments::NewStub(channel)->Submit(&context, EvaluationExperiment("benchmark", kShards, 1), &response),
          "cannot submit");
  if (response.shards() != kShards) Die("the plan has another number of shards");
}

// One worker: everything that it gets is finished at its next call.
void Work(const std::string& address, int number, uint32_t want, std::atomic<uint32_t>& acknowledged) {
  const auto stub = v1::Coordinator::NewStub(Connect(address));
  v1::SyncRequest request;
  request.set_worker_id(absl::StrCat("worker-", number));
  request.mutable_info()->set_host("localhost");
  request.set_want(want);
  request.set_poll_ms(50);
  while (acknowledged.load() < kShards) {
    grpc::ClientContext context;
    v1::SyncResponse response;
    Require(stub->Sync(&context, request, &response), "a Sync failed");
    if (response.acknowledged_size() != request.finished_size()) Die("a result was not acknowledged");
    acknowledged += static_cast<uint32_t>(response.acknowledged_size());
    request.clear_finished();
    for (const v1::Lease& lease : response.leases()) *request.add_finished() = Finished(lease, ResultFor(lease));
  }
}

double Measure(int workers, uint32_t want) {
  const std::filesystem::path directory =
      std::filesystem::temp_directory_path() / absl::StrCat("tightrope-benchmark-", getpid());
  std::filesystem::remove_all(directory);
  double rate = 0;
  {
    auto server = CoordinatorServer::Start({.directory = directory.string()});
    if (!server.ok()) Die(server.status().ToString());
    Submit((*server)->address());
    std::atomic<uint32_t> acknowledged{0};
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (int i = 0; i < workers; ++i) {
      threads.emplace_back([&, i] { Work((*server)->address(), i, want, acknowledged); });
    }
    for (std::thread& thread : threads) thread.join();
    rate = kShards / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  std::filesystem::remove_all(directory);
  return rate;
}

}  // namespace
}  // namespace tightrope

int main() {
  std::printf("no-op shards per second: leased, committed durably (synchronous=FULL), acknowledged; %u shards\n",
              tightrope::kShards);
  std::printf("%8s %8s %12s\n", "workers", "want", "shards/s");
  for (const int workers : {1, 2, 8}) {
    for (const uint32_t want : {1u, 16u, 64u}) {
      std::printf("%8d %8u %12.0f\n", workers, want, tightrope::Measure(workers, want));
      std::fflush(stdout);
    }
  }
}
