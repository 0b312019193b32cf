// What tests of attacks share: attacks as text, models that are easy to reason about, and every claim of a record that
// can be checked from outside.
#pragma once

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/types/span.h"
#include "core/experiment/attack_table.h"
#include "core/random/random_stream.h"
#include "core/robustness/attack/active_batch.h"
#include "core/robustness/attack/dataset_batch.h"
#include "core/robustness/attack/run_attack.h"
#include "core/robustness/attack/toy_dataset.h"
#include "core/robustness/model/network.h"
#include "core/robustness/torch.h"
#include "gtest/gtest.h"

namespace tightrope {

constexpr v1::Norm kAttackNorms[] = {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1};
constexpr v1::Norm kThreatModels[] = {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1, v1::NORM_L0, v1::NORM_SPATIAL};

// `attack`: a v1::Attack in protobuf's text format, but for its norm.
inline v1::AttackJob JobOf(const std::string& attack, v1::Norm norm, const std::vector<double>& epsilons) {
  v1::AttackJob job;
  job.set_seed(1);
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(attack, job.mutable_attack())) << attack;
  job.mutable_attack()->set_norm(norm);
  job.mutable_epsilons()->Assign(epsilons.begin(), epsilons.end());
  return job;
}

// Every method of the norm with every option that changes its course, for four classes.
inline std::vector<std::string> EveryAttack(v1::Norm norm) {
  const std::string pgd = "pgd { steps: 8 restarts: 2 random_start: true ";
  const std::string apgd = "apgd { steps: 12 restarts: 1 rho: 0.75 eot: 1 ";
  const std::string fab = "fab { steps: 10 restarts: 2 alpha_max: 0.1 eta: 1.05 beta: 0.9 ";
  const std::string square = "square { queries: 100 restarts: 1 p_init: 0.8 rescale_schedule: true ";
  const std::string constants = "{ steps: 60 search_steps: 4 initial_const: 0.1 learning_rate: 0.05 ";
  const std::string ddn = "ddn { steps: 30 initial_radius: 1 gamma: 0.05 ";
  const std::string fmn = "fmn { steps: 60 step_size: 0.3 gamma: 0.05 gamma_final: 0.001 ";
  const std::string sigma_zero =
      "sigma_zero { steps: 60 step_size: 1 sigma: 0.001 threshold: 0.3 threshold_step: 0.01 ";
  const std::string sparse_rs = "sparse_rs { queries: 100 restarts: 1 alpha_init: 0.3 rescale_schedule: true ";
  const std::string spsa = "spsa { steps: 10 samples: 8 delta: 0.01 learning_rate: 0.05 restarts: 1 ";
  const std::string spatial = "spatial { max_rotation: 30 max_translation: 2 rotations: 7 translations: 5 draws: 20 ";
  std::vector<std::string> attacks = {
      "fgsm {}",
      pgd + "loss: ATTACK_LOSS_CE }",
      pgd + "loss: ATTACK_LOSS_MARGIN }",
      pgd + "loss: ATTACK_LOSS_DLR }",
      pgd + "loss: ATTACK_LOSS_KL }",
      pgd + "loss: ATTACK_LOSS_CE momentum: 0.9 }",
      pgd + "loss: ATTACK_LOSS_MARGIN targets: 2 }",
      apgd + "loss: ATTACK_LOSS_CE }",
      apgd + "loss: ATTACK_LOSS_DLR }",
      apgd + "loss: ATTACK_LOSS_CE targets: 2 }",
      apgd + "loss: ATTACK_LOSS_DLR targets: 3 }",
      fab + "}",
      fab + "targets: 3 }",
      square + "}",
      square + "targets: 2 }",
      "carlini_wagner " + constants + "}",
      "carlini_wagner " + constants + "confidence: 0.1 targets: 2 }",
      ddn + "}",
      ddn + "targets: 2 }",
      "deepfool { steps: 20 overshoot: 0.02 candidates: 3 }",
      "ead " + constants + "beta: 0.001 }",
      "ead " + constants + "beta: 0.01 confidence: 0.1 targets: 2 }",
      fmn + "}",
      fmn + "targets: 2 }",
      sigma_zero + "}",
      sigma_zero + "targets: 2 }",
      "jsma { theta: 1 targets: 3 }",
      "jsma { theta: -1 targets: 3 }",
      sparse_rs + "}",
      sparse_rs + "targets: 2 }",
      "pointwise { restarts: 2 }",
      "boundary { steps: 300 spherical_step: 0.05 source_step: 0.05 step_adaptation: 1.5 restarts: 1 }",
      "hop_skip_jump { steps: 4 gradient_queries: 20 max_gradient_queries: 100 restarts: 1 }",
      spsa + "directions: SPSA_DIRECTIONS_RADEMACHER loss: ATTACK_LOSS_MARGIN }",
      spsa + "directions: SPSA_DIRECTIONS_GAUSSIAN loss: ATTACK_LOSS_CE }",
      spsa + "directions: SPSA_DIRECTIONS_RADEMACHER loss: ATTACK_LOSS_MARGIN targets: 2 }",
      spatial + "search: SPATIAL_SEARCH_GRID }",
      spatial + "search: SPATIAL_SEARCH_RANDOM }",
      "noise { distribution: NOISE_DISTRIBUTION_UNIFORM draws: 30 }",
      "noise { distribution: NOISE_DISTRIBUTION_GAUSSIAN draws: 30 }",
      "autoattack { version: AUTO_ATTACK_VERSION_STANDARD } query_budget: 1700",
  };
  if (norm == v1::NORM_L1) attacks.push_back(apgd + "loss: ATTACK_LOSS_CE larger_radii_first: true }");
  attacks.erase(std::remove_if(attacks.begin(), attacks.end(),
                               [&](const std::string& attack) {
                                 return !FindAttack(JobOf(attack, norm, {}).attack())->Takes(norm);
                               }),
                attacks.end());
  return attacks;
}

// The ensemble that does without a third class.
inline const char* const kAutoAttackForTwoClasses =
    "autoattack { components: AUTO_ATTACK_COMPONENT_APGD_CE components: AUTO_ATTACK_COMPONENT_FAB "
    "components: AUTO_ATTACK_COMPONENT_SQUARE } query_budget: 900";

inline bool IsEnsemble(const std::string& attack) { return absl::StartsWith(attack, "autoattack"); }

// At the first, some toy examples fall to a good attack; at the last, also to noise.
inline std::vector<double> ToyRadii(v1::Norm norm) {
  if (norm == v1::NORM_L2) return {0.15, 0.35, 0.9, 4};
  if (norm == v1::NORM_L0) return {2, 5, 14, 60};
  if (norm == v1::NORM_SPATIAL) return {0.1, 0.4, 0.7, 1};
  return norm == v1::NORM_L1 ? std::vector<double>{0.8, 2.5, 6, 25} : std::vector<double>{0.025, 0.05, 0.12, 0.5};
}

// Logits W·x, each a sum of its own, so that a row's logits are the same in every batch.
class LinearModel : public Classifier {
 public:
  // `weight`: classes×pixels.
  explicit LinearModel(torch::Tensor weight) : weight_(std::move(weight)) {}

  torch::Tensor Logits(const torch::Tensor& inputs) override {
    return (inputs.flatten(1).unsqueeze(1) * weight_).sum(2);
  }
  torch::Device device() const override { return torch::kCPU; }

 private:
  torch::Tensor weight_;
};

// A model that is what a function makes of its inputs.
class Made : public Classifier {
 public:
  explicit Made(std::function<torch::Tensor(const torch::Tensor&)> logits) : logits_(std::move(logits)) {}
  torch::Tensor Logits(const torch::Tensor& inputs) override { return logits_(inputs); }
  torch::Device device() const override { return torch::kCPU; }

 private:
  std::function<torch::Tensor(const torch::Tensor&)> logits_;
};

// For MakeToyDataset's classes: of each the pixels in which it is brighter against the others; no two weights are
// equal.
inline torch::Tensor ToyWeights(const Dataset& data) {
  const int64_t pixels = int64_t{data.channels} * data.height * data.width;
  torch::Tensor weight = torch::empty({data.classes, pixels});
  RandomStream(1, "toy", "weights").Uniform({}, absl::MakeSpan(weight.data_ptr<float>(), weight.numel()));
  weight.sub_(0.5).mul_(0.2);
  auto values = weight.accessor<float, 2>();
  for (int64_t k = 0; k < data.classes; ++k) {
    for (int64_t i = 0; i < pixels; ++i) {
      values[k][i] += i % data.classes == k ? 1.0f : -1.0f / static_cast<float>(data.classes - 1);
    }
  }
  return weight;
}

// The same behind a hidden layer, with units that are on for some examples only.
inline std::unique_ptr<Classifier> ToyNetwork(const Dataset& data) {
  v1::Architecture architecture;
  architecture.mutable_mlp()->add_hidden(12);
  torch::nn::Sequential network = MakeNetwork(architecture, ToyReference(data)).value();
  InitialiseWeights(*network, RandomStream(3, "toy", "network"));
  {
    torch::NoGradGuard no_grad;
    const std::vector<torch::Tensor> parameters = network->parameters();
    parameters[0].slice(0, 0, data.classes).add_(ToyWeights(data));
    parameters[1].add_(0.5);
    parameters[2].slice(1, 0, data.classes).add_(torch::eye(data.classes));
  }
  return MakeClassifier(network, torch::kCPU);
}

inline torch::Tensor AllInputs(const Dataset& data) {
  std::vector<uint32_t> indices(data.count);
  std::iota(indices.begin(), indices.end(), 0);
  return MakeBatch(data, indices, torch::kCPU).inputs;
}

// Nothing is misclassified as it is any more.
inline void LabelAsPredicted(Dataset& data, Classifier& classifier) {
  const std::vector<int32_t> predicted = Predictions(classifier.Logits(AllInputs(data)));
  for (size_t i = 0; i < predicted.size(); ++i) data.labels[i] = static_cast<uint8_t>(predicted[i]);
}

inline absl::StatusOr<AttackOutcome> Attacked(const v1::AttackJob& job, const Dataset& data, Classifier& classifier) {
  v1::Shard range;
  range.set_end(data.count);
  return RunAttack(job, "job", range, data, classifier, [](const EvaluationProgress&) { return true; });
}

inline int Count(const AttackOutcome& outcome, v1::Verdict verdict) {
  return static_cast<int>(std::count_if(outcome.records.begin(), outcome.records.end(),
                                        [&](const auto& record) { return record.verdict() == verdict; }));
}

inline std::string BytesOf(const AttackOutcome& outcome) {
  std::string bytes;
  for (const v1::ExampleRecord& record : outcome.records) bytes += record.SerializeAsString();
  return bytes.append(reinterpret_cast<const char*>(outcome.witnesses.values.data()),
                      sizeof(float) * outcome.witnesses.values.size());
}

inline double NearestOf(const v1::ExampleRecord& record, v1::Norm norm) {
  const v1::ExampleRecord::Nearest& nearest = record.nearest();
  switch (norm) {
    case v1::NORM_L2:
      return nearest.l2();
    case v1::NORM_L1:
      return nearest.l1();
    case v1::NORM_L0:
      return nearest.l0();
    case v1::NORM_SPATIAL:  // no distance of pixels
      return 0;
    default:
      return nearest.linf();
  }
}

// Of a broken example that is right as it is: the stored point is feasible with no tolerance, and wrong when asked
// alone.
inline void ExpectWitnessHolds(const v1::ExampleRecord& record, absl::Span<const float> witness,
                               const v1::AttackJob& job, const Dataset& data, Classifier& classifier) {
  const torch::Tensor clean = MakeBatch(data, {static_cast<uint32_t>(record.index())}, torch::kCPU).inputs;
  const absl::Span<const float> from(clean.data_ptr<float>(), witness.size());
  EXPECT_LE(record.distance(), record.broken_at());
  if (job.attack().norm() != v1::NORM_SPATIAL) {
    const double distance = Distance(job.attack().norm(), from, witness);
    EXPECT_LE(distance, record.broken_at());
    EXPECT_NEAR(distance, record.distance(), 1e-12 * distance);
  }
  // The smallest of the job's radii that holds it.
  const auto holds = std::lower_bound(job.epsilons().begin(), job.epsilons().end(), record.distance());
  ASSERT_NE(holds, job.epsilons().end());
  EXPECT_EQ(*holds, record.broken_at());
  for (size_t i = 0; i < witness.size(); ++i) {
    ASSERT_TRUE(witness[i] >= 0 && witness[i] <= 1) << witness[i];
    if (job.attack().norm() == v1::NORM_LINF) {
      ASSERT_LE(double{std::abs(witness[i] - from[i])}, record.broken_at());
    }
  }
  const torch::Tensor point = torch::tensor(std::vector<float>(witness.begin(), witness.end())).view(clean.sizes());
  EXPECT_EQ(Predictions(classifier.Logits(point.to(classifier.device())))[0], record.adversarial_prediction());
  EXPECT_FALSE(record.broken_by().empty());
}

// As the coordinator demands of records, and more.
inline void ExpectRecordsHold(const AttackOutcome& outcome, const v1::AttackJob& job, const Dataset& data,
                              Classifier& classifier) {
  const size_t elements = size_t{data.channels} * data.height * data.width;
  int64_t rows = 0;
  ASSERT_EQ(outcome.records.size(), data.count);
  for (const v1::ExampleRecord& record : outcome.records) {
    SCOPED_TRACE(record.ShortDebugString());
    const bool right = record.clean_prediction() == record.label();
    EXPECT_LE(record.first_success(), record.forward_passes());
    if (record.verdict() == v1::VERDICT_UNDECIDED) {
      EXPECT_TRUE(right);
      EXPECT_FALSE(record.has_broken_at());
      EXPECT_EQ(record.witness_row(), -1);
      EXPECT_EQ(record.adversarial_prediction(), -1);
      EXPECT_EQ(record.first_success(), 0u);
      EXPECT_EQ(record.distance(), 0);
      EXPECT_EQ(record.broken_by(), "");
      continue;
    }
    ASSERT_EQ(record.verdict(), v1::VERDICT_BROKEN);
    ASSERT_TRUE(record.has_broken_at() && record.has_nearest());
    EXPECT_NE(record.adversarial_prediction(), record.label());
    EXPECT_GE(record.first_success(), 1u);
    EXPECT_LE(NearestOf(record, job.attack().norm()), record.distance());
    if (!right) {
      EXPECT_EQ(record.broken_at(), 0);
      EXPECT_EQ(record.distance(), 0);
      EXPECT_EQ(record.witness_row(), -1);
      EXPECT_EQ(record.adversarial_prediction(), record.clean_prediction());
      continue;
    }
    ASSERT_EQ(record.witness_row(), rows++);
    ASSERT_LE(static_cast<size_t>(rows) * elements, outcome.witnesses.values.size());
    ExpectWitnessHolds(record, absl::MakeConstSpan(outcome.witnesses.values).subspan((rows - 1) * elements, elements),
                       job, data, classifier);
  }
  EXPECT_EQ(rows, outcome.witnesses.rows);
  EXPECT_EQ(static_cast<size_t>(rows) * elements, outcome.witnesses.values.size());
}

}  // namespace tightrope
