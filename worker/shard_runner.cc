#include "worker/shard_runner.h"

#include <algorithm>
#include <list>
#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/artifact/digest.h"
#include "core/artifact/npy.h"
#include "core/artifact/safetensors.h"
#include "core/fault_point.h"
#include "core/oracle/label_table.h"
#include "core/oracle/oracle.h"
#include "core/robustness/alignment/run_alignment.h"
#include "core/robustness/attack/run_attack.h"
#include "core/robustness/evaluation/evaluate_invariance.h"
#include "core/robustness/evaluation/model_oracle.h"
#include "core/robustness/invariance/invariance_candidates.h"
#include "core/robustness/invariance/run_invariance.h"
#include "core/robustness/model/classifier.h"
#include "core/robustness/model/kernel_choice.h"
#include "core/robustness/torch.h"
#include "core/robustness/training/trainer.h"
#include "core/status_macros.h"
#include "core/steady_clock.h"
#include "spdlog/spdlog.h"
#include "worker/invariance_inputs.h"

namespace tightrope {
namespace {

// Models kept by an executor: the one in use with its surrogate or oracle, and the one before, for two jobs whose
// shards alternate.
constexpr size_t kModelsKept = 3;

v1::Artifact MakeArtifact(const std::string& sha256, size_t size, const std::string& role) {
  v1::Artifact artifact;
  artifact.set_sha256(sha256);
  artifact.set_size(size);
  artifact.set_role(role);
  return artifact;
}

// Of a stochastic model's draws on a shard.
uint64_t DrawSeed(const v1::Lease& lease) {
  const std::string digest = Sha256(absl::StrCat(lease.id().job_digest(), " draws ", lease.range().begin()));
  uint64_t seed = 0;
  return absl::SimpleHexAtoi(absl::string_view(digest).substr(0, 16), &seed) ? seed : 0;
}

// Of evaluations, of attacks, and of what makes invariance-based examples.
auto Callback(const Cancellation& cancellation, ShardObserver& observer) {
  return [&cancellation, &observer](const auto& progress) {
    observer.Progress(progress.fraction, progress.examples_done);
    return !cancellation.cancelled();
  };
}

class TorchShardRunner final : public ShardRunner {
 public:
  TorchShardRunner(const std::string& device, ArtifactCache& artifacts, DatasetCache& datasets, KernelTable& kernels)
      : device_(device), artifacts_(artifacts), datasets_(datasets), kernels_(kernels) {}

  absl::StatusOr<v1::ShardResult> Run(const v1::Lease& lease, const Cancellation& cancellation,
                                      ShardObserver& observer) override {
    switch (lease.spec().kind_case()) {
      case v1::JobSpec::kTrain:
        return Train(lease, cancellation, observer);
      case v1::JobSpec::kEvaluate:
        return Evaluate(lease, cancellation, observer);
      case v1::JobSpec::kAttack:
        return Attack(lease, cancellation, observer);
      case v1::JobSpec::kAlignment:
        return Align(lease, cancellation, observer);
      case v1::JobSpec::kInvariance:
        return MakeInvariance(lease, cancellation, observer);
      case v1::JobSpec::kEvaluateInvariance:
        return EvaluateInvariance(lease, cancellation, observer);
      case v1::JobSpec::KIND_NOT_SET:
        break;
    }
    return absl::InvalidArgumentError("this worker does not know this kind of job; update the worker");
  }

 private:
  struct LoadedModel {
    std::string key;
    std::unique_ptr<Classifier> classifier;
  };

  absl::StatusOr<v1::ShardResult> Train(const v1::Lease& lease, const Cancellation& cancellation,
                                        ShardObserver& observer) {
    const v1::TrainJob& job = lease.spec().train();
    ABSL_ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> data, datasets_.Get(job.data(), cancellation));
    std::optional<SafeTensors> checkpoint;
    if (lease.has_checkpoint()) {
      absl::StatusOr<SafeTensors> read = ReadCheckpoint(lease.checkpoint().sha256(), cancellation);
      if (read.ok()) {
        checkpoint = *std::move(read);
        spdlog::info("training goes on after epoch {}", lease.epochs_size());
      } else if (absl::IsNotFound(read.status()) || absl::IsDataLoss(read.status()) ||
                 absl::IsInvalidArgument(read.status())) {
        SayStartsOver(read.status());
      } else {
        return read.status();
      }
    }

    // An epoch whose checkpoint cannot be put now is reported with the next one that can: training neither waits for a
    // coordinator that is away nor fails for want of a checkpoint.
    std::vector<v1::EpochMetrics> unreported;
    const TrainCallbacks callbacks = {
        .progress =
            [&](const TrainProgress& progress) {
              observer.Progress(progress.fraction, progress.examples_done);
              return !cancellation.cancelled();
            },
        .epoch_done = [&](const v1::EpochMetrics& metrics, const SafeTensors& state) -> absl::Status {
          if (cancellation.cancelled()) return absl::CancelledError("the attempt was cancelled");
          unreported.push_back(metrics);
          const std::string bytes = WriteSafeTensors(state);
          const absl::StatusOr<std::string> sha256 = artifacts_.PutOnce(bytes);
          if (!sha256.ok()) {
            spdlog::warn("the checkpoint after epoch {} is not stored: {}", metrics.epoch(),
                         sha256.status().ToString());
            return absl::OkStatus();
          }
          observer.EpochsDone(unreported, MakeArtifact(*sha256, bytes.size(), "checkpoint"));
          unreported.clear();
          return absl::OkStatus();
        },
        .choose_kernels = Chooser(cancellation),
    };
    const auto train = [&](const SafeTensors* from) {
      return tightrope::Train(job, lease.id().job_digest(), *data, from, device_, callbacks);
    };
    absl::StatusOr<TrainedModel> trained = train(checkpoint.has_value() ? &*checkpoint : nullptr);
    if (checkpoint.has_value() && absl::IsInvalidArgument(trained.status())) {
      // It does not fit. Where the training itself is what is wrong, it fails the same way again.
      SayStartsOver(trained.status());
      unreported.clear();
      trained = train(nullptr);
    }
    ABSL_ASSIGN_OR_RETURN(const TrainedModel model, std::move(trained));
    v1::ShardResult result;
    result.mutable_epochs()->Add(model.epochs.begin(), model.epochs.end());
    ABSL_RETURN_IF_ERROR(AddArtifact(WriteSafeTensors(model.weights), "weights", cancellation, result));
    FaultPoint("worker.training.before-commit");
    return result;
  }

  absl::StatusOr<SafeTensors> ReadCheckpoint(const std::string& sha256, const Cancellation& cancellation) {
    ABSL_ASSIGN_OR_RETURN(const std::string bytes, artifacts_.Read(sha256, cancellation));
    return ParseSafeTensors(bytes);
  }

  // A checkpoint saves time and changes no result, so a training does not fail for one that is gone or of no use.
  static void SayStartsOver(const absl::Status& status) {
    spdlog::warn("the training starts over, its checkpoint cannot be used: {}", status.ToString());
  }

  absl::StatusOr<v1::ShardResult> Evaluate(const v1::Lease& lease, const Cancellation& cancellation,
                                           ShardObserver& observer) {
    const v1::EvaluateJob& job = lease.spec().evaluate();
    ABSL_ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> data, datasets_.Get(job.data(), cancellation));
    ABSL_ASSIGN_OR_RETURN(Classifier* const classifier, Model(job.model(), job.data(), lease, cancellation));
    classifier->SeedDraws(DrawSeed(lease));
    ABSL_ASSIGN_OR_RETURN(const std::vector<v1::ExampleRecord> records,
                          RunEvaluation(lease.range(), *data, *classifier, Callback(cancellation, observer)));
    v1::ShardResult result;
    result.mutable_records()->Add(records.begin(), records.end());
    return result;
  }

  absl::StatusOr<v1::ShardResult> Attack(const v1::Lease& lease, const Cancellation& cancellation,
                                         ShardObserver& observer) {
    const v1::AttackJob& job = lease.spec().attack();
    ABSL_ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> data, datasets_.Get(job.data(), cancellation));
    Classifier* surrogate = nullptr;
    if (!job.surrogate_sha256().empty()) {
      v1::ModelRef ref;
      ref.set_torchscript_sha256(job.surrogate_sha256());
      ABSL_ASSIGN_OR_RETURN(surrogate, Model(ref, job.data(), lease, cancellation));
    }
    ABSL_ASSIGN_OR_RETURN(Classifier* const classifier, Model(job.model(), job.data(), lease, cancellation));
    classifier->SeedDraws(DrawSeed(lease));
    ABSL_ASSIGN_OR_RETURN(const AttackOutcome outcome,
                          RunAttack(job, lease.id().job_digest(), lease.range(), *data, *classifier,
                                    Callback(cancellation, observer), surrogate));
    v1::ShardResult result;
    result.mutable_records()->Add(outcome.records.begin(), outcome.records.end());
    *result.mutable_diagnostics() = outcome.diagnostics;
    if (outcome.witnesses.rows > 0) {
      const std::string npy =
          WriteNpy(outcome.witnesses.values, {outcome.witnesses.rows, data->channels, data->height, data->width});
      ABSL_RETURN_IF_ERROR(AddArtifact(npy, "witnesses", cancellation, result));
    }
    FaultPoint("worker.attack.before-commit");
    return result;
  }

  absl::StatusOr<v1::ShardResult> Align(const v1::Lease& lease, const Cancellation& cancellation,
                                        ShardObserver& observer) {
    const v1::AlignmentJob& job = lease.spec().alignment();
    ABSL_ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> data, datasets_.Get(job.data(), cancellation));
    v1::ShardResult result;
    ABSL_ASSIGN_OR_RETURN(*result.mutable_alignment(),
                          RunAlignment(job, lease.range(), *data, [&](const MisalignmentProgress& progress) {
                            observer.Progress(progress.fraction, progress.anchors_done);
                            return !cancellation.cancelled();
                          }));
    return result;
  }

  absl::StatusOr<v1::ShardResult> MakeInvariance(const v1::Lease& lease, const Cancellation& cancellation,
                                                 ShardObserver& observer) {
    const v1::InvarianceJob& job = lease.spec().invariance();
    ABSL_ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> data, datasets_.Get(job.data(), cancellation));
    ABSL_ASSIGN_OR_RETURN(const std::vector<uint64_t> indices,
                          ReadSources(job.sources(), lease.range(), *data, artifacts_, cancellation));
    ABSL_ASSIGN_OR_RETURN(const std::shared_ptr<const InvarianceCandidates> candidates,
                          datasets_.Candidates(job.training(), CandidatesOf(job.set()), cancellation));
    ABSL_ASSIGN_OR_RETURN(
        const MadeExamples outcome,
        RunInvariance(job, lease.id().job_digest(), {.begin = lease.range().begin(), .indices = indices, .data = *data},
                      *candidates, Callback(cancellation, observer)));
    v1::ShardResult result;
    result.mutable_records()->Add(outcome.records.begin(), outcome.records.end());
    const std::string npy = WriteNpy(
        outcome.examples, {static_cast<int64_t>(outcome.records.size()), data->channels, data->height, data->width});
    ABSL_RETURN_IF_ERROR(AddArtifact(npy, "examples", cancellation, result));
    return result;
  }

  absl::StatusOr<v1::ShardResult> EvaluateInvariance(const v1::Lease& lease, const Cancellation& cancellation,
                                                     ShardObserver& observer) {
    const v1::EvaluateInvarianceJob& job = lease.spec().evaluate_invariance();
    ABSL_ASSIGN_OR_RETURN(const std::shared_ptr<const Dataset> data, datasets_.Get(job.data(), cancellation));
    ABSL_ASSIGN_OR_RETURN(const std::vector<uint64_t> indices,
                          ReadSources(job.sources(), lease.range(), *data, artifacts_, cancellation));
    ABSL_ASSIGN_OR_RETURN(const std::vector<float> examples, ReadExamples(lease, *data, artifacts_, cancellation));
    ABSL_ASSIGN_OR_RETURN(const OracleInUse asked, MakeOracle(lease, *data, cancellation));
    ABSL_ASSIGN_OR_RETURN(Classifier* const classifier, Model(job.model(), job.data(), lease, cancellation));
    classifier->SeedDraws(DrawSeed(lease));
    ABSL_ASSIGN_OR_RETURN(
        const std::vector<v1::ExampleRecord> records,
        RunInvarianceEvaluation({.begin = lease.range().begin(), .indices = indices, .data = *data}, examples,
                                *classifier, *asked.oracle, Callback(cancellation, observer)));
    v1::ShardResult result;
    result.mutable_records()->Add(records.begin(), records.end());
    return result;
  }

  struct OracleInUse {
    std::shared_ptr<const Dataset> training;  // what it looks at, if anything
    std::unique_ptr<Oracle> oracle;
  };
  // One that asks a model is valid for as long as that model: until the next call of Model but one.
  absl::StatusOr<OracleInUse> MakeOracle(const v1::Lease& lease, const Dataset& data,
                                         const Cancellation& cancellation) {
    const v1::EvaluateInvarianceJob& job = lease.spec().evaluate_invariance();
    const v1::OracleRef& ref = job.oracle();
    OracleInUse asked;
    switch (ref.oracle_case()) {
      case v1::OracleRef::kDataset:
        asked.oracle = MakeDatasetOracle(data.labels);
        return asked;
      case v1::OracleRef::kLabelsSha256: {
        ABSL_ASSIGN_OR_RETURN(const std::string file, artifacts_.Read(ref.labels_sha256(), cancellation));
        absl::StatusOr<LabelTable> table =
            LabelTable::Parse(file, {.examples = job.sources().count(), .classes = data.classes});
        ABSL_RETURN_IF_ERROR(table.status()) << "the oracle's table of labels";
        asked.oracle = MakeTableOracle(*std::move(table));
        return asked;
      }
      case v1::OracleRef::kNearest: {
        ABSL_ASSIGN_OR_RETURN(asked.training, datasets_.Get(ref.training(), cancellation));
        if (asked.training->channels != data.channels || asked.training->height != data.height ||
            asked.training->width != data.width) {
          return absl::InvalidArgumentError("the oracle's training images are of another shape than the examples");
        }
        ABSL_ASSIGN_OR_RETURN(asked.oracle,
                              MakeNearestOracle(*asked.training, {.begin = ref.nearest().first(),
                                                                  .neighbours = ref.nearest().neighbours()}));
        return asked;
      }
      case v1::OracleRef::kTorchscriptSha256: {
        v1::ModelRef model;
        model.set_torchscript_sha256(ref.torchscript_sha256());
        ABSL_ASSIGN_OR_RETURN(Classifier* const classifier, Model(model, job.data(), lease, cancellation));
        asked.oracle = MakeModelOracle(*classifier, ShapeOf(data));
        return asked;
      }
      case v1::OracleRef::ORACLE_NOT_SET:
        break;
    }
    return absl::InvalidArgumentError("the job names no oracle that this worker knows; update the worker");
  }

  KernelChooser Chooser(const Cancellation& cancellation) const {
    return [this, &cancellation](const LayerGraph& graph, at::IntArrayRef image) -> absl::StatusOr<LayerGraph> {
      const auto propose = [&](const std::vector<std::string>& unknown) {
        return TimeKernels(graph, image, unknown, device_, SteadyClock());
      };
      ABSL_ASSIGN_OR_RETURN(const KernelChoice choice,
                            kernels_.Choose(DeviceKind(device_), LibTorchVersion(), KernelSignatures(graph, image),
                                            propose, cancellation));
      return WithKernels(graph, image, choice);
    };
  }

  absl::Status AddArtifact(const std::string& bytes, const std::string& role, const Cancellation& cancellation,
                           v1::ShardResult& result) {
    ABSL_ASSIGN_OR_RETURN(const std::string sha256, artifacts_.Put(bytes, cancellation));
    *result.add_artifacts() = MakeArtifact(sha256, bytes.size(), role);
    return absl::OkStatus();
  }

  // The classifier of `ref`, loaded or kept from an earlier shard; valid until the next call but one.
  absl::StatusOr<Classifier*> Model(const v1::ModelRef& ref, const v1::DatasetRef& data, const v1::Lease& lease,
                                    const Cancellation& cancellation) {
    const bool scripted = ref.source_case() == v1::ModelRef::kTorchscriptSha256;
    const std::string& sha256 = scripted ? ref.torchscript_sha256() : lease.weights().sha256();
    if (sha256.empty()) return absl::InvalidArgumentError("the lease names no weights for its model");
    const std::string key =
        absl::StrCat(sha256, " ", data.channels(), "x", data.height(), "x", data.width(), " ", data.classes(), " ",
                     ref.architecture().SerializeAsString(), " ", ref.stochastic());
    for (auto model = models_.begin(); model != models_.end(); ++model) {
      if (model->key != key) continue;
      models_.splice(models_.begin(), models_, model);
      return models_.front().classifier.get();
    }
    std::unique_ptr<Classifier> classifier;
    if (scripted) {
      ABSL_ASSIGN_OR_RETURN(const std::string path, artifacts_.FetchFile(sha256, cancellation));
      ABSL_ASSIGN_OR_RETURN(classifier, LoadTorchScript(path, data, device_, Chooser(cancellation), ref.stochastic()));
    } else {
      ABSL_ASSIGN_OR_RETURN(const std::string bytes, artifacts_.Read(sha256, cancellation));
      ABSL_ASSIGN_OR_RETURN(const SafeTensors weights, ParseSafeTensors(bytes));
      ABSL_ASSIGN_OR_RETURN(classifier, LoadTrained(ref.architecture(), data, weights, device_, Chooser(cancellation)));
    }
    models_.push_front({.key = key, .classifier = std::move(classifier)});
    if (models_.size() > kModelsKept) models_.pop_back();
    return models_.front().classifier.get();
  }

  const torch::Device device_;
  ArtifactCache& artifacts_;
  DatasetCache& datasets_;
  KernelTable& kernels_;
  std::list<LoadedModel> models_;  // the last used first
};

}  // namespace

std::unique_ptr<ShardRunner> MakeTorchShardRunner(const std::string& device, ArtifactCache& artifacts,
                                                  DatasetCache& datasets, KernelTable& kernels) {
  UseOneThreadPerExecutor();
  return std::make_unique<TorchShardRunner>(device, artifacts, datasets, kernels);
}

}  // namespace tightrope
