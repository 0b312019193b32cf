#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/export.h"
#include "coordinator/grpc_services.h"
#include "coordinator/reactors.h"
#include "core/status_macros.h"
#include "tightrope/v1/experiments.grpc.pb.h"

namespace tightrope {
namespace {

// Awaits an update, writes it, awaits the next.
class WatchReactor final : public grpc::ServerWriteReactor<v1::StatusResponse> {
 public:
  WatchReactor(CoordinatorService* service, const v1::WatchRequest* request)
      : service_(service),
        call_(service->NewCall()),
        experiment_(request->experiment()),
        interval_(absl::Milliseconds(static_cast<int64_t>(request->interval_ms()))) {
    Await(absl::ZeroDuration());
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the caller has gone"));
    if (update_.last) return Finish(grpc::Status::OK);
    Await(interval_);
  }
  void OnCancel() override {
    *cancelled_ = true;
    service_->Cancel(call_);
  }
  void OnDone() override { delete this; }

 private:
  // The answer may come, and this reactor end, before AwaitUpdate returns: `this` is not touched after it.
  void Await(absl::Duration not_before) {
    CoordinatorService* const service = service_;
    const CoordinatorService::CallId call = call_;
    const std::shared_ptr<std::atomic<bool>> cancelled = cancelled_;
    service->AwaitUpdate(call, experiment_, update_.version, not_before,
                         [this](absl::StatusOr<CoordinatorService::Update> update) {
                           if (!update.ok()) return Finish(ToGrpc(update.status()));
                           update_ = *std::move(update);
                           StartWrite(&update_.status);
                         });
    if (*cancelled) service->Cancel(call);  // OnCancel came before there was anything to cancel
  }

  CoordinatorService* const service_;
  const CoordinatorService::CallId call_;
  const std::string experiment_;
  const absl::Duration interval_;
  CoordinatorService::Update update_;
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

class ExperimentRpc final : public v1::Experiments::CallbackService {
 public:
  ExperimentRpc(CoordinatorService* service, ResultStore* store, BlockingPool* pool)
      : service_(service), store_(store), pool_(pool) {}

  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext* context, const v1::SubmitRequest* request,
                                   v1::SubmitResponse* response) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    pool_->Schedule([this, request, response, reactor] {
      service_->Submit(*request, [response, reactor](absl::StatusOr<v1::SubmitResponse> answer) {
        if (answer.ok()) *response = *std::move(answer);
        reactor->Finish(ToGrpc(answer.status()));
      });
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context, const v1::StatusRequest* request,
                                   v1::StatusResponse* response) override {
    return AnswerOnPool<v1::StatusResponse>(context, pool_, response,
                                            [this, request] { return service_->Status(request->experiment()); });
  }

  grpc::ServerWriteReactor<v1::StatusResponse>* Watch(grpc::CallbackServerContext*,
                                                      const v1::WatchRequest* request) override {
    return new WatchReactor(service_, request);
  }

  grpc::ServerUnaryReactor* Results(grpc::CallbackServerContext* context, const v1::ResultsRequest* request,
                                    v1::ResultsResponse* response) override {
    return AnswerOnPool<v1::ResultsResponse>(context, pool_, response,
                                             [this, request] { return service_->Results(request->experiment()); });
  }

  grpc::ServerWriteReactor<v1::ExportExamplesResponse>* ExportExamples(grpc::CallbackServerContext*,
                                                                       const v1::ExportRequest* request) override {
    auto walk = std::make_shared<ExportWalk>(store_, request->experiment());
    return new StreamReactor<v1::ExportExamplesResponse>(pool_, [walk] { return walk->NextExamples(); });
  }

  grpc::ServerWriteReactor<v1::ExportEpochsResponse>* ExportEpochs(grpc::CallbackServerContext*,
                                                                   const v1::ExportRequest* request) override {
    auto walk = std::make_shared<ExportWalk>(store_, request->experiment());
    return new StreamReactor<v1::ExportEpochsResponse>(pool_, [walk] { return walk->NextEpochs(); });
  }

  grpc::ServerWriteReactor<v1::ExportArtifactsResponse>* ExportArtifacts(grpc::CallbackServerContext*,
                                                                         const v1::ExportRequest* request) override {
    auto walk = std::make_shared<ExportWalk>(store_, request->experiment());
    return new StreamReactor<v1::ExportArtifactsResponse>(pool_, [walk] { return walk->NextArtifact(); });
  }

  grpc::ServerWriteReactor<v1::ExportAlignmentsResponse>* ExportAlignments(grpc::CallbackServerContext*,
                                                                           const v1::ExportRequest* request) override {
    auto walk = std::make_shared<ExportWalk>(store_, request->experiment());
    return new StreamReactor<v1::ExportAlignmentsResponse>(pool_, [walk] { return walk->NextAlignment(); });
  }

  grpc::ServerUnaryReactor* FindCommitted(grpc::CallbackServerContext* context, const v1::FindCommittedRequest* request,
                                          v1::FindCommittedResponse* response) override {
    return AnswerOnPool<v1::FindCommittedResponse>(
        context, pool_, response, [this, request]() -> absl::StatusOr<v1::FindCommittedResponse> {
          ABSL_ASSIGN_OR_RETURN(const std::vector<std::string> found,
                                store_->FindCommitted({request->job_digests().begin(), request->job_digests().end()}));
          v1::FindCommittedResponse committed;
          committed.mutable_job_digests()->Assign(found.begin(), found.end());
          return committed;
        });
  }

 private:
  CoordinatorService* const service_;
  ResultStore* const store_;
  BlockingPool* const pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeExperimentsRpc(CoordinatorService* service, ResultStore* store, BlockingPool* pool) {
  return std::make_unique<ExperimentRpc>(service, store, pool);
}

}  // namespace tightrope
