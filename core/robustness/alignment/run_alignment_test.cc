#include "core/robustness/alignment/run_alignment.h"

#include <algorithm>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;

bool GoOn(const MisalignmentProgress&) { return true; }

v1::Shard Range(uint64_t begin, uint64_t end) {
  v1::Shard range;
  range.set_begin(begin);
  range.set_end(end);
  return range;
}

// Few grey levels, so that distances tie. Class 3 has one example, class 4 none.
Dataset Images() {
  std::mt19937 random(1);
  Dataset data;
  data.count = 60;
  data.channels = data.height = 1;
  data.width = 5;
  data.classes = 5;
  for (uint64_t i = 0; i < data.count; ++i) {
    data.labels.push_back(static_cast<uint8_t>(random() % 3));
    for (uint32_t k = 0; k < data.width; ++k) data.pixels.push_back(static_cast<uint8_t>(random() % 4 * 85));
  }
  data.labels[20] = 3;
  return data;
}

v1::AlignmentJob JobOf(v1::Norm norm, uint32_t threshold = 0) {
  v1::AlignmentJob job;
  job.set_norm(norm);
  job.set_threshold(threshold);
  job.set_most_misaligned(7);
  return job;
}

v1::AlignmentResult Measured(const v1::AlignmentJob& job, const v1::Shard& range) {
  auto result = RunAlignment(job, range, Images(), GoOn);
  EXPECT_OK(result);
  return *std::move(result);
}

bool Before(const v1::MisalignedTriple& a, const v1::MisalignedTriple& b) {
  const auto key = [](const v1::MisalignedTriple& t) {
    return std::tuple(-t.gap(), -int64_t{t.distance_same()}, t.distance_other(), t.anchor(), t.same(), t.other());
  };
  return key(a) < key(b);
}

TEST(RunAlignmentTest, SaysWhatWasMeasured) {
  const Dataset data = Images();
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1, v1::NORM_L0}) {
    const uint8_t threshold = norm == v1::NORM_L0 ? 100 : 0;
    const auto measured = MeasureMisalignment(
        data, {.distance = {.norm = norm, .threshold = threshold}, .most_misaligned = 7}, Range(10, 40), GoOn);
    ASSERT_OK(measured);
    const v1::AlignmentResult result = Measured(JobOf(norm, threshold), Range(10, 40));
    ASSERT_EQ(result.anchors_size(), 30);
    for (int i = 0; i < 30; ++i) {
      const v1::AnchorAlignment& anchor = result.anchors(i);
      const AnchorRecord& wanted = measured->anchors[static_cast<size_t>(i)];
      EXPECT_EQ(anchor.index(), static_cast<uint32_t>(10 + i));
      EXPECT_EQ(anchor.label(), data.labels[static_cast<size_t>(10 + i)]);
      EXPECT_EQ((TripleCounts{anchor.triples(), anchor.greater(), anchor.equal()}), wanted.triples);
      EXPECT_EQ((Neighbour{anchor.nearest_same(), anchor.distance_same()}), wanted.nearest_same);
      EXPECT_EQ((Neighbour{anchor.nearest_other(), anchor.distance_other()}), wanted.nearest_other);
      ASSERT_EQ(anchor.nearest_by_class_size(), 5);
      for (int c = 0; c < 5; ++c) {
        EXPECT_EQ(anchor.nearest_by_class(c), measured->nearest_by_class[static_cast<size_t>(5 * i + c)]);
      }
    }
    ASSERT_EQ(result.pairs_size(), 25);
    for (uint32_t i = 0; i < 25; ++i) {
      const v1::PairAlignment& pair = result.pairs(static_cast<int>(i));
      EXPECT_EQ(pair.from(), i / 5);
      EXPECT_EQ(pair.to(), i % 5);
      EXPECT_EQ((TripleCounts{pair.triples(), pair.greater(), pair.equal()}), measured->counts.by_pair[i]);
    }
    ASSERT_EQ(result.most_misaligned_size(), 7);
    for (int i = 0; i < 7; ++i) {
      const v1::MisalignedTriple& triple = result.most_misaligned(i);
      EXPECT_EQ((MisalignedTriple{triple.anchor(), triple.same(), triple.other(), triple.distance_same(),
                                  triple.distance_other(), triple.gap()}),
                measured->most_misaligned[static_cast<size_t>(i)]);
    }
  }
}

TEST(RunAlignmentTest, AnExampleAloneInItsClassHasADistanceThatIsNone) {
  const v1::AnchorAlignment anchor = Measured(JobOf(v1::NORM_L1), Range(20, 21)).anchors(0);
  EXPECT_EQ(anchor.label(), 3u);
  EXPECT_EQ(anchor.triples(), 0u);
  EXPECT_EQ(anchor.distance_same(), 4'294'967'295u);
  EXPECT_LT(anchor.distance_other(), 5u * 255);
  EXPECT_EQ(anchor.nearest_by_class(4), 4'294'967'295u);
}

// What a coordinator does with the shards of a job.
TEST(RunAlignmentTest, ShardsOfAnySizeAddUpToTheWhole) {
  const v1::AlignmentJob job = JobOf(v1::NORM_LINF);
  const v1::AlignmentResult whole = Measured(job, Range(0, 60));
  for (const uint64_t shard : {1, 7, 59}) {
    v1::AlignmentResult joined;
    for (uint64_t begin = 0; begin < 60; begin += shard) {
      const v1::AlignmentResult part = Measured(job, Range(begin, std::min<uint64_t>(60, begin + shard)));
      if (begin == 0) {
        joined = part;
        continue;
      }
      joined.mutable_anchors()->Add(part.anchors().begin(), part.anchors().end());
      for (int i = 0; i < part.pairs_size(); ++i) {
        v1::PairAlignment& pair = *joined.mutable_pairs(i);
        pair.set_triples(pair.triples() + part.pairs(i).triples());
        pair.set_greater(pair.greater() + part.pairs(i).greater());
        pair.set_equal(pair.equal() + part.pairs(i).equal());
      }
      joined.mutable_most_misaligned()->Add(part.most_misaligned().begin(), part.most_misaligned().end());
    }
    std::sort(joined.mutable_most_misaligned()->begin(), joined.mutable_most_misaligned()->end(), Before);
    joined.mutable_most_misaligned()->DeleteSubrange(7, joined.most_misaligned_size() - 7);
    EXPECT_EQ(joined.SerializeAsString(), whole.SerializeAsString()) << "shards of " << shard;
  }
}

TEST(RunAlignmentTest, ACallerThatSaysStopGetsCancelled) {
  EXPECT_THAT(RunAlignment(JobOf(v1::NORM_L2), Range(0, 60), Images(), [](const auto&) { return false; }),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped")));
}

TEST(RunAlignmentTest, WhatCannotBeMeasuredIsRefused) {
  const auto refused = [](const v1::AlignmentJob& job, const v1::Shard& range, const std::string& message) {
    EXPECT_THAT(RunAlignment(job, range, Images(), GoOn),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused(JobOf(v1::NORM_L0, 255), Range(0, 1), "give at most 254, not 255");
  refused(JobOf(v1::NORM_L0, 256), Range(0, 1), "give at most 254, not 256");
  refused(JobOf(v1::NORM_L2), Range(0, 61), "[0, 61) of 60");
  refused(JobOf(v1::NORM_SPATIAL), Range(0, 1), "give linf, l2, l1 or l0");
}

}  // namespace
}  // namespace tightrope
