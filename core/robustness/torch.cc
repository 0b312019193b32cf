#include "core/robustness/torch.h"

#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <dlfcn.h>
#include <malloc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <new>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "core/device_list.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

template <typename Function>
Function* FindSymbol(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

std::string WhatThisMachineHas(int cores, int gpus) {
  if (gpus == 0) return absl::StrCat("this machine has ", cores, " cpu cores and no GPU that LibTorch can use");
  return absl::StrCat("this machine has ", cores, " cpu cores and cuda:0 to cuda:", gpus - 1);
}

}  // namespace

void UseOneThreadPerExecutor() {
  at::set_num_threads(1);
  // Setting it a second time throws, also to the same value.
  static std::once_flag once;
  std::call_once(once, [] {
    if (at::get_num_interop_threads() != 1) at::set_num_interop_threads(1);
  });
  if (auto* set_threads = FindSymbol<void(int)>("openblas_set_num_threads")) set_threads(1);
}

int BlasThreads() {
  if (auto* threads = FindSymbol<int()>("openblas_get_num_threads")) return threads();
  return 0;
}

void KeepFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the largest that glibc takes
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
  mallopt(M_TOP_PAD, 64 << 20);
#endif
}

void UseReproducibleArithmetic() {
  static std::once_flag once;
  std::call_once(once, [] {
    at::Context& context = at::globalContext();
    context.setDeterministicCuDNN(true);
    context.setBenchmarkCuDNN(false);
    context.setAllowTF32CuDNN(false);
    context.setAllowTF32CuBLAS(false);
    if (!torch::cuda::is_available()) return;
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);  // read when cuBLAS starts
    context.setDeterministicAlgorithms(true, /*warn_only=*/true);
  });
}

std::string LibTorchVersion() {
  std::vector<absl::string_view> parts;
  const std::string configuration = at::show_config();
  for (absl::string_view line : absl::StrSplit(configuration, '\n')) {
    for (const char* telling : {"MKL-DNN", "CUDA Runtime", "CuDNN", "CPU capability"}) {
      if (!absl::StrContains(line, telling)) continue;
      line = absl::StripAsciiWhitespace(line);
      absl::ConsumePrefix(&line, "- ");
      parts.push_back(line);
      break;
    }
  }
  return absl::StrCat(TORCH_VERSION, " (", absl::StrJoin(parts, "; "), ")");
}

std::string DeviceKind(torch::Device device) {
  if (device.is_cuda()) {
    std::array<char, 100> name{};
    int handle = 0;
    // The driver's own interface: Debian's LibTorch comes without CUDA's headers.
    auto* const get = FindSymbol<int(int*, int)>("cuDeviceGet");
    auto* const get_name = FindSymbol<int(char*, int, int)>("cuDeviceGetName");
    const int ordinal = device.has_index() ? device.index() : 0;
    if (get != nullptr && get_name != nullptr && get(&handle, ordinal) == 0 &&
        get_name(name.data(), static_cast<int>(name.size()) - 1, handle) == 0) {
      return absl::StrCat("cuda ", name.data());
    }
    return "cuda";
  }
  std::string kind = "cpu";
#if defined(__x86_64__)
  absl::StrAppend(&kind, __builtin_cpu_supports("avx512bw") ? " avx512"
                         : __builtin_cpu_supports("avx2")   ? " avx2"
                         : __builtin_cpu_supports("avx")    ? " avx"
                                                            : " sse");
#endif
  if (auto* blas = FindSymbol<char*()>("openblas_get_config")) absl::StrAppend(&kind, "; ", blas());
  return kind;
}

int64_t BytesWritten(const std::function<void()>& work) {
  // They are kept until the end, so that no storage takes the place of another.
  struct Seen {
    std::vector<torch::Tensor> tensors;
    std::set<const void*> storages;
    int64_t bytes = 0;

    void Add(const c10::IValue& value) {
      if (!value.isTensor() || !value.toTensor().defined() || !value.toTensor().has_storage()) return;
      const torch::Tensor& tensor = value.toTensor();
      if (tensor.storage().use_count() > 1) return;  // a view
      if (!storages.insert(tensor.storage().unsafeGetStorageImpl()).second) return;
      tensors.push_back(tensor);
      bytes += static_cast<int64_t>(tensor.storage().nbytes());
    }
  };
  static thread_local Seen* seen = nullptr;
  Seen all;
  seen = &all;
  const at::CallbackHandle handle = at::addThreadLocalCallback(
      at::RecordFunctionCallback(
          [](const at::RecordFunction&) -> std::unique_ptr<at::ObserverContext> { return nullptr; },
          [](const at::RecordFunction& call, at::ObserverContext*) {
            for (const c10::IValue& output : call.outputs()) seen->Add(output);
          })
          .needsOutputs(true)
          .scopes({at::RecordScope::FUNCTION}));
  try {
    work();
  } catch (...) {
    at::removeCallback(handle);
    throw;
  }
  at::removeCallback(handle);
  return all.bytes;
}

absl::StatusOr<std::vector<torch::Device>> ParseDevices(const std::string& flag, int cores) {
  cores = std::max(cores, 1);
  const int gpus = torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0;
  std::vector<torch::Device> devices;
  const auto add_cpu = [&] { devices.insert(devices.end(), cores, torch::Device(torch::kCPU)); };
  ABSL_ASSIGN_OR_RETURN(const std::vector<DeviceName> names, ParseDeviceList(flag));
  for (const DeviceName& gpu : names) {
    if (!gpu.has_value()) {
      add_cpu();
    } else if (*gpu < static_cast<uint32_t>(gpus)) {
      devices.emplace_back(torch::kCUDA, static_cast<torch::DeviceIndex>(*gpu));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("this GPU is not there (", WhatThisMachineHas(cores, gpus), "): cuda:", *gpu));
    }
  }
  if (names.empty()) {  // auto
    for (int gpu = 0; gpu < gpus; ++gpu) devices.emplace_back(torch::kCUDA, static_cast<torch::DeviceIndex>(gpu));
    if (gpus == 0) add_cpu();
  }
  return devices;
}

absl::Status StatusFromException(const std::string& doing, const std::exception& thrown) {
  const auto* from_torch = dynamic_cast<const c10::Error*>(&thrown);
  const std::string what = from_torch != nullptr ? from_torch->what_without_backtrace() : thrown.what();
  const std::string message = absl::StrCat(doing, ": ", absl::StripAsciiWhitespace(what));
  const auto says = [&](std::initializer_list<const char*> words) {
    return std::any_of(words.begin(), words.end(), [&](const char* word) { return absl::StrContains(what, word); });
  };
  if (dynamic_cast<const std::bad_alloc*>(&thrown) != nullptr ||
      says({"out of memory", "can't allocate memory", "_STATUS_ALLOC_FAILED"})) {
    return absl::ResourceExhaustedError(absl::StrCat(message, "; use fewer executors or a smaller shard_size"));
  }
  if (says({"CUDA error", "CUDA driver", "cuDNN error", "CUDNN_STATUS_", "CUBLAS_STATUS_", "cuda runtime error"})) {
    return absl::InternalError(message);
  }
  return absl::InvalidArgumentError(message);
}

}  // namespace tightrope
