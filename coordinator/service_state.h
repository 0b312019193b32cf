// Private to service*.cc.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "coordinator/service.h"

namespace tightrope {

class CoordinatorService::Outbox {
 public:
  Outbox() = default;
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;
  ~Outbox() {
    for (const std::function<void()>& answer : answers_) answer();
  }

  template <typename Answer>
  void Add(std::function<void(absl::StatusOr<Answer>)> done, absl::StatusOr<Answer> answer) {
    auto shared = std::make_shared<absl::StatusOr<Answer>>(std::move(answer));
    answers_.push_back([done = std::move(done), shared] { done(std::move(*shared)); });
  }

 private:
  std::vector<std::function<void()>> answers_;
};

struct CoordinatorService::Checked {
  const v1::FinishedAttempt* attempt = nullptr;
  std::variant<ResultDigest, FailureReport> outcome;
};

inline LeaseKey ToKey(const v1::LeaseId& id) { return {id.job_digest(), id.shard(), id.epoch()}; }

inline v1::LeaseId ToId(const LeaseKey& key) {
  v1::LeaseId id;
  id.set_job_digest(key.job);
  id.set_shard(key.shard);
  id.set_epoch(key.epoch);
  return id;
}

}  // namespace tightrope
