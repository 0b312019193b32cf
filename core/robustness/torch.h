// The only file that includes LibTorch, and the only place for what differs between its versions (1.13 to 2.x).
#pragma once

#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/script.h>
#include <torch/torch.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tightrope {

// One thread an executor: LibTorch's intra-op and inter-op pools and the BLAS library's own (the pthread build of
// OpenBLAS does not obey at::set_num_threads). Call before the first tensor operation of the process, and again at the
// start of every thread that computes: OpenMP keeps its number of threads per thread.
void UseOneThreadPerExecutor();

// How many threads the BLAS library would use for one product; 0 where it cannot be asked.
int BlasThreads();

// Memory that tensors free stays with the process. The C library would give large blocks back to the system, and the
// next tensor of that size would take its page faults anew: a sixth of an attack's time. Process-wide; only glibc knows
// how.
void KeepFreedMemory();

// Equal inputs give equal bits on one kind of device: no TF32, no cuDNN auto-tuning, deterministic kernels where
// LibTorch has them (for CUDA kernels without one, such as the gradient of bilinear interpolation in an imported model,
// LibTorch warns and the bits are not promised). Process-wide; the first call counts, and a process that uses GPUs
// makes it before it starts threads, because it sets an environment variable. Loading and training make it, too.
void UseReproducibleArithmetic();

// "1.13.1", and what it was built with.
std::string LibTorchVersion();

// What makes two devices round alike, besides LibTorch's version: the CPU's instruction sets that libraries choose
// their kernels by and the BLAS library's own choice; of a GPU its model.
std::string DeviceKind(torch::Device device);

// Devices for `--devices`: "auto" (every GPU, else `cores` × cpu), or a comma-separated list of cpu (`cores` × cpu) and
// cuda:N. One entry an executor. Errors: INVALID_ARGUMENT, saying what this machine has.
absl::StatusOr<std::vector<torch::Device>> ParseDevices(const std::string& flag, int cores);

// What LibTorch threw, without its stack trace: RESOURCE_EXHAUSTED where memory ran out; INTERNAL where the device or
// its libraries failed, which another worker's may not; else INVALID_ARGUMENT, because what makes our calls throw then
// is a model or a shape that the user gave. The message starts with `doing`.
absl::Status StatusFromException(const std::string& doing, const std::exception& thrown);

// Runs `work`, which returns absl::Status or absl::StatusOr, so that no exception of LibTorch's leaves our interfaces.
template <typename Work>
std::invoke_result_t<Work> WithoutExceptions(const std::string& doing, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const std::exception& thrown) {  // c10::Error is one
    return StatusFromException(doing, thrown);
  }
}

// Bytes of all storages that operations of this thread make during `work`, temporary ones of a kernel's own aside.
int64_t BytesWritten(const std::function<void()>& work);

// While it lives, TorchScript of this thread is run as it is written. The profiling executor rewrites a graph after its
// first runs, so that results would depend on what ran before.
class UnoptimizedTorchScript {
 public:
  UnoptimizedTorchScript() : guard_(false) {}

 private:
  torch::jit::GraphOptimizerEnabledGuard guard_;
};

}  // namespace tightrope
