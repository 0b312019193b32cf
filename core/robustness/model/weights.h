// Between safetensors files and LibTorch tensors.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/artifact/safetensors.h"
#include "core/robustness/torch.h"

namespace tightrope {

// A copy of a float32, float64, int64 or uint8 tensor, in C order. REQUIRES: one of those types.
SafeTensor ToSafeTensor(const torch::Tensor& tensor);

// A copy on the CPU. INVALID_ARGUMENT where `stored` is not of this type and shape, naming `name`.
absl::StatusOr<torch::Tensor> FromSafeTensor(const std::string& name, const SafeTensor& stored, torch::Dtype dtype,
                                             torch::IntArrayRef shape);

// Parameters and buffers under the names of their PyTorch state dict. Equal weights give equal bytes.
SafeTensors SaveWeights(const torch::nn::Module& module);

// Copies `weights` into the module's parameters and buffers, which keep their device. INVALID_ARGUMENT where a tensor
// is missing, unknown, or of another type or shape; the module is then left half loaded.
absl::Status LoadWeights(const SafeTensors& weights, torch::nn::Module& module);

}  // namespace tightrope
