// The kernels that this worker's executors compute layers with: what the coordinator has chosen for all workers on this
// kind of device, or chooses now, after what an executor timed here.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "tightrope/v1/coordinator.pb.h"
#include "worker/cancellation.h"
#include "worker/retry_pause.h"

namespace tightrope {

// One try of ChooseKernels; no retries here. Thread-safe. Errors are those of the call, or UNAVAILABLE and
// DEADLINE_EXCEEDED from the way there.
class KernelExchange {
 public:
  virtual ~KernelExchange() = default;
  virtual absl::StatusOr<v1::ChooseKernelsResponse> ChooseKernels(const v1::ChooseKernelsRequest& request) = 0;
};

// Thread-safe; one a process, so that what one executor has learnt serves the others. Executors that begin together may
// each time and propose the same signature; the coordinator keeps the first proposal.
class KernelTable {
 public:
  using Choice = std::map<std::string, std::string>;  // signature → kernel

  // `exchange` must outlive the table.
  explicit KernelTable(KernelExchange& exchange, RetryOptions options = {}) : exchange_(exchange), options_(options) {}

  // The choice for `signatures`. `propose` gives a kernel for each of those that nobody has asked for before; it is
  // called by one executor at a time, because it takes times. Waits for a coordinator that is away.
  // Errors: CANCELLED, FAILED_PRECONDITION (a coordinator that is too old for the question), INTERNAL (an answer to
  // something else), UNAVAILABLE (away for too long), RESOURCE_EXHAUSTED (the coordinator's disk).
  absl::StatusOr<Choice> Choose(const std::string& device_kind, const std::string& library_version,
                                const std::vector<std::string>& signatures,
                                const std::function<Choice(const std::vector<std::string>& unknown)>& propose,
                                const Cancellation& cancellation);

 private:
  KernelExchange& exchange_;
  const RetryOptions options_;
  absl::Mutex proposing_;  // held while times are taken
  absl::Mutex mutex_ ABSL_ACQUIRED_AFTER(proposing_);
  std::map<std::pair<std::string, std::string>, Choice> known_ ABSL_GUARDED_BY(mutex_);  // by device and library
};

}  // namespace tightrope
