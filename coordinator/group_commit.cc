#include "coordinator/group_commit.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "core/fault_point.h"

namespace tightrope {
namespace {

template <typename Write>
bool Contains(const std::vector<StoreWrite>& writes) {
  return std::any_of(writes.begin(), writes.end(),
                     [](const StoreWrite& write) { return std::holds_alternative<Write>(write); });
}

}  // namespace

GroupCommit::GroupCommit(ResultStore* store, OnDurable on_durable, OnFailure on_failure)
    : store_(store),
      on_durable_(std::move(on_durable)),
      on_failure_(std::move(on_failure)),
      thread_([this] { Run(); }) {}

GroupCommit::~GroupCommit() {
  {
    const absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  thread_.join();
}

void GroupCommit::Enqueue(StoreWrite write, uint64_t ticket) {
  const absl::MutexLock lock(&mutex_);
  writes_.push_back(std::move(write));
  tickets_.push_back(ticket);
}

void GroupCommit::Run() {
  while (true) {
    std::vector<StoreWrite> writes;
    std::vector<uint64_t> tickets;
    {
      const absl::MutexLock lock(&mutex_);
      const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || !writes_.empty(); };
      mutex_.Await(absl::Condition(&has_work));
      if (writes_.empty()) return;
      writes.swap(writes_);
      tickets.swap(tickets_);
    }
    const bool results = Contains<StoreResult>(writes);
    const bool submissions = Contains<StoreSubmission>(writes);
    if (results) FaultPoint("coordinator.commit.before-durable");
    if (submissions) FaultPoint("coordinator.submit.before-durable");
    if (const absl::Status status = store_->Write(writes); !status.ok()) {
      on_failure_(status);
      return;
    }
    if (results) FaultPoint("coordinator.commit.after-durable");
    if (submissions) FaultPoint("coordinator.submit.after-durable");
    on_durable_(writes, tickets);
  }
}

}  // namespace tightrope
