// The architectures that Tightrope trains, as LibTorch modules.
//
// Layers are numbered as in a PyTorch nn.Sequential, so that its state dict ("0.weight", "0.bias", …) has the names of
// our safetensors files:
//
//   mlp        0 Flatten, 1 Linear, 2 ReLU, 3 Linear, 4 ReLU, …, Linear(classes): one Linear and ReLU per hidden width
//   small_cnn  0 Conv2d(C,16,4,stride 2,pad 1), 1 ReLU, 2 Conv2d(16,32,4,stride 2,pad 1), 3 ReLU, 4 Flatten,
//              5 Linear(100), 6 ReLU, 7 Linear(classes)
//   madry_cnn  0 Conv2d(C,32,5,pad 2), 1 ReLU, 2 MaxPool2d(2), 3 Conv2d(32,64,5,pad 2), 4 ReLU, 5 MaxPool2d(2),
//              6 Flatten, 7 Linear(1024), 8 ReLU, 9 Linear(classes)
//
// To add an architecture: add it to experiment.proto, and its layers to MakeNetwork.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "core/random/random_stream.h"
#include "core/robustness/model/classifier.h"
#include "core/robustness/torch.h"
#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// The network for inputs of the data set's shape, on the CPU, with weights that mean nothing yet.
// Errors: INVALID_ARGUMENT (no architecture, images too small for it), RESOURCE_EXHAUSTED (more weights than memory).
absl::StatusOr<torch::nn::Sequential> MakeNetwork(const v1::Architecture& architecture, const v1::DatasetRef& data);

// Draws every Linear and Conv2d weight and bias from ±1/sqrt(fan in), PyTorch's default, but from `stream`: parameter k
// in the order of named_parameters() is the draw at example k. Other layers keep LibTorch's constants.
void InitialiseWeights(torch::nn::Module& network, const RandomStream& stream);

// Of a network's weights, which are moved to `device` and shared with it.
std::unique_ptr<Classifier> MakeClassifier(torch::nn::Sequential network, torch::Device device);

}  // namespace tightrope
