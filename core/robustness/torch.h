// The only file that includes LibTorch, and the only place for what differs between its versions (1.13 to 2.x).
#pragma once

#include <torch/script.h>
#include <torch/torch.h>

namespace tightrope {

// One thread an executor: LibTorch's intra-op and inter-op pools and the BLAS library's own (the pthread build of OpenBLAS does
// not obey at::set_num_threads). Call once, before the first tensor operation of the process.
void UseOneThreadPerExecutor();

// How many threads the BLAS library would use for one product; 0 where it cannot be asked.
int BlasThreads();

// "1.13.1", and what it was built with.
std::string LibTorchVersion();

// Devices for `--devices`: "auto" (every GPU, else `cores` × cpu), or a comma-separated list of cpu, cuda:N.
// Errors: INVALID_ARGUMENT, saying what this machine has.
}  // namespace tightrope
