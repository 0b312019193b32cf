#include "core/robustness/invariance/run_invariance.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/robustness/invariance/input_values.h"
#include "core/robustness/invariance/interpolate_attack.h"
#include "core/robustness/invariance/invariance_test_support.h"
#include "core/robustness/invariance/l0_attack.h"
#include "core/robustness/invariance/linf_attack.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

constexpr size_t kSide = 10, kElements = kSide * kSide;

bool GoOn(const InvarianceProgress&) { return true; }

// Random blots in the middle of black images, which most transforms do not push over the edge.
Dataset Blots(uint64_t count, uint32_t seed) {
  Dataset data = RandomImages(count, 1, kSide, kSide, 3, 1, seed);
  for (size_t i = 0; i < data.pixels.size(); ++i) {
    const size_t x = i % kSide, y = i / kSide % kSide;
    if (x < 3 || x > 6 || y < 3 || y > 6) data.pixels[i] = 0;
  }
  return data;
}

v1::InvarianceJob LinfJob(double epsilon, v1::InvarianceForm form = v1::INVARIANCE_FORM_CORRECTED) {
  v1::InvarianceJob job;
  v1::LinfInvariance& linf = *job.mutable_set()->mutable_linf();
  linf.set_epsilon(epsilon);
  linf.set_form(form);
  linf.set_max_shift(1);
  linf.set_shifts(3);
  linf.set_max_rotation(20);
  linf.set_rotations(3);
  return job;
}

v1::InvarianceJob L0Job(v1::InvarianceForm form = v1::INVARIANCE_FORM_CORRECTED) {
  v1::InvarianceJob job;
  v1::L0Invariance& l0 = *job.mutable_set()->mutable_l0();
  l0.set_transforms(40);
  l0.set_form(form);
  l0.set_groups(4);
  job.set_seed(1);
  return job;
}

v1::InvarianceJob InterpolateJob(v1::Norm norm, double epsilon,
                                 v1::InterpolationPath path = v1::INTERPOLATION_PATH_STRAIGHT) {
  v1::InvarianceJob job;
  v1::InterpolatedInvariance& interpolate = *job.mutable_set()->mutable_interpolate();
  interpolate.set_norm(norm);
  interpolate.set_epsilon(epsilon);
  interpolate.set_path(path);
  interpolate.set_max_shift(1);
  interpolate.set_shifts(3);
  interpolate.set_max_rotation(20);
  interpolate.set_rotations(3);
  return job;
}

std::vector<v1::InvarianceJob> EveryJob() {
  return {LinfJob(0.3),
          LinfJob(0.3, v1::INVARIANCE_FORM_PUBLISHED),
          L0Job(),
          L0Job(v1::INVARIANCE_FORM_PUBLISHED),
          InterpolateJob(v1::NORM_LINF, 0.3),
          InterpolateJob(v1::NORM_L2, 0.9),
          InterpolateJob(v1::NORM_L1, 3, v1::INTERPOLATION_PATH_TRANSFORMED)};
}

class RunInvarianceTest : public ::testing::Test {
 protected:
  absl::StatusOr<MadeExamples> Make(const v1::InvarianceJob& job, uint64_t begin, const std::vector<uint64_t>& sources,
                                    const std::string& digest = "job") {
    return RunInvariance(job, digest, {.begin = begin, .indices = sources, .data = data_}, CandidatesFor(job), GoOn);
  }

  const InvarianceCandidates& CandidatesFor(const v1::InvarianceJob& job) {
    return job.set().has_l0() ? with_bits_ : without_bits_;
  }

  absl::Span<const uint8_t> SourceOf(const v1::ExampleRecord& record) const {
    return ImageAt(data_.pixels, record.source(), kElements);
  }

  Dataset data_ = Blots(9, 2);
  const std::shared_ptr<const Dataset> training_ = std::make_shared<const Dataset>(Blots(60, 1));
  InvarianceCandidates with_bits_ = *PrepareCandidates(training_, {.as_bits = true});
  InvarianceCandidates without_bits_ = *PrepareCandidates(training_, {});
};

TEST_F(RunInvarianceTest, RecordsSayWhatBecameOfEachSource) {
  const std::vector<uint64_t> sources = {7, 2, 2, 0};
  for (const v1::InvarianceJob& job : EveryJob()) {
    SCOPED_TRACE(job.ShortDebugString());
    const auto outcome = Make(job, 100, sources);
    ASSERT_OK(outcome);
    ASSERT_EQ(outcome->records.size(), 4u);
    ASSERT_EQ(outcome->examples.size(), 4 * kElements);
    for (size_t row = 0; row < 4; ++row) {
      const v1::ExampleRecord& record = outcome->records[row];
      EXPECT_EQ(record.index(), 100 + row);
      EXPECT_EQ(record.source(), sources[row]);
      EXPECT_EQ(record.label(), data_.labels[sources[row]]);
      EXPECT_NE(record.target(), record.label());
      EXPECT_LT(record.target(), 3);
      EXPECT_EQ(record.clean_prediction(), -1);
      EXPECT_EQ(record.adversarial_prediction(), -1);
      EXPECT_EQ(record.witness_row(), -1);
      EXPECT_EQ(record.verdict(), v1::VERDICT_UNSPECIFIED);
      const absl::Span<const float> example = ImageAt(outcome->examples, row, kElements);
      EXPECT_EQ(record.nearest().SerializeAsString(),
                InputDistances(InputValues(SourceOf(record)), example).SerializeAsString());
      for (const float value : example) ASSERT_TRUE(value >= 0 && value <= 1);
      if (record.target() == -1) {
        EXPECT_EQ(record.nearest().l0(), 0);
      }
    }
    EXPECT_EQ(outcome->records[1].nearest().l1(), outcome->records[2].nearest().l1());
  }
}

// The corrected forms. What a reader of the stored values finds, in double and in float32.
TEST_F(RunInvarianceTest, NoExampleLeavesTheBallByEvenABit) {
  const std::vector<uint64_t> sources = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  int at_the_edge = 0;
  for (const double epsilon : {0.3, 0.1, 1.0 / 3, 8 / 255.0}) {
    for (const v1::InvarianceJob& job : {LinfJob(epsilon), InterpolateJob(v1::NORM_LINF, epsilon)}) {
      const auto outcome = Make(job, 0, sources);
      ASSERT_OK(outcome);
      for (size_t row = 0; row < sources.size(); ++row) {
        const v1::ExampleRecord& record = outcome->records[row];
        ASSERT_NE(record.target(), -1);
        ASSERT_LE(record.nearest().linf(), epsilon);
        at_the_edge += record.nearest().linf() > epsilon - 1e-6;
        const std::vector<float> source = InputValues(SourceOf(record));
        for (size_t e = 0; e < kElements; ++e) {
          ASSERT_LE(std::abs(outcome->examples[row * kElements + e] - source[e]), static_cast<float>(epsilon));
        }
      }
    }
  }
  for (const double epsilon : {0.9, 0.2}) {
    for (const auto path : {v1::INTERPOLATION_PATH_STRAIGHT, v1::INTERPOLATION_PATH_TRANSFORMED}) {
      const auto l2 = Make(InterpolateJob(v1::NORM_L2, epsilon, path), 0, sources);
      const auto l1 = Make(InterpolateJob(v1::NORM_L1, 4 * epsilon, path), 0, sources);
      ASSERT_OK(l2);
      ASSERT_OK(l1);
      for (size_t row = 0; row < sources.size(); ++row) {
        ASSERT_LE(l2->records[row].nearest().l2(), epsilon);
        ASSERT_LE(l1->records[row].nearest().l1(), 4 * epsilon);
        at_the_edge += l2->records[row].nearest().l2() > epsilon - 1e-6;
      }
    }
  }
  EXPECT_GT(at_the_edge, 20);
}

TEST_F(RunInvarianceTest, AnySplitOfTheSourcesGivesTheSame) {
  const std::vector<uint64_t> sources = {8, 3, 0, 5, 3, 1};
  for (const v1::InvarianceJob& job : EveryJob()) {
    SCOPED_TRACE(job.ShortDebugString());
    const auto whole = Make(job, 0, sources);
    ASSERT_OK(whole);
    for (const size_t shard : {1, 2, 5}) {
      MadeExamples joined;
      for (size_t begin = 0; begin < sources.size(); begin += shard) {
        const size_t end = std::min(sources.size(), begin + shard);
        const auto part =
            Make(job, begin,
                 {sources.begin() + static_cast<ptrdiff_t>(begin), sources.begin() + static_cast<ptrdiff_t>(end)});
        ASSERT_OK(part);
        joined.records.insert(joined.records.end(), part->records.begin(), part->records.end());
        joined.examples.insert(joined.examples.end(), part->examples.begin(), part->examples.end());
      }
      EXPECT_EQ(joined.examples, whole->examples);
      ASSERT_EQ(joined.records.size(), whole->records.size());
      for (size_t i = 0; i < joined.records.size(); ++i) {
        EXPECT_EQ(joined.records[i].SerializeAsString(), whole->records[i].SerializeAsString());
      }
    }
  }
}

TEST_F(RunInvarianceTest, TheExamplesAreThoseOfTheAttacks) {
  const std::vector<uint64_t> sources = {4, 6};
  const std::vector<RotationAndShift> grid =
      MoveGrid({.max_shift = 1, .shifts = 3, .max_rotation = 20, .rotations = 3});
  v1::InvarianceJob targeted = LinfJob(0.3, v1::INVARIANCE_FORM_PUBLISHED);
  TargetTable table(3);
  for (uint32_t label = 0; label < 3; ++label) {
    v1::TargetRow& row = *targeted.add_targets();
    row.set_label(label);
    row.add_targets((label + 1) % 3);
    table[label] = {static_cast<uint8_t>((label + 1) % 3)};
  }
  const auto published = Make(targeted, 0, sources);
  const auto interpolated = Make(InterpolateJob(v1::NORM_L2, 0.9, v1::INTERPOLATION_PATH_TRANSFORMED), 0, sources);
  const auto l0 = Make(L0Job(), 0, sources);
  ASSERT_OK(published);
  ASSERT_OK(interpolated);
  ASSERT_OK(l0);
  for (size_t row = 0; row < 2; ++row) {
    const uint64_t i = sources[row];
    const auto linf_example = LinfAttack(without_bits_.search, data_, i, i + 1, grid,
                                         {.epsilon = 0.3, .targets = table, .published_form = true});
    ASSERT_OK(linf_example);
    EXPECT_EQ(published->records[row].target(), (data_.labels[i] + 1) % 3);
    for (size_t e = 0; e < kElements; ++e) {
      ASSERT_EQ(published->examples[row * kElements + e], linf_example->front().pixels[e] / 255.0f);
    }
    const auto interpolated_example =
        InterpolateAttack(without_bits_.search, data_, i, i + 1, grid,
                          {.norm = v1::NORM_L2, .epsilon = 0.9, .transformed = true, .targets = {}});
    ASSERT_OK(interpolated_example);
    EXPECT_EQ(interpolated->records[row].target(), interpolated_example->front().neighbour.label);
    EXPECT_TRUE(
        std::ranges::equal(ImageAt(interpolated->examples, row, kElements), interpolated_example->front().pixels));
    const auto l0_example = L0Attack(*with_bits_.bits, data_, i, i + 1, {.transforms = 40, .most_groups = 4},
                                     NearestNeighbourScore(with_bits_.search), RandomStream(1, "job", "invariance"));
    ASSERT_OK(l0_example);
    EXPECT_TRUE(std::ranges::equal(ImageAt(l0->examples, row, kElements), l0_example->front().pixels));
    EXPECT_EQ(l0->records[row].nearest().l0(), l0_example->front().changed);
  }
}

TEST_F(RunInvarianceTest, L0DrawsOtherTransformsForAnotherSeedOrJob) {
  const std::vector<uint64_t> sources = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  v1::InvarianceJob other_seed = L0Job();
  other_seed.set_seed(2);
  const auto first = Make(L0Job(), 0, sources);
  const auto by_seed = Make(other_seed, 0, sources);
  const auto by_job = Make(L0Job(), 0, sources, "another");
  ASSERT_OK(first);
  ASSERT_OK(by_seed);
  ASSERT_OK(by_job);
  EXPECT_NE(first->examples, by_seed->examples);
  EXPECT_NE(first->examples, by_job->examples);
}

TEST_F(RunInvarianceTest, WithNothingToMoveTowardsTheExampleIsTheSource) {
  auto one_class = std::make_shared<Dataset>(*training_);
  std::fill(one_class->labels.begin(), one_class->labels.end(), uint8_t{1});
  data_.labels = {1, 0, 1, 0, 1, 0, 1, 0, 1};
  const auto candidates = PrepareCandidates(one_class, {.as_bits = true});
  ASSERT_OK(candidates);
  std::vector<v1::InvarianceJob> jobs = EveryJob();
  v1::InvarianceJob forbidden = LinfJob(0.3);  // from 0 only to 2, which the candidates lack
  forbidden.add_targets()->set_label(0);
  forbidden.mutable_targets(0)->add_targets(2);
  jobs.push_back(forbidden);
  for (const v1::InvarianceJob& job : jobs) {
    SCOPED_TRACE(job.ShortDebugString());
    const std::vector<uint64_t> sources = {0, 1};
    const auto outcome = RunInvariance(job, "job", {.begin = 0, .indices = sources, .data = data_}, *candidates, GoOn);
    ASSERT_OK(outcome);
    const v1::ExampleRecord& stays = outcome->records[0];
    EXPECT_EQ(stays.target(), -1);
    EXPECT_EQ(stays.nearest().linf(), 0);
    EXPECT_EQ(stays.nearest().l0(), 0);
    const std::vector<float> source = InputValues(SourceOf(stays));
    EXPECT_TRUE(std::ranges::equal(ImageAt(outcome->examples, 0, kElements), source));
    // The published form of l0 may find nothing but noise, which it leaves.
    if (job.set().l0().form() == v1::INVARIANCE_FORM_PUBLISHED) continue;
    EXPECT_EQ(outcome->records[1].target(), job.targets().empty() ? 1 : -1);
  }
}

TEST_F(RunInvarianceTest, NoSourcesGiveNoExamples) {
  for (const v1::InvarianceJob& job : EveryJob()) {
    const auto outcome = Make(job, 3, {});
    ASSERT_OK(outcome);
    EXPECT_TRUE(outcome->records.empty());
    EXPECT_TRUE(outcome->examples.empty());
  }
}

TEST_F(RunInvarianceTest, ProgressGrowsToOneAndCanStopIt) {
  const std::vector<uint64_t> sources = {0, 1, 2};
  for (const v1::InvarianceJob& job : EveryJob()) {
    SCOPED_TRACE(job.ShortDebugString());
    double last = 0;
    uint64_t done = 0;
    int calls = 0;
    const auto run = [&](int most) {
      last = 0, done = 0, calls = 0;
      return RunInvariance(job, "job", {.begin = 5, .indices = sources, .data = data_}, CandidatesFor(job),
                           [&](const InvarianceProgress& progress) {
                             EXPECT_GE(progress.fraction, last);
                             EXPECT_GE(progress.examples_done, done);
                             last = progress.fraction;
                             done = progress.examples_done;
                             return ++calls < most;
                           });
    };
    ASSERT_OK(run(1000));
    EXPECT_EQ(last, 1);
    EXPECT_EQ(done, 3u);
    EXPECT_EQ(calls, job.set().has_l0() ? 43 : 3);
    EXPECT_THAT(run(2), StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped")));
    EXPECT_EQ(calls, 2);
  }
}

TEST_F(RunInvarianceTest, WhatCannotBeMadeIsRefused) {
  const auto refused = [&](const v1::InvarianceJob& job, const std::vector<uint64_t>& sources, const char* message) {
    EXPECT_THAT(Make(job, 5, sources).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  v1::InvarianceJob job;
  refused(job, {0}, "methods linf, l0 and interpolate");
  job.mutable_set()->mutable_file()->set_path("set.npy");
  refused(job, {0}, "methods linf, l0 and interpolate");
  refused(LinfJob(0.3), {0, 9}, "data of 9; at position 6: 9");
  refused(LinfJob(0), {3}, "example 3: the radius");
  refused(InterpolateJob(v1::NORM_L0, 3), {3}, "linf, l2 or l1");
  job = LinfJob(0.3);
  job.mutable_set()->mutable_linf()->set_shifts(0);
  refused(job, {0}, "at least one of each");
  job.mutable_set()->mutable_linf()->set_shifts(1000);
  job.mutable_set()->mutable_linf()->set_rotations(10000);
  refused(job, {0}, "give fewer shifts or rotations, for at most 2684354 transforms");
  job = LinfJob(0.3);
  job.mutable_set()->mutable_linf()->set_max_rotation(std::nan(""));
  refused(job, {0}, "sizes from 0 to a million");
  job = L0Job();
  job.mutable_set()->mutable_l0()->set_groups(17);
  refused(job, {0}, "give 1 to 16");
  job.mutable_set()->mutable_l0()->set_groups(1u << 31);
  refused(job, {0}, "give 1 to 16");
  EXPECT_THAT(RunInvariance(L0Job(), "job", {.begin = 0, .indices = {}, .data = data_}, without_bits_, GoOn).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("prepare them as bits")));
  data_ = RandomImages(9, 1, 20, 5, 3, 1, 1);
  refused(LinfJob(0.3), {0}, "1×20×5 and the candidates of 1×10×10");
}

TEST_F(RunInvarianceTest, ATableOfTargetsThatFitsNoClassIsRefused) {
  const auto refused = [&](const std::vector<std::pair<uint32_t, std::vector<uint32_t>>>& rows, const char* message) {
    v1::InvarianceJob job = LinfJob(0.3);
    for (const auto& [label, targets] : rows) {
      v1::TargetRow& row = *job.add_targets();
      row.set_label(label);
      row.mutable_targets()->Add(targets.begin(), targets.end());
    }
    EXPECT_THAT(Make(job, 0, {0}).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused({{3, {0}}}, "classes below 3, not 3");
  refused({{0, {256 + 1}}}, "row 0: the class 257 does not exist");
  refused({{0, {0}}}, "is the source's own");
  refused({{0, {1}}, {0, {2}}}, "two rows for a class; give one: 0");
  refused({{4'000'000'000, {0}}}, "not 4000000000");
}

}  // namespace
}  // namespace tightrope
