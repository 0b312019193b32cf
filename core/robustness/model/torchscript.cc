#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/robustness/model/classifier.h"
#include "core/robustness/model/layer_graph.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr int kRepeats = 8;

class TorchScriptClassifier : public Classifier {
 public:
  TorchScriptClassifier(torch::jit::Module module, torch::Device device, bool stochastic)
      : module_(std::move(module)), device_(device), stochastic_(stochastic) {}

  torch::Tensor Logits(const torch::Tensor& inputs) override {
    const UnoptimizedTorchScript as_written;
    static std::mutex draws;  // of the generator that all share
    std::unique_lock<std::mutex> lock(draws, std::defer_lock);
    if (stochastic_) {
      lock.lock();
      torch::manual_seed(Mixed(seed_ + calls_++));
    }
    return module_.forward({inputs}).toTensor().to(torch::kFloat32);
  }
  torch::Device device() const override { return device_; }
  void SeedDraws(uint64_t seed) override {
    seed_ = seed;
    calls_ = 0;
  }

  // The same model as a graph, where it is one; else null.
  absl::StatusOr<std::unique_ptr<Classifier>> AsGraph(const v1::DatasetRef& data,
                                                      const KernelChooser& choose_kernels) const {
    const UnoptimizedTorchScript as_written;
    const torch::Tensor probe =
        torch::linspace(0, 1, int64_t{2} * data.channels() * data.height() * data.width(), device_)
            .view({2, data.channels(), data.height(), data.width()});
    std::optional<LayerGraph> graph = LayerGraph::Of(module_, probe);
    if (!graph) return nullptr;
    if (choose_kernels) {
      ABSL_ASSIGN_OR_RETURN(*graph, choose_kernels(*graph, {data.channels(), data.height(), data.width()}));
    }
    return MakeClassifier(*std::move(graph), device_);
  }

  // Forward passes on zeros and on a ramp; says what is wrong with what comes out.
  absl::Status Try(const v1::DatasetRef& data, int64_t rows) {
    const UnoptimizedTorchScript as_written;
    torch::NoGradGuard no_grad;
    const torch::Tensor zeros = torch::zeros({rows, data.channels(), data.height(), data.width()},
                                             torch::TensorOptions().dtype(torch::kFloat32).device(device_));
    const torch::IValue output = module_.forward({zeros});
    const std::string wanted = absl::StrCat("one float tensor of ", rows, "×", data.classes(), " logits for a ", rows,
                                            "×", data.channels(), "×", data.height(), "×", data.width(), " input");
    if (!output.isTensor()) {
      return absl::InvalidArgumentError(
          absl::StrCat("it must give ", wanted, ", not a value of type ", output.tagKind()));
    }
    const torch::Tensor& logits = output.toTensor();
    if (!logits.is_floating_point() || logits.dim() != 2 || logits.size(0) != rows ||
        logits.size(1) != data.classes()) {
      return absl::InvalidArgumentError(absl::StrCat("it must give ", wanted, ", not ", logits.toString(), " [",
                                                     absl::StrJoin(logits.sizes(), ", "), "]"));
    }
    if (rows == 1 || stochastic_) return absl::OkStatus();
    // Dropout and batch norm that were traced in training mode stay so, whatever eval() says. Dropout of few values
    // draws the same twice now and then.
    const torch::Tensor probe = torch::linspace(0, 1, zeros.numel(), zeros.options()).view(zeros.sizes());
    const torch::Tensor first = Logits(probe);
    const auto differs = [](const torch::Tensor& one, const torch::Tensor& other, double relative, double absolute) {
      return !torch::allclose(one, other, relative, absolute, /*equal_nan=*/true);
    };
    for (int repeat = 0; repeat < kRepeats; ++repeat) {
      if (!differs(first, Logits(probe), 1e-5, 1e-6)) continue;
      return absl::InvalidArgumentError(
          "it gives other logits when asked again about the same input; call eval() before tracing (dropout?), or "
          "write "
          "`stochastic: true` where it is meant to draw at random");
    }
    if (differs(first.slice(0, 0, 1), Logits(probe.slice(0, 0, 1)), 1e-3, 1e-4)) {
      return absl::InvalidArgumentError(
          "its logits for an input depend on the others in the batch; call eval() before tracing (batch norm?)");
    }
    return absl::OkStatus();
  }

 private:
  // Neighbours get seeds that have nothing in common (the finalizer of SplitMix64; Steele et al. 2014).
  static uint64_t Mixed(uint64_t seed) {
    seed = (seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9;
    seed = (seed ^ (seed >> 27)) * 0x94D049BB133111EB;
    return seed ^ (seed >> 31);
  }

  torch::jit::Module module_;
  torch::Device device_;
  const bool stochastic_;
  uint64_t seed_ = 0;
  uint64_t calls_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Classifier>> LoadTorchScript(const std::string& path, const v1::DatasetRef& data,
                                                            torch::Device device, const KernelChooser& choose_kernels,
                                                            bool stochastic) {
  UseReproducibleArithmetic();
  std::unique_ptr<TorchScriptClassifier> classifier;
  ABSL_RETURN_IF_ERROR(WithoutExceptions(absl::StrCat("not a TorchScript file: ", path), [&] {
    torch::jit::Module module = torch::jit::load(path, device);
    module.eval();
    for (torch::Tensor parameter : module.parameters()) parameter.set_requires_grad(false);
    classifier = std::make_unique<TorchScriptClassifier>(std::move(module), device, stochastic);
    return absl::OkStatus();
  }));
  // Two rows find a batch size of one that was traced into the model.
  for (const int64_t rows : {1, 2}) {
    ABSL_RETURN_IF_ERROR(WithoutExceptions(
        absl::StrCat("forward pass on ", rows, "×", data.channels(), "×", data.height(), "×", data.width(), " zeros"),
        [&] { return classifier->Try(data, rows); }))
        << "the TorchScript model does not fit the data set " << data.name() << ": " << path;
  }
  std::unique_ptr<Classifier> graph;
  if (!stochastic) {
    ABSL_ASSIGN_OR_RETURN(graph, WithoutExceptions("cannot choose the kernels of the TorchScript model",
                                                   [&] { return classifier->AsGraph(data, choose_kernels); }));
  }
  if (graph == nullptr) graph = std::move(classifier);
  graph->MeasureMemory({data.channels(), data.height(), data.width()});
  return graph;
}

}  // namespace tightrope
