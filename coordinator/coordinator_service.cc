#include <grpcpp/grpcpp.h>

#include <memory>
#include <utility>

#include "coordinator/grpc_services.h"
#include "coordinator/reactors.h"
#include "tightrope/v1/coordinator.grpc.pb.h"

namespace tightrope {
namespace {

// A Sync, held until the service has something to say or the caller goes.
class SyncReactor final : public grpc::ServerUnaryReactor {
 public:
  SyncReactor(CoordinatorService* service, grpc::CallbackServerContext* context, const v1::SyncRequest* request,
              v1::SyncResponse* response)
      : service_(service), call_(service->NewCall()) {
    service->Sync(call_, *request, [this, response](absl::StatusOr<v1::SyncResponse> answer) {
      if (answer.ok()) *response = *std::move(answer);
      Finish(ToGrpc(answer.status()));
    });
    // OnCancel may have come before there was anything to cancel.
    if (context->IsCancelled()) service->Cancel(call_);
  }

  void OnCancel() override { service_->Cancel(call_); }
  void OnDone() override { delete this; }

 private:
  CoordinatorService* const service_;
  const CoordinatorService::CallId call_;
};

class CoordinatorRpc final : public v1::Coordinator::CallbackService {
 public:
  explicit CoordinatorRpc(CoordinatorService* service) : service_(service) {}

  grpc::ServerUnaryReactor* Sync(grpc::CallbackServerContext* context, const v1::SyncRequest* request,
                                 v1::SyncResponse* response) override {
    return new SyncReactor(service_, context, request, response);
  }

 private:
  CoordinatorService* const service_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeCoordinatorRpc(CoordinatorService* service) {
  return std::make_unique<CoordinatorRpc>(service);
}

}  // namespace tightrope
