#include "worker/coordinator_connection.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "tightrope/v1/coordinator.grpc.pb.h"

namespace tightrope {
namespace {

constexpr int kMessageBytes = 64 << 20;
constexpr size_t kChunkBytes = size_t{1} << 20;
// A file that takes longer than this to come is asked for again from where it stopped.
constexpr absl::Duration kGetDeadline = absl::Minutes(2);
// A put starts again from the beginning, so large files get more time: at least this many bytes a second are expected.
constexpr uint64_t kSlowestPut = uint64_t{256} << 10;
constexpr absl::Duration kUnaryDeadline = absl::Seconds(20);

absl::Status ToAbsl(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// A transfer that we did not cancel, but a coordinator that was going down.
absl::Status OfTransfer(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::CANCELLED) return absl::UnavailableError(status.error_message());
  return ToAbsl(status);
}

void SetDeadline(grpc::ClientContext& context, absl::Duration from_now) {
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(from_now));
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMessageBytes);
  arguments.SetMaxSendMessageSize(kMessageBytes);
  // Finds a dead connection while a Sync is held. The coordinator allows pings this often.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // gRPC's own pauses between connection attempts grow to two minutes; the lease loop decides how often to try.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

class GrpcSyncTransport final : public SyncTransport {
 public:
  explicit GrpcSyncTransport(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::Coordinator::NewStub(channel)) {}

  void Start(const v1::SyncRequest& request, absl::Duration deadline, Done done) override {
    const auto call = std::make_shared<Call>();
    call->request = request;
    SetDeadline(call->context, deadline);
    {
      const absl::MutexLock lock(&mutex_);
      current_ = call;
    }
    stub_->async()->Sync(&call->context, &call->request, &call->response,
                         [call, done = std::move(done)](const grpc::Status& status) {
                           if (status.ok()) {
                             done(std::move(call->response));
                           } else {
                             done(ToAbsl(status));
                           }
                         });
  }

  void Cancel() override {
    const absl::MutexLock lock(&mutex_);
    if (current_ != nullptr) current_->context.TryCancel();
  }

 private:
  struct Call {
    grpc::ClientContext context;
    v1::SyncRequest request;
    v1::SyncResponse response;
  };

  const std::unique_ptr<v1::Coordinator::Stub> stub_;
  absl::Mutex mutex_;
  std::shared_ptr<Call> current_ ABSL_GUARDED_BY(mutex_);  // the latest, perhaps over
};

class GrpcArtifactTransfer final : public ArtifactTransfer {
 public:
  explicit GrpcArtifactTransfer(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::Artifacts::NewStub(channel)) {}

  absl::Status Get(const std::string& sha256, uint64_t offset, const Sink& sink) override {
    grpc::ClientContext context;
    SetDeadline(context, kGetDeadline);
    v1::GetRequest request;
    request.set_sha256(sha256);
    request.set_offset(offset);
    const auto reader = stub_->Get(&context, request);
    absl::Status sunk;
    uint64_t size = 0;
    bool first = true;
    for (v1::GetResponse part; sunk.ok() && reader->Read(&part);) {
      if (std::exchange(first, false)) size = part.size();
      sunk = sink(size, part.data());
    }
    if (!sunk.ok()) context.TryCancel();
    const absl::Status status = OfTransfer(reader->Finish());
    return sunk.ok() ? status : sunk;
  }

  absl::Status Put(const std::string& sha256, absl::string_view data) override {
    grpc::ClientContext context;
    SetDeadline(context, absl::Minutes(1) + absl::Seconds(static_cast<int64_t>(data.size() / kSlowestPut)));
    v1::PutResponse response;
    const auto writer = stub_->Put(&context, &response);
    v1::PutRequest part;
    part.set_sha256(sha256);
    part.set_size(data.size());
    // A write that fails means that the coordinator has answered already; Finish says what.
    do {
      const absl::string_view chunk = data.substr(0, kChunkBytes);
      part.set_data(chunk.data(), chunk.size());
      if (!writer->Write(part)) break;
      data.remove_prefix(chunk.size());
      part.clear_sha256();
      part.clear_size();
    } while (!data.empty());
    writer->WritesDone();
    return OfTransfer(writer->Finish());
  }

  absl::StatusOr<bool> IsMissing(const std::string& sha256) override {
    grpc::ClientContext context;
    SetDeadline(context, kUnaryDeadline);
    v1::FindMissingRequest request;
    request.add_sha256(sha256);
    v1::FindMissingResponse response;
    if (const absl::Status status = OfTransfer(stub_->FindMissing(&context, request, &response)); !status.ok())
      return status;
    return response.sha256_size() > 0;
  }

 private:
  const std::unique_ptr<v1::Artifacts::Stub> stub_;
};

class GrpcKernelExchange final : public KernelExchange {
 public:
  explicit GrpcKernelExchange(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::Coordinator::NewStub(channel)) {}

  absl::StatusOr<v1::ChooseKernelsResponse> ChooseKernels(const v1::ChooseKernelsRequest& request) override {
    grpc::ClientContext context;
    SetDeadline(context, kUnaryDeadline);
    v1::ChooseKernelsResponse response;
    const absl::Status status = OfTransfer(stub_->ChooseKernels(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }

 private:
  const std::unique_ptr<v1::Coordinator::Stub> stub_;
};

class GrpcCoordinatorConnection final : public CoordinatorConnection {
 public:
  explicit GrpcCoordinatorConnection(const std::shared_ptr<grpc::Channel>& channel)
      : sync_(channel), artifacts_(channel), kernels_(channel) {}

  SyncTransport& sync() override { return sync_; }
  ArtifactTransfer& artifacts() override { return artifacts_; }
  KernelExchange& kernels() override { return kernels_; }

 private:
  GrpcSyncTransport sync_;
  GrpcArtifactTransfer artifacts_;
  GrpcKernelExchange kernels_;
};

}  // namespace

std::unique_ptr<CoordinatorConnection> ConnectToCoordinator(const std::string& address) {
  return std::make_unique<GrpcCoordinatorConnection>(MakeChannel(address));
}

}  // namespace tightrope
