// The shapes of our calls over gRPC's callback API. A reactor deletes itself in OnDone.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/blocking_pool.h"

namespace tightrope {

inline grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// Answers a unary call with what `work` returns, on the pool.
template <typename Response>
grpc::ServerUnaryReactor* AnswerOnPool(grpc::CallbackServerContext* context, BlockingPool* pool, Response* response,
                                       std::function<absl::StatusOr<Response>()> work) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  pool->Schedule([reactor, response, work = std::move(work)] {
    absl::StatusOr<Response> answer = work();
    if (answer.ok()) *response = *std::move(answer);
    reactor->Finish(ToGrpc(answer.status()));
  });
  return reactor;
}

// Streams what `next` returns, called on the pool, until it returns nothing or an error.
template <typename Response>
class StreamReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  using Next = std::function<absl::StatusOr<std::optional<Response>>()>;

  StreamReactor(BlockingPool* pool, Next next) : pool_(pool), next_(std::move(next)) { Continue(); }

  void OnWriteDone(bool ok) override {
    if (!ok) return this->Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the caller has gone"));
    Continue();
  }
  void OnDone() override { delete this; }

 private:
  void Continue() {
    pool_->Schedule([this] {
      absl::StatusOr<std::optional<Response>> response = next_();
      if (!response.ok() || !response->has_value()) return this->Finish(ToGrpc(response.status()));
      response_ = **std::move(response);
      this->StartWrite(&response_);
    });
  }

  BlockingPool* const pool_;
  const Next next_;
  Response response_;
};

}  // namespace tightrope
