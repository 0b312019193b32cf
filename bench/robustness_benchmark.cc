// Throughput of what takes the time: the PGD attack and PGD training, on one core or one GPU.
//
//   build/robustness_benchmark [--benchmark_filter=Pgd]
//
// Attacks count example-steps: one step of one example is a forward pass and an input gradient. Labels are what the
// network says and ε is zero, so that no example breaks and every step is done on the whole batch; the work is that of
// any other ε.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/random/random_stream.h"
#include "core/robustness/attack/run_attack.h"
#include "core/robustness/attack/toy_dataset.h"
#include "core/robustness/model/network.h"
#include "core/robustness/torch.h"
#include "core/robustness/training/trainer.h"

namespace tightrope {
namespace {

constexpr uint32_t kAttackExamples = 250;  // the default shard
constexpr uint32_t kAttackSteps = 10;
constexpr uint32_t kTrainExamples = 1000;

torch::Device FastestDevice() {
  return torch::cuda::is_available() ? torch::Device(torch::kCUDA, 0) : torch::Device(torch::kCPU);
}

v1::Architecture ArchitectureNamed(const std::string& name) {
  v1::Architecture architecture;
  if (name == "small_cnn") architecture.mutable_small_cnn();
  if (name == "madry_cnn") architecture.mutable_madry_cnn();
  return architecture;
}

void PgdAttackSteps(benchmark::State& state, const std::string& name, v1::Norm norm) {
  Dataset data = MakeToyDataset(kAttackExamples, 28, 10, 1.0);
  auto network = MakeNetwork(ArchitectureNamed(name), ToyReference(data));
  if (!network.ok()) return state.SkipWithError(network.status().ToString().c_str());
  InitialiseWeights(**network, RandomStream(1, "benchmark", "weights"));
  const std::unique_ptr<Classifier> classifier = MakeClassifier(*network, FastestDevice());
  v1::Shard all;
  all.set_end(data.count);
  const EvaluationCallback go_on = [](const EvaluationProgress&) { return true; };
  const auto predictions = RunEvaluation(all, data, *classifier, go_on);
  if (!predictions.ok()) return state.SkipWithError(predictions.status().ToString().c_str());
  for (uint32_t i = 0; i < data.count; ++i) {
    data.labels[i] = static_cast<uint8_t>((*predictions)[i].clean_prediction());
  }
  v1::AttackJob job;
  job.mutable_attack()->set_norm(norm);
  job.add_epsilons(0);
  job.mutable_attack()->mutable_pgd()->set_steps(kAttackSteps);
  job.mutable_attack()->mutable_pgd()->set_step_size(0.01);
  job.mutable_attack()->mutable_pgd()->set_restarts(1);
  job.mutable_attack()->mutable_pgd()->set_random_start(true);
  uint64_t steps = 0;
  for (auto _ : state) {
    const auto outcome = RunAttack(job, "benchmark", all, data, *classifier, go_on);
    if (!outcome.ok()) return state.SkipWithError(outcome.status().ToString().c_str());
    for (const v1::ExampleRecord& record : outcome->records) steps += record.backward_passes();
  }
  state.counters["example_steps/s"] = benchmark::Counter(static_cast<double>(steps), benchmark::Counter::kIsRate);
}

// One epoch of ℓ∞ PGD training with ten steps.
void PgdTrainingEpoch(benchmark::State& state, const std::string& name) {
  const Dataset data = MakeToyDataset(kTrainExamples, 28, 10, 0.5);
  v1::TrainJob job;
  *job.mutable_data() = ToyReference(data);
  *job.mutable_architecture() = ArchitectureNamed(name);
  v1::Training& training = *job.mutable_training();
  training.set_epochs(1);
  training.set_batch_size(128);
  training.set_optimizer(v1::OPTIMIZER_ADAM);
  training.set_learning_rate(0.001);
  training.mutable_pgd()->set_norm(v1::NORM_LINF);
  training.mutable_pgd()->set_epsilon(0.1);
  training.mutable_pgd()->set_steps(10);
  training.mutable_pgd()->set_random_start(true);
  for (auto _ : state) {
    const auto model = Train(job, "benchmark", data, nullptr, FastestDevice(), {});
    if (!model.ok()) return state.SkipWithError(model.status().ToString().c_str());
  }
  state.counters["examples/s"] =
      benchmark::Counter(static_cast<double>(kTrainExamples * state.iterations()), benchmark::Counter::kIsRate);
}

BENCHMARK_CAPTURE(PgdAttackSteps, small_cnn_linf, "small_cnn", v1::NORM_LINF)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(PgdAttackSteps, small_cnn_l2, "small_cnn", v1::NORM_L2)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(PgdAttackSteps, madry_cnn_linf, "madry_cnn", v1::NORM_LINF)
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(PgdTrainingEpoch, small_cnn, "small_cnn")->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(PgdTrainingEpoch, madry_cnn, "madry_cnn")->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace tightrope

int main(int argc, char** argv) {
  tightrope::KeepFreedMemory();
  tightrope::UseOneThreadPerExecutor();
  benchmark::AddCustomContext("libtorch", tightrope::LibTorchVersion());
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
