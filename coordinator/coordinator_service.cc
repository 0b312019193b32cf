#include <grpcpp/grpcpp.h>

#include <memory>
#include <utility>

#include "coordinator/grpc_services.h"
#include "coordinator/kernels.h"
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
  CoordinatorRpc(CoordinatorService* service, ResultStore* store, BlockingPool* pool)
      : service_(service), store_(store), pool_(pool) {}

  grpc::ServerUnaryReactor* Sync(grpc::CallbackServerContext* context, const v1::SyncRequest* request,
                                 v1::SyncResponse* response) override {
    return new SyncReactor(service_, context, request, response);
  }

  grpc::ServerUnaryReactor* ChooseKernels(grpc::CallbackServerContext* context, const v1::ChooseKernelsRequest* request,
                                          v1::ChooseKernelsResponse* response) override {
    return AnswerOnPool<v1::ChooseKernelsResponse>(
        context, pool_, response, [this, request] { return tightrope::ChooseKernels(*request, *store_); });
  }

 private:
  CoordinatorService* const service_;
  ResultStore* const store_;
  BlockingPool* const pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeCoordinatorRpc(CoordinatorService* service, ResultStore* store, BlockingPool* pool) {
  return std::make_unique<CoordinatorRpc>(service, store, pool);
}

}  // namespace tightrope
