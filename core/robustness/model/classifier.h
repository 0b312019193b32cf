// What attacks and evaluations see of a model.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/artifact/safetensors.h"
#include "core/robustness/model/kernel_choice.h"
#include "core/robustness/model/windowed_logits.h"
#include "core/robustness/torch.h"
#include "tightrope/v1/experiment.pb.h"
#include "tightrope/v1/plan.pb.h"

namespace tightrope {

// A classifier in evaluation mode. Not thread-safe; one an executor.
class Classifier {
 public:
  virtual ~Classifier() = default;

  // `inputs`: N×C×H×W float32 in [0, 1] on the classifier's device. Returns N×classes float32 logits. Throws c10::Error
  // where the shapes do not fit the model.
  virtual torch::Tensor Logits(const torch::Tensor& inputs) = 0;

  // The logits, without a tape, and the way back from them: input_gradient(weights), to be called at most once, gives
  // the gradient of sum(logits * weights) at the inputs, N×C×H×W, which the caller may change. `weights`: N×classes;
  // for a loss, its gradient at the logits. By autograd over Logits unless overridden.
  struct TwoWay {
    torch::Tensor logits;
    std::function<torch::Tensor(const torch::Tensor& weights)> input_gradient;
  };
  virtual TwoWay LogitsAndGradient(const torch::Tensor& inputs);

  // For images of which one window changes at a time, from these on; nothing where the model has no quicker way than
  // Logits. The classifier must outlive it.
  virtual std::unique_ptr<WindowedLogits> InWindows(const torch::Tensor& images);

  virtual torch::Device device() const = 0;

  // From here on a stochastic model's draws follow from `seed` and the calls that are made. The draws are LibTorch's
  // own, from the one generator of the process, so that such models are asked one after another.
  virtual void SeedDraws(uint64_t) {}

  // About how much memory a look at one input takes with its way back: all that a forward pass writes, twice. Follows
  // from the model and its kernels, not from the machine. 0: not measured.
  int64_t bytes_per_input() const { return bytes_per_input_; }
  // Measures it on zeros of this shape (C×H×W). LoadTrained and LoadTorchScript do.
  void MeasureMemory(at::IntArrayRef shape);

 private:
  int64_t bytes_per_input_ = 0;
};

// As a classifier whose gradients come from the graph.
std::unique_ptr<Classifier> MakeClassifier(LayerGraph graph, torch::Device device);

// Loads a trained model of one of our architectures, on the kernels that `choose_kernels` says. Errors:
// INVALID_ARGUMENT (tensors missing, unknown or of another shape), and those of `choose_kernels`.
absl::StatusOr<std::unique_ptr<Classifier>> LoadTrained(const v1::Architecture& architecture,
                                                        const v1::DatasetRef& data, const SafeTensors& weights,
                                                        torch::Device device, const KernelChooser& choose_kernels = {});

// Loads a TorchScript file and tries it on one and on two inputs of the data set's shape. Errors: INVALID_ARGUMENT (not
// TorchScript, does not take N×C×H×W, does not give N×classes floating-point logits, gives others for the same input
// again or beside another input, because it was traced in training mode), with what was seen, and those of
// `choose_kernels`, which is asked where the model is a chain of layers that we know. A `stochastic` model may give
// what it likes for the same input.
absl::StatusOr<std::unique_ptr<Classifier>> LoadTorchScript(const std::string& path, const v1::DatasetRef& data,
                                                            torch::Device device,
                                                            const KernelChooser& choose_kernels = {},
                                                            bool stochastic = false);

}  // namespace tightrope
