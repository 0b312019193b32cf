// Like small_experiment.h, with a set of invariance-based examples and a distance: what to submit, and the results that
// a worker would report for their leases.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/testing/small_experiment.h"
#include "core/robustness/alignment/distance_rows.h"
#include "core/robustness/alignment/misalignment.h"

namespace tightrope {

// A TorchScript model, examined on the test split's first 20 examples in pieces of 10; a set "linf" that is made of
// them, in pieces of `set_shard_size`; and the l2 distance between the training split's first 30 examples and all 100,
// in pieces of 10.
inline v1::SubmitRequest InvarianceExperiment(const std::string& name, uint32_t set_shard_size) {
  v1::SubmitRequest request = EvaluationExperiment(name, 20, 10);
  *request.mutable_inputs()->mutable_train() = SmallDataset(v1::SPLIT_TRAIN, 100);
  v1::InvarianceSet& set = *request.mutable_experiment()->add_invariance();
  set.set_name("linf");
  v1::LinfInvariance& linf = *set.mutable_linf();
  linf.set_epsilon(0.3);
  linf.set_targets("all");
  linf.set_form(v1::INVARIANCE_FORM_CORRECTED);
  linf.set_max_shift(3);
  linf.set_shifts(5);
  linf.set_max_rotation(30);
  linf.set_rotations(31);
  linf.set_candidates(100);
  set.mutable_oracle()->mutable_dataset();
  set.set_shard_size(set_shard_size);
  v1::Alignment& alignment = *request.mutable_experiment()->add_alignment();
  alignment.set_name("l2");
  alignment.set_norm(v1::NORM_L2);
  alignment.set_split(v1::SPLIT_TRAIN);
  alignment.set_anchors(30);
  alignment.add_radii(0.025);
  alignment.set_most_misaligned(2);
  alignment.set_shard_size(10);
  return request;
}

// Adds an FGSM attack in linf at these radii.
inline void AddFgsm(v1::SubmitRequest& request, const std::vector<double>& radii) {
  for (const double epsilon : radii) {
    v1::Attack& attack = *request.mutable_experiment()->add_attacks();
    attack.set_name("fgsm");
    attack.mutable_fgsm();
    attack.set_norm(v1::NORM_LINF);
    attack.set_epsilon(epsilon);
    attack.set_protocol(v1::RADIUS_PROTOCOL_SHARED);
  }
}

// Of each anchor 9 others of its class, at 50 and more, and 90 of other classes, at 40 and more.
inline v1::AlignmentResult SmallAlignment(const v1::AlignmentJob& job, const v1::Shard& range) {
  constexpr uint32_t kClasses = 10;
  v1::AlignmentResult result;
  uint64_t of_class[kClasses] = {};
  for (uint64_t i = range.begin(); i < range.end(); ++i) {
    v1::AnchorAlignment& anchor = *result.add_anchors();
    anchor.set_index(static_cast<uint32_t>(i));
    anchor.set_label(static_cast<uint32_t>(i % kClasses));
    ++of_class[anchor.label()];
    anchor.set_triples(9 * 90);
    anchor.set_greater(10);
    anchor.set_equal(5);
    anchor.set_nearest_same(static_cast<uint32_t>((i + 10) % 100));
    anchor.set_distance_same(50);
    anchor.set_nearest_other(static_cast<uint32_t>((i + 1) % 100));
    anchor.set_distance_other(40);
    for (uint32_t c = 0; c < kClasses; ++c) {
      const uint32_t away = (c + kClasses - anchor.label()) % kClasses;
      anchor.add_nearest_by_class(away == 0 ? 50 : 39 + away);
    }
  }
  for (uint32_t from = 0; from < kClasses; ++from) {
    for (uint32_t to = 0; to < kClasses; ++to) {
      v1::PairAlignment& pair = *result.add_pairs();
      pair.set_from(from);
      pair.set_to(to);
      if (to != from) pair.set_triples(of_class[from] * 90);
      if (to != (from + 1) % kClasses) continue;
      pair.set_greater(of_class[from] * 10);
      pair.set_equal(of_class[from] * 5);
    }
  }
  v1::MisalignedTriple& triple = *result.add_most_misaligned();
  const auto first = static_cast<uint32_t>(range.begin());
  triple.set_anchor(first);
  triple.set_same((first + 20) % 100);
  triple.set_other((first + 1) % 100);
  triple.set_distance_same(60 + first);
  triple.set_distance_other(40);
  triple.set_gap(DistanceOfModelInputs(job.norm(), 60 + first) - DistanceOfModelInputs(job.norm(), 40));
  return result;
}

// A valid result for any lease; `artifact` is that of a training's weights or of a set's examples. Of the evaluation on
// a set, every second example has another label, which the model sees only where its position is divisible by four.
inline v1::ShardResult InvarianceResultFor(const v1::Lease& lease, const v1::Artifact& artifact = {}) {
  const v1::JobSpec& spec = lease.spec();
  if (!spec.has_alignment() && !spec.has_invariance() && !spec.has_evaluate_invariance()) {
    return ResultFor(lease, artifact);
  }
  v1::ShardResult result;
  if (spec.has_alignment()) {
    *result.mutable_alignment() = SmallAlignment(spec.alignment(), lease.range());
    return result;
  }
  for (uint64_t i = lease.range().begin(); i < lease.range().end(); ++i) {
    v1::ExampleRecord& record = *result.add_records();
    record.set_index(i);
    record.set_source(i);
    record.set_label(static_cast<int32_t>(i % 10));
    record.set_witness_row(-1);
    record.mutable_nearest()->set_linf(0.25);
    record.mutable_nearest()->set_l2(2);
    record.mutable_nearest()->set_l1(30);
    record.mutable_nearest()->set_l0(200);
    const int32_t other = (record.label() + 1) % 10;
    if (spec.has_invariance()) {
      record.set_clean_prediction(-1);
      record.set_adversarial_prediction(-1);
      record.set_target(other);
    } else {
      record.set_clean_prediction(record.label());
      record.set_oracle_label(i % 2 == 0 ? other : record.label());
      record.set_adversarial_prediction(i % 4 == 0 ? other : record.label());
    }
  }
  if (spec.has_invariance()) *result.add_artifacts() = artifact;
  return result;
}

}  // namespace tightrope
