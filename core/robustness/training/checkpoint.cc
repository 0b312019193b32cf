#include "core/robustness/training/checkpoint.h"

#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/robustness/model/weights.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr char kFormatKey[] = "format";
constexpr char kFormat[] = "tightrope checkpoint 1";
constexpr char kJobKey[] = "job";
constexpr char kEpochs[] = "epochs";
constexpr absl::string_view kNetworkPrefix = "network.";
constexpr int64_t kColumns = 4;  // loss, accuracy, learning rate, epsilon

std::string Metadata(const SafeTensors& checkpoint, const char* key) {
  const auto found = checkpoint.metadata.find(key);
  return found == checkpoint.metadata.end() ? "" : found->second;
}

}  // namespace

SafeTensors MakeCheckpoint(const std::string& job_digest, const torch::nn::Module& network, const WeightUpdate& update,
                           const std::vector<v1::EpochMetrics>& epochs) {
  SafeTensors checkpoint;
  checkpoint.metadata = {{kFormatKey, kFormat}, {kJobKey, job_digest}};
  for (auto& [name, tensor] : SaveWeights(network).tensors) {
    checkpoint.tensors.emplace(absl::StrCat(kNetworkPrefix, name), std::move(tensor));
  }
  update.Save(checkpoint);
  torch::Tensor metrics = torch::empty({static_cast<int64_t>(epochs.size()), kColumns}, torch::kFloat64);
  double* row = metrics.data_ptr<double>();
  for (const v1::EpochMetrics& epoch : epochs) {
    for (const double value : {epoch.loss(), epoch.accuracy(), epoch.learning_rate(), epoch.epsilon()}) *row++ = value;
  }
  checkpoint.tensors[kEpochs] = ToSafeTensor(metrics);
  return checkpoint;
}

absl::StatusOr<std::vector<v1::EpochMetrics>> RestoreCheckpoint(const SafeTensors& checkpoint,
                                                                const std::string& job_digest, uint64_t steps_per_epoch,
                                                                torch::nn::Module& network, WeightUpdate& update) {
  if (Metadata(checkpoint, kFormatKey) != kFormat) {
    return absl::InvalidArgumentError(
        absl::StrCat("not a \"", kFormat, "\" but \"", Metadata(checkpoint, kFormatKey), "\""));
  }
  if (Metadata(checkpoint, kJobKey) != job_digest) {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint of another job: ", Metadata(checkpoint, kJobKey), ", not ", job_digest));
  }
  SafeTensors weights;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (absl::StartsWith(name, kNetworkPrefix)) weights.tensors.emplace(name.substr(kNetworkPrefix.size()), tensor);
  }
  ABSL_RETURN_IF_ERROR(LoadWeights(weights, network));
  const auto stored = checkpoint.tensors.find(kEpochs);
  if (stored == checkpoint.tensors.end() || stored->second.shape.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor that is missing from the checkpoint: ", kEpochs));
  }
  ABSL_ASSIGN_OR_RETURN(const torch::Tensor metrics,
                        FromSafeTensor(kEpochs, stored->second, torch::kFloat64, {stored->second.shape[0], kColumns}));
  std::vector<v1::EpochMetrics> epochs(metrics.size(0));
  const double* row = metrics.data_ptr<double>();
  for (size_t i = 0; i < epochs.size(); ++i, row += kColumns) {
    epochs[i].set_epoch(static_cast<uint32_t>(i));
    epochs[i].set_loss(row[0]);
    epochs[i].set_accuracy(row[1]);
    epochs[i].set_learning_rate(row[2]);
    epochs[i].set_epsilon(row[3]);
  }
  ABSL_RETURN_IF_ERROR(update.Load(checkpoint, epochs.size() * steps_per_epoch));
  return epochs;
}

}  // namespace tightrope
