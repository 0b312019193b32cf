#include "coordinator/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/service_type.h>

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "coordinator/blocking_pool.h"
#include "coordinator/grpc_services.h"
#include "coordinator/service.h"
#include "coordinator/store/sqlite_store.h"
#include "core/artifact/blob_store.h"
#include "core/artifact/data_directory.h"
#include "core/status_macros.h"
#include "core/steady_clock.h"

namespace tightrope {
namespace {

// Of what is received. Plans travel as experiments and files as chunks: only results of large shards come near this.
constexpr int kMaxMessageBytes = 64 << 20;
constexpr int kPoolThreads = 4;
constexpr absl::Duration kTick = absl::Milliseconds(100);
constexpr std::chrono::seconds kGrace{2};  // for calls in flight at shutdown

struct HostPort {
  std::string host;  // without brackets
  int port = 0;
};

absl::StatusOr<HostPort> ParseListen(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  HostPort parsed;
  if (colon != std::string::npos && absl::SimpleAtoi(listen.substr(colon + 1), &parsed.port) && parsed.port >= 0 &&
      parsed.port <= 65535) {
    parsed.host = listen.substr(0, colon);
    if (parsed.host.size() > 2 && parsed.host.front() == '[' && parsed.host.back() == ']') {
      parsed.host = parsed.host.substr(1, parsed.host.size() - 2);
    }
    if (!parsed.host.empty()) return parsed;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the address to listen on must be HOST:PORT, port 0 for any: ", listen));
}

bool IsLoopback(const std::string& host) {
  return host == "localhost" || host == "::1" || absl::StartsWith(host, "127.");
}

class Server final : public CoordinatorServer {
 public:
  Server(const CoordinatorOptions& options, DataDirectory::Lock lock, BlobStore blobs,
         std::unique_ptr<SqliteStore> store)
      : options_(options), lock_(std::move(lock)), blobs_(std::move(blobs)), store_(std::move(store)) {}

  ~Server() override {
    Server::Shutdown();
    if (ticker_.joinable()) ticker_.join();
    // The pool's last pieces of work may still finish calls; the server waits for those.
    if (grpc_ != nullptr) grpc_->Wait();
  }

  absl::Status Serve(const HostPort& listen, const DataDirectory& directory) {
    ABSL_ASSIGN_OR_RETURN(const uint32_t generation, store_->NextGeneration());
    ABSL_ASSIGN_OR_RETURN(service_, CoordinatorService::Start({.scheduler = {.generation = generation,
                                                                             .lease = options_.lease,
                                                                             .max_failures = options_.max_failures,
                                                                             .max_losses = options_.max_losses},
                                                               .poll = options_.poll,
                                                               .resume_experiments = options_.resume_experiments,
                                                               .epoch = absl::StrCat(generation),
                                                               .clock = SteadyClock()},
                                                              store_.get(), &blobs_));
    ABSL_RETURN_IF_ERROR(Listen(listen));
    ticker_ = std::thread([this] { TickUntilShutdown(); });
    const std::string host = absl::StrContains(listen.host, ':') ? absl::StrCat("[", listen.host, "]") : listen.host;
    address_ = absl::StrCat(host, ":", port_);
    return directory.WriteAddress(address_);
  }

  std::string address() const override { return address_; }
  void ReleaseWorkers() override { service_->ReleaseWorkers(); }
  absl::Status Wait() override { return service_->Wait(); }

  void Shutdown() override {
    {
      const absl::MutexLock lock(&mutex_);
      if (std::exchange(shutting_down_, true)) return;
    }
    if (service_ != nullptr) service_->Stop();
    if (grpc_ == nullptr) return;
    grpc_->GetHealthCheckService()->SetServingStatus(false);
    grpc_->Shutdown(std::chrono::system_clock::now() + kGrace);
  }

 private:
  absl::Status Listen(const HostPort& listen) {
    rpcs_.push_back(MakeCoordinatorRpc(service_.get(), store_.get(), &pool_));
    rpcs_.push_back(MakeArtifactsRpc(&blobs_, &pool_));
    rpcs_.push_back(MakeExperimentsRpc(service_.get(), store_.get(), &pool_));
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    for (const auto& rpc : rpcs_) builder.RegisterService(rpc.get());
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    builder.SetMaxSendMessageSize(kMaxResponseBytes);
    // A port that is taken must be an error, not shared.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    // Finds dead connections of held calls; workers and watchers may ping as often.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
    builder.AddListeningPort(options_.listen, grpc::InsecureServerCredentials(), &port_);
    grpc_ = builder.BuildAndStart();
    if (grpc_ == nullptr || port_ == 0) {
      return absl::UnavailableError(absl::StrCat(
          "cannot listen on the address; is it taken? Try another port, or 0 for any free one: ", listen.host, ":",
          listen.port));
    }
    grpc_->GetHealthCheckService()->SetServingStatus(true);
    return absl::OkStatus();
  }

  void TickUntilShutdown() {
    while (true) {
      {
        const absl::MutexLock lock(&mutex_);
        if (mutex_.AwaitWithTimeout(absl::Condition(&shutting_down_), kTick)) return;
      }
      service_->Tick();
    }
  }

  const CoordinatorOptions options_;
  const DataDirectory::Lock lock_;
  const BlobStore blobs_;
  const std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<CoordinatorService> service_;
  BlockingPool pool_{kPoolThreads};
  std::vector<std::unique_ptr<grpc::Service>> rpcs_;
  std::unique_ptr<grpc::Server> grpc_;
  int port_ = 0;
  std::string address_;
  absl::Mutex mutex_;
  bool shutting_down_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread ticker_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Start(const CoordinatorOptions& options) {
  ABSL_ASSIGN_OR_RETURN(const HostPort listen, ParseListen(options.listen));
  if (!options.insecure && !IsLoopback(listen.host)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "refusing to listen on an address that others can reach without encryption or authentication; listen on "
        "127.0.0.1, or say --insecure on a network that you trust: ",
        options.listen));
  }
  const DataDirectory directory(options.directory);
  ABSL_RETURN_IF_ERROR(directory.Create());
  ABSL_ASSIGN_OR_RETURN(DataDirectory::Lock lock, directory.Acquire());
  ABSL_ASSIGN_OR_RETURN(BlobStore blobs, BlobStore::Open(directory.ArtifactsPath()));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<SqliteStore> store, SqliteStore::Open(directory.StorePath()));
  auto server = std::make_unique<Server>(options, std::move(lock), std::move(blobs), std::move(store));
  ABSL_RETURN_IF_ERROR(server->Serve(listen, directory));
  return server;
}

}  // namespace tightrope
