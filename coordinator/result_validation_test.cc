#include "coordinator/result_validation.h"

#include <functional>
#include <limits>
#include <string>

#include "coordinator/testing/invariance_experiment.h"
#include "core/plan/plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

class ResultValidationTest : public ::testing::Test {
 protected:
  ResultValidationTest() : blobs_(*BlobStore::Open(directory_.path())) {
    const v1::SubmitRequest request = TrainingExperiment("e", 3);
    const v1::Plan plan = MakePlan(request.experiment(), request.inputs());
    for (const v1::Job& job : plan.jobs()) {
      v1::Lease& lease = job.spec().has_train() ? train_ : job.spec().has_attack() ? attack_ : evaluate_;
      *lease.mutable_spec() = job.spec();
      *lease.mutable_range() = job.shards(job.shards_size() - 1);
    }
    weights_.set_role("weights");
    weights_.set_sha256(*blobs_.Put("weights"));
    weights_.set_size(7);
    examples_.set_role("examples");
    examples_.set_sha256(*blobs_.Put("examples"));
    examples_.set_size(8);

    v1::AlignmentJob& alignment = *alignment_.mutable_spec()->mutable_alignment();
    *alignment.mutable_data() = SmallDataset(v1::SPLIT_TRAIN, 100);
    alignment.mutable_anchors()->set_count(30);
    alignment.set_norm(v1::NORM_L2);
    alignment.set_most_misaligned(2);
    v1::InvarianceJob& made = *make_set_.mutable_spec()->mutable_invariance();
    v1::EvaluateInvarianceJob& evaluated = *evaluate_set_.mutable_spec()->mutable_evaluate_invariance();
    *made.mutable_data() = *evaluated.mutable_data() = SmallDataset(v1::SPLIT_TEST, 20);
    made.mutable_sources()->set_count(20);
    *evaluated.mutable_sources() = made.sources();
    for (v1::Lease* lease : {&alignment_, &make_set_, &evaluate_set_}) {
      lease->mutable_range()->set_begin(10);
      lease->mutable_range()->set_end(20);
    }
  }

  // The status of a valid result after a change to it.
  absl::Status Changed(const v1::Lease& lease, const std::function<void(v1::ShardResult&)>& change) {
    v1::ShardResult result = InvarianceResultFor(lease, lease.spec().has_invariance() ? examples_ : weights_);
    change(result);
    return ValidateResult(lease.spec(), lease.range(), result, blobs_);
  }

  const TemporaryDirectory directory_;
  BlobStore blobs_;
  v1::Lease train_;
  v1::Lease evaluate_;
  v1::Lease attack_;
  v1::Lease alignment_;
  v1::Lease make_set_;
  v1::Lease evaluate_set_;
  v1::Artifact weights_;
  v1::Artifact examples_;
};

// Turns the record into that of an example that an attack broke at 0.1. Its witness is in no artifact.
v1::ExampleRecord& Break(v1::ExampleRecord& record) {
  record.set_verdict(v1::VERDICT_BROKEN);
  record.set_adversarial_prediction((record.label() + 1) % 10);
  record.set_witness_row(0);
  record.set_distance(0.1);
  record.set_broken_at(0.1);
  record.set_first_success(1);
  record.set_broken_by("fgsm");
  record.mutable_nearest()->set_linf(0.1);
  return record;
}

TEST_F(ResultValidationTest, WitnessLiesInTheBallOfItsRadius_UpToRounding) {
  const std::string sha256 = *blobs_.Put("witnesses");
  v1::Lease lease = attack_;
  v1::AttackJob& job = *lease.mutable_spec()->mutable_attack();
  job.add_epsilons(0.2);
  const auto broken = [&](double radius, double distance) {
    return Changed(lease, [&](v1::ShardResult& result) {
      Break(*result.mutable_records(0)).set_broken_at(radius);
      result.mutable_records(0)->set_distance(distance);
      v1::Artifact& witnesses = *result.add_artifacts();
      witnesses.set_role("witnesses");
      witnesses.set_sha256(sha256);
      witnesses.set_size(9);
    });
  };
  EXPECT_OK(broken(0.1, 0.1 + 5e-8));
  EXPECT_OK(broken(0.2, 0.2));
  EXPECT_THAT(broken(0.1, 0.2), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("outside the ball")));
  // A job of before there were several radii.
  job.clear_epsilons();
  job.mutable_attack()->set_epsilon(0.3);
  EXPECT_OK(broken(0.3, 0.25));
}

TEST_F(ResultValidationTest, ValidResultsPass) {
  for (const v1::Lease* lease : {&train_, &evaluate_, &attack_, &alignment_, &make_set_, &evaluate_set_}) {
    EXPECT_OK(Changed(*lease, [](v1::ShardResult&) {}));
  }
}

TEST_F(ResultValidationTest, EachViolationIsNamed) {
  const double infinity = std::numeric_limits<double>::infinity();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const struct {
    const v1::Lease& lease;
    std::function<void(v1::ShardResult&)> change;
    const char* message;
  } cases[] = {
      {evaluate_, [](auto& r) { r.mutable_records()->RemoveLast(); }, "number of records differs: wanted 10, got 9"},
      {evaluate_, [](auto& r) { *r.add_records() = r.records(0); }, "number of records differs"},
      {evaluate_, [](auto& r) { r.mutable_records()->SwapElements(0, 1); }, "of another example: wanted 10, got 11"},
      {evaluate_, [](auto& r) { r.mutable_records(3)->set_label(10); }, "label is out of range: example 13"},
      {evaluate_, [](auto& r) { r.mutable_records(3)->set_clean_prediction(-2); }, "prediction is out of range"},
      {evaluate_, [](auto& r) { r.mutable_records(0)->set_verdict(v1::VERDICT_BROKEN); },
       "evaluation has given a verdict"},
      {evaluate_, [&](auto& r) { *r.add_artifacts() = weights_; }, "artifact was not asked for: weights"},
      {evaluate_, [](auto& r) { *r.add_epochs() = SmallEpoch(0); }, "training metrics"},
      {attack_, [&](auto& r) { r.mutable_records(1)->set_distance(nan); }, "distance is negative or not finite"},
      {attack_, [&](auto& r) { r.mutable_records(1)->set_distance(infinity); }, "distance is negative or not finite"},
      {attack_, [](auto& r) { r.mutable_records(1)->set_distance(-0.01); }, "distance is negative or not finite"},
      {attack_, [](auto& r) { r.mutable_records(1)->set_distance(0.11); }, "outside the ball: example 11"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_verdict(v1::VERDICT_ROBUST); }, "verdict that it cannot give"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_witness_row(0); }, "undecided example has a witness"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_adversarial_prediction(3); },
       "undecided example has a witness"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_distance(0.01); }, "undecided example has a witness"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_clean_prediction(3); }, "undecided example is misclassified"},
      {attack_, [](auto& r) { r.mutable_records(1)->set_adversarial_prediction(-1); }, "no adversarial prediction"},
      {attack_, [](auto& r) { r.mutable_records(1)->set_witness_row(0); }, "a witness too many or too few: example 11"},
      {attack_, [](auto& r) { r.mutable_records(1)->set_clean_prediction(1); }, "a witness too many or too few"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)); }, "the witnesses are missing"},
      {attack_, [](auto& r) { r.mutable_records(1)->set_adversarial_prediction(1); }, "broken example is classified"},
      {evaluate_, [](auto& r) { r.mutable_records(0)->set_broken_at(0.1); }, "evaluation has given a verdict"},
      {evaluate_, [](auto& r) { r.mutable_records(0)->mutable_nearest(); }, "evaluation has given a verdict"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_broken_at(0.1); }, "undecided example has a witness"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_first_success(1); }, "undecided example has a witness"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_broken_by("pgd"); }, "undecided example has a witness"},
      {attack_, [](auto& r) { r.mutable_records(1)->clear_broken_at(); }, "has no radius at which it is: example 11"},
      {attack_, [](auto& r) { r.mutable_records(1)->set_broken_at(0.1); }, "is broken at 0: example 11, 0.1"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)).set_broken_at(0); }, "radius that its job does not have"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)).set_broken_at(0.15); }, "does not have: example 10, 0.15"},
      {attack_, [&](auto& r) { Break(*r.mutable_records(0)).set_broken_at(nan); }, "radius that its job does not have"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)).set_distance(0.11); }, "outside the ball: example 10"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)).set_first_success(2); },
       "after all passes: example 10, 2 of 1"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)).set_first_success(0); }, "lacks what broke it, or when"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)).clear_broken_by(); }, "lacks what broke it, or when"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)).set_broken_by("a\nb"); }, "no word of up to 40 ASCII"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)).set_broken_by(std::string(41, 'x')); }, "no word of up to"},
      {attack_, [&](auto& r) { r.mutable_records(0)->mutable_nearest()->set_l1(nan); }, "nearest distance is negative"},
      {attack_, [](auto& r) { r.mutable_records(0)->mutable_nearest()->set_l0(-1); }, "nearest distance is negative"},
      {attack_, [](auto& r) { Break(*r.mutable_records(0)).clear_nearest(); }, "no nearest distances: example 10"},
      {attack_, [](auto& r) { r.mutable_diagnostics()->set_zero_gradients(1); }, "count more than there is"},
      {attack_, [](auto& r) { r.mutable_diagnostics()->set_nonfinite_gradients(1); }, "count more than there is"},
      {attack_, [](auto& r) { r.mutable_diagnostics()->set_late_successes(11); }, "count more than there is"},
      {attack_, [](auto& r) { r.mutable_diagnostics()->set_same_outputs(11); }, "count more than there is"},
      {attack_, [](auto& r) { r.mutable_diagnostics()->set_probabilities(11); }, "count more than there is"},
      {evaluate_, [](auto& r) { r.mutable_diagnostics(); }, "has diagnostics of an attack"},
      {train_, [](auto& r) { r.mutable_diagnostics(); }, "no diagnostics of an attack"},
      {train_, [](auto& r) { r.mutable_epochs()->RemoveLast(); }, "number of epochs differs: wanted 3, got 2"},
      {train_, [](auto& r) { r.mutable_epochs()->SwapElements(0, 1); }, "epochs are not in order"},
      {train_, [&](auto& r) { r.mutable_epochs(1)->set_loss(nan); }, "metric is not finite: epoch 1"},
      {train_, [](auto& r) { r.mutable_epochs(1)->set_accuracy(1.5); }, "not a share"},
      {train_, [](auto& r) { r.clear_artifacts(); }, "gives one artifact, its weights; got 0"},
      {train_, [](auto& r) { r.mutable_artifacts(0)->set_size(8); }, "another size"},
      {train_, [](auto& r) { r.mutable_artifacts(0)->set_sha256(Sha256("lost")); }, "not in the store"},
      {train_, [](auto& r) { r.mutable_artifacts(0)->set_sha256("../../etc/passwd"); }, "not in the store"},
      {train_, [](auto& r) { r.add_records(); }, "a training has no examples"},
      {train_, [](auto& r) { r.mutable_alignment(); }, "an alignment was not asked for"},
      {evaluate_, [](auto& r) { r.mutable_alignment(); }, "an alignment was not asked for"},
      {evaluate_, [](auto& r) { r.mutable_records(0)->set_source(0); }, "has a source, a target or an oracle's label"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_target(-1); }, "has a source, a target or an oracle's label"},
      {attack_, [](auto& r) { r.mutable_records(0)->set_oracle_label(1); }, "a source, a target or an oracle's label"},
  };
  for (const auto& [lease, change, message] : cases) {
    EXPECT_THAT(Changed(lease, change), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
}

TEST_F(ResultValidationTest, EachViolationOfASetIsNamed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const struct {
    const v1::Lease& lease;
    std::function<void(v1::ShardResult&)> change;
    const char* message;
  } cases[] = {
      {make_set_, [](auto& r) { r.mutable_records()->RemoveLast(); }, "number of records differs: wanted 10, got 9"},
      {make_set_, [](auto& r) { r.mutable_records(0)->set_index(11); }, "of another example: wanted 10, got 11"},
      {make_set_, [](auto& r) { r.mutable_records(0)->clear_source(); }, "has no source in the test split: example 10"},
      {make_set_, [](auto& r) { r.mutable_records(9)->set_source(20); }, "has no source in the test split: example 19"},
      {make_set_, [](auto& r) { r.mutable_records(0)->set_source(11); },
       "another's source: example 10, wanted 10, got 11"},
      {make_set_, [](auto& r) { r.mutable_records(0)->set_label(10); }, "label is out of range: example 10, 10"},
      {make_set_, [](auto& r) { r.mutable_records(0)->clear_target(); }, "not moved towards another class: example 10"},
      {make_set_, [](auto& r) { r.mutable_records(0)->set_target(0); }, "towards another class: example 10, 0"},
      {make_set_, [](auto& r) { r.mutable_records(0)->set_target(-2); }, "towards another class: example 10, -2"},
      {make_set_, [](auto& r) { r.mutable_records(0)->set_target(10); }, "towards another class: example 10, 10"},
      {make_set_, [](auto& r) { r.mutable_records(0)->set_oracle_label(1); }, "oracle was asked before"},
      {make_set_, [](auto& r) { r.mutable_records(0)->clear_nearest(); }, "no distances from its source: example 10"},
      {make_set_, [&](auto& r) { r.mutable_records(0)->mutable_nearest()->set_l1(nan); }, "distance is negative"},
      {make_set_, [](auto& r) { r.mutable_records(0)->set_verdict(v1::VERDICT_BROKEN); },
       "something that is no attack"},
      {make_set_, [](auto& r) { r.clear_artifacts(); }, "one artifact a shard, its examples; got 0"},
      {make_set_, [](auto& r) { *r.add_artifacts() = r.artifacts(0); }, "its examples; got 2"},
      {make_set_, [](auto& r) { r.mutable_artifacts(0)->set_role("witnesses"); }, "its examples; got 1"},
      {make_set_, [](auto& r) { r.mutable_artifacts(0)->set_sha256(Sha256("lost")); }, "not in the store"},
      {make_set_, [](auto& r) { *r.add_epochs() = SmallEpoch(0); }, "training metrics"},
      {make_set_, [](auto& r) { r.mutable_diagnostics(); }, "diagnostics of an attack"},
      {evaluate_set_, [](auto& r) { r.mutable_records(0)->clear_source(); }, "has no source in the test split"},
      {evaluate_set_, [](auto& r) { r.mutable_records(0)->set_clean_prediction(-2); }, "prediction is out of range"},
      {evaluate_set_, [](auto& r) { r.mutable_records(0)->set_adversarial_prediction(10); },
       "prediction is out of range"},
      {evaluate_set_, [](auto& r) { r.mutable_records(0)->clear_oracle_label(); }, "nor undecided (-3): example 10, 0"},
      {evaluate_set_, [](auto& r) { r.mutable_records(0)->set_oracle_label(-2); },
       "nor undecided (-3): example 10, -2"},
      {evaluate_set_, [](auto& r) { r.mutable_records(0)->set_oracle_label(10); },
       "nor undecided (-3): example 10, 10"},
      {evaluate_set_, [](auto& r) { r.mutable_records(0)->set_target(3); }, "moves nothing towards a class"},
      {evaluate_set_, [](auto& r) { r.mutable_records(0)->set_broken_at(0); }, "something that is no attack"},
      {evaluate_set_, [&](auto& r) { *r.add_artifacts() = examples_; }, "artifact was not asked for: examples"},
  };
  for (const auto& [lease, change, message] : cases) {
    EXPECT_THAT(Changed(lease, change), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
}

TEST_F(ResultValidationTest, OracleMayCallAnExampleNoneOfTheseOrLeaveItUndecided_AndSourcesMayBeListed) {
  for (const int32_t label : {-1, -3}) {
    EXPECT_OK(Changed(evaluate_set_, [&](auto& r) { r.mutable_records(0)->set_oracle_label(label); }));
  }
  EXPECT_OK(Changed(make_set_, [](auto& r) { r.mutable_records(0)->set_target(-1); }));
  for (v1::Lease lease : {make_set_, evaluate_set_}) {
    v1::JobSpec& spec = *lease.mutable_spec();
    (spec.has_invariance() ? spec.mutable_invariance()->mutable_sources()
                           : spec.mutable_evaluate_invariance()->mutable_sources())
        ->set_indices_sha256(Sha256("indices"));
    EXPECT_OK(Changed(lease, [](auto& r) { r.mutable_records(0)->set_source(3); }));
    EXPECT_THAT(Changed(lease, [](auto& r) { r.mutable_records(0)->set_source(20); }),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has no source in the test split")));
  }
}

TEST_F(ResultValidationTest, EachContradictionInAnAlignmentIsNamed) {
  using Result = v1::AlignmentResult;
  const struct {
    std::function<void(Result&)> change;
    const char* message;
  } cases[] = {
      {[](Result& r) { r.mutable_anchors()->RemoveLast(); }, "number of anchors differs: wanted 10, got 9"},
      {[](Result& r) { r.mutable_anchors()->SwapElements(0, 1); }, "anchor is another one: wanted 10, got 11"},
      {[](Result& r) { r.mutable_anchors(0)->set_label(10); }, "label is out of range: anchor 10, 10"},
      {[](Result& r) { r.mutable_anchors(0)->mutable_nearest_by_class()->RemoveLast(); },
       "not a distance to each class: anchor 10, wanted 10, got 9"},
      {[](Result& r) { r.mutable_anchors(0)->set_nearest_by_class(3, 39); }, "not the least of those by class"},
      {[](Result& r) { r.mutable_anchors(0)->set_nearest_by_class(0, 49); }, "not the least of those by class"},
      {[](Result& r) { r.mutable_anchors(0)->set_nearest_same(10); }, "is none of the others: anchor 10, 10"},
      {[](Result& r) { r.mutable_anchors(0)->set_nearest_other(100); }, "is none of the others: anchor 10, 100"},
      {[](Result& r) { r.mutable_anchors(0)->set_greater(9 * 90 - 4); }, "more triples than there are: anchor 10"},
      {[](Result& r) { r.mutable_anchors(0)->set_equal(~uint64_t{0}); }, "more triples than there are: anchor 10"},
      {[](Result& r) { r.mutable_anchors(0)->set_triples(100 * 100 + 1); }, "more triples than there are: anchor 10"},
      {[](Result& r) { r.mutable_anchors(0)->set_greater(0); }, "contradict its nearest examples: anchor 10"},
      {[](Result& r) {
         r.mutable_anchors(0)->set_distance_same(40);
         r.mutable_anchors(0)->set_nearest_by_class(0, 40);
         r.mutable_anchors(0)->set_equal(0);
       },
       "contradict its nearest examples: anchor 10"},
      {[](Result& r) { r.mutable_anchors(0)->clear_triples(); }, "more triples than there are: anchor 10"},
      {[](Result& r) {
         r.mutable_anchors(0)->set_distance_same(kNoDistance);
         r.mutable_anchors(0)->set_nearest_by_class(0, kNoDistance);
       },
       "contradict its nearest examples: anchor 10"},
      {[](Result& r) { r.mutable_anchors(0)->set_greater(11); }, "do not add up to the anchors: class 0"},
      {[](Result& r) { r.mutable_pairs(1)->set_equal(4); }, "do not add up to the anchors: class 0"},
      {[](Result& r) { r.clear_pairs(); }, "do not add up to the anchors: class 0"},
      {[](Result& r) { r.mutable_pairs()->SwapElements(1, 2); }, "pairs are not in order: 0 to 1"},
      {[](Result& r) { r.mutable_pairs(0)->set_from(10); }, "classes that the data set lacks: 10 to 0"},
      {[](Result& r) { r.mutable_pairs(0)->set_triples(1); }, "pair counts more triples than there are: 0 to 0"},
      {[](Result& r) { r.mutable_pairs(1)->set_greater(91); }, "pair counts more triples than there are: 0 to 1"},
      {[](Result& r) { *r.add_most_misaligned() = *r.add_most_misaligned() = r.most_misaligned(0); },
       "than were asked for: wanted 2, got 3"},
      {[](Result& r) { *r.add_most_misaligned() = r.most_misaligned(0); }, "or the anchor's second: anchor 10"},
      {[](Result& r) { r.mutable_most_misaligned(0)->set_anchor(20); }, "not of an anchor of this shard"},
      {[](Result& r) { r.mutable_most_misaligned(0)->set_same(10); }, "not of three examples: anchor 10"},
      {[](Result& r) { r.mutable_most_misaligned(0)->set_other(100); }, "not of three examples: anchor 10"},
      {[](Result& r) { r.mutable_most_misaligned(0)->set_distance_same(49); }, "are not its anchor's: anchor 10"},
      {[](Result& r) { r.mutable_most_misaligned(0)->set_distance_other(41); }, "are not its anchor's: anchor 10"},
      {[](Result& r) { r.mutable_most_misaligned(0)->set_gap(0.5); }, "gap is not that of its distances"},
      {[](Result& r) { r.mutable_most_misaligned(0)->set_gap(std::numeric_limits<double>::quiet_NaN()); },
       "gap is not that of its distances"},
  };
  for (const auto& [change, message] : cases) {
    EXPECT_THAT(Changed(alignment_, [&](v1::ShardResult& result) { change(*result.mutable_alignment()); }),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
  EXPECT_THAT(Changed(alignment_, [](auto& r) { r.clear_alignment(); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("number of anchors differs")));
  EXPECT_THAT(Changed(alignment_, [&](auto& r) { *r.add_artifacts() = examples_; }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no records, files, epochs or diagnostics")));
  EXPECT_THAT(Changed(alignment_, [](auto& r) { r.add_records(); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no records, files, epochs or diagnostics")));
}

TEST_F(ResultValidationTest, AnchorThatIsAloneInItsClassHasNoTriples) {
  EXPECT_OK(Changed(alignment_, [](v1::ShardResult& result) {
    v1::AlignmentResult& alignment = *result.mutable_alignment();
    alignment.clear_most_misaligned();
    v1::AnchorAlignment& alone = *alignment.mutable_anchors(0);
    alone.clear_triples();
    alone.clear_greater();
    alone.clear_equal();
    alone.clear_nearest_same();
    alone.set_distance_same(kNoDistance);
    alone.set_nearest_by_class(0, kNoDistance);
    for (v1::PairAlignment& pair : *alignment.mutable_pairs()) {
      if (pair.from() != 0) continue;
      pair.clear_triples();
      pair.clear_greater();
      pair.clear_equal();
    }
  }));
}

TEST_F(ResultValidationTest, EpochsOfARunningTrainingFollowWhatIsStored) {
  const v1::TrainJob& train = train_.spec().train();
  v1::RunningAttempt attempt;
  *attempt.add_epochs() = SmallEpoch(1);
  attempt.mutable_checkpoint()->set_role("checkpoint");
  EXPECT_OK(ValidateEpochs(train, 1, attempt));
  EXPECT_OK(ValidateEpochs(train, 2, attempt));  // redone from an earlier checkpoint
  EXPECT_THAT(ValidateEpochs(train, 0, attempt),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("epochs are missing")));
  attempt.mutable_epochs(0)->set_epoch(3);
  EXPECT_THAT(ValidateEpochs(train, 3, attempt),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not in order")));
}

}  // namespace
}  // namespace tightrope
