#include "coordinator/result_validation.h"

#include <functional>
#include <limits>
#include <string>

#include "coordinator/testing/small_experiment.h"
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
  }

  // The status of a valid result after a change to it.
  absl::Status Changed(const v1::Lease& lease, const std::function<void(v1::ShardResult&)>& change) {
    v1::ShardResult result = ResultFor(lease, weights_);
    change(result);
    return ValidateResult(lease.spec(), lease.range(), result, blobs_);
  }

  const TemporaryDirectory directory_;
  BlobStore blobs_;
  v1::Lease train_;
  v1::Lease evaluate_;
  v1::Lease attack_;
  v1::Artifact weights_;
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
  for (const v1::Lease* lease : {&train_, &evaluate_, &attack_}) EXPECT_OK(Changed(*lease, [](v1::ShardResult&) {}));
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
  };
  for (const auto& [lease, change, message] : cases) {
    EXPECT_THAT(Changed(lease, change), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  }
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
