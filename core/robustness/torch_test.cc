#include "core/robustness/torch.h"

#include <time.h>

#include <stdexcept>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

double CpuSeconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

TEST(TorchTest, AProductUsesOnlyTheCallingThread) {
  UseOneThreadPerExecutor();
  EXPECT_LE(BlasThreads(), 1);
  std::thread executor([] {
    UseOneThreadPerExecutor();
    const torch::Tensor left = torch::ones({1200, 1200});
    torch::Tensor product = torch::mm(left, left);
    const double process_before = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID);
    const double thread_before = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < 5; ++i) product = torch::mm(left, left);
    const double process = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - process_before;
    const double thread = CpuSeconds(CLOCK_THREAD_CPUTIME_ID) - thread_before;
    EXPECT_EQ(product[7][11].item<float>(), 1200.0f);
    EXPECT_LT(process, 1.1 * thread + 0.005) << "other threads of the process computed too";
  });
  executor.join();
}

TEST(TorchTest, CallingUseOneThreadPerExecutorAgainIsHarmless) {
  UseOneThreadPerExecutor();
  UseOneThreadPerExecutor();
  EXPECT_EQ(at::get_num_threads(), 1);
  EXPECT_EQ(at::get_num_interop_threads(), 1);
}

TEST(TorchTest, VersionNamesTheRelease) { EXPECT_THAT(LibTorchVersion(), HasSubstr(TORCH_VERSION)); }

TEST(TorchTest, CpuIsOneExecutorACore) {
  const auto devices = ParseDevices("cpu", 3);
  ASSERT_OK(devices);
  EXPECT_THAT(*devices, AllOf(SizeIs(3), Each(torch::Device(torch::kCPU))));
}

TEST(TorchTest, AutoIsEveryGpuOrEveryCore) {
  const auto devices = ParseDevices("auto", 2);
  ASSERT_OK(devices);
  if (torch::cuda::is_available()) {
    EXPECT_THAT(*devices, SizeIs(torch::cuda::device_count()));
    EXPECT_EQ(devices->front(), torch::Device("cuda:0"));
  } else {
    EXPECT_THAT(*devices, AllOf(SizeIs(2), Each(torch::Device(torch::kCPU))));
  }
}

TEST(TorchTest, AGpuThatIsNotThereIsRefusedWithWhatThisMachineHas) {
  EXPECT_THAT(ParseDevices("cpu, cuda:97", 2),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("cuda:97"), HasSubstr("2 cpu cores"))));
}

TEST(TorchTest, MalformedDevicesAreRefusedWithWhatToWrite) {
  for (const char* flag : {"", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:x", "cpu,", "auto,cpu", "cuda:99999999999"}) {
    EXPECT_THAT(ParseDevices(flag, 2), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cuda:N"))) << flag;
  }
}

TEST(TorchTest, WhatLibTorchThrowsBecomesAStatusWithoutAStackTrace) {
  const absl::Status mismatch = WithoutExceptions("cannot multiply", [] {
    torch::mm(torch::zeros({2, 3}), torch::zeros({2, 3}));
    return absl::OkStatus();
  });
  EXPECT_THAT(mismatch, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("cannot multiply: "), HasSubstr("2x3"), Not(HasSubstr("frame #")))));
}

TEST(TorchTest, WhatTheDeviceFailsAtIsNotTheModelsFault) {
  const auto thrown = [](const char* what) {
    return WithoutExceptions("cannot attack", [&]() -> absl::Status { throw std::runtime_error(what); });
  };
  EXPECT_EQ(thrown("CUDA error: no kernel image is available for execution on the device").code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(thrown("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(thrown("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`").code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(TorchTest, BytesWrittenAreThoseOfNewStorages_ViewsAndWritesInPlaceAreNone) {
  const torch::Tensor input = torch::ones({1, 1000});
  EXPECT_EQ(BytesWritten([&] {
              torch::Tensor sum = input.exp();
              sum.exp_();
              sum.view({10, 100}).t();
              input.view({-1});
            }),
            4000);
  EXPECT_EQ(BytesWritten([&] { input.exp().exp(); }), 8000);
  EXPECT_EQ(BytesWritten([] {}), 0);
  EXPECT_THROW(BytesWritten([&] { torch::mm(input, input); }), c10::Error);
  EXPECT_EQ(BytesWritten([&] { input.exp(); }), 4000);
}

TEST(TorchTest, RunningOutOfMemoryIsNotTheModelsFault) {
  const absl::Status exhausted = WithoutExceptions("cannot allocate", [] {
    torch::empty({int64_t{1} << 50});
    return absl::OkStatus();
  });
  EXPECT_EQ(exhausted.code(), absl::StatusCode::kResourceExhausted) << exhausted;
}

}  // namespace
}  // namespace tightrope
