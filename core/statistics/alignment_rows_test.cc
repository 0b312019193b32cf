#include "core/statistics/alignment_rows.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/plan/plan.h"
#include "core/robustness/alignment/alignment_test_support.h"
#include "core/robustness/alignment/run_alignment.h"
#include "core/statistics/proportion.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

v1::AlignmentJob JobOf(const Dataset& data, v1::Norm norm, uint32_t most_misaligned) {
  v1::AlignmentJob job;
  job.mutable_data()->set_count(data.count);
  job.mutable_data()->set_classes(data.classes);
  job.mutable_anchors()->set_count(data.count);
  job.set_norm(norm);
  job.set_most_misaligned(most_misaligned);
  return job;
}

// In shards of that many anchors.
std::vector<v1::AlignmentResult> Measured(const v1::AlignmentJob& job, const Dataset& data, uint64_t shard_size) {
  std::vector<v1::AlignmentResult> shards;
  for (uint64_t begin = 0; begin < data.count; begin += shard_size) {
    v1::Shard range;
    range.set_begin(begin);
    range.set_end(std::min(begin + shard_size, data.count));
    auto shard = RunAlignment(job, range, data, [](const MisalignmentProgress&) { return true; });
    EXPECT_OK(shard);
    if (shard.ok()) shards.push_back(*std::move(shard));
  }
  return shards;
}

// Points 0, 10, 30 of class 0 and 20, 200 of class 1, on a line.
//
//   anchor  same class  other class   triples ≥, >, =
//        0      10 30       20 200    30≥20                       1 of 4
//       10      10 20       10 190    10=10 20>10                 2 of 4, one equal
//       30      30 20       10 170    30>10 20>10                 2 of 4
//       20      180         20 10 10  180 > all                   3 of 3
//      200      180         200 190 170   180>170                 1 of 3
class LineTest : public ::testing::Test {
 protected:
  const Dataset data_ = MakeDataset({{0}, {10}, {30}, {20}, {200}}, {0, 0, 0, 1, 1}, 3);
  const v1::AlignmentJob job_ = JobOf(data_, v1::NORM_LINF, 2);
  const std::vector<v1::AlignmentResult> shards_ = Measured(job_, data_, 2);
};

TEST_F(LineTest, RowsHaveTheSharesOfTriplesAndOfAnchors) {
  v1::MetricRow head;
  head.set_attack("line");
  std::vector<std::string> texts;
  for (const v1::MetricRow& row : AlignmentRows(job_, {10. / 255, .1}, shards_, head)) {
    EXPECT_EQ(row.attack(), "line");
    const bool counted = row.interval() == "clopper-pearson 95%";
    std::string& text = texts.emplace_back(row.metric());
    if (row.has_epsilon()) absl::StrAppend(&text, " ", row.epsilon() == .1 ? "25.5" : "10");
    const double scale = row.interval() == "all anchors" ? 255 : static_cast<double>(row.n());
    absl::StrAppend(&text, " ", std::lround(row.value() * scale), "/", row.n(), counted ? "" : ", ",
                    counted ? "" : row.interval());
    if (counted) {
      const auto successes = static_cast<uint64_t>(std::lround(row.value() * scale));
      EXPECT_EQ(row.lower(), ClopperPearson(successes, row.n(), .95).lower) << text;
      EXPECT_EQ(row.upper(), ClopperPearson(successes, row.n(), .95).upper) << text;
    } else {
      EXPECT_EQ(row.lower(), row.value()) << text;
      EXPECT_EQ(row.upper(), row.value()) << text;
    }
  }
  EXPECT_THAT(
      texts,
      ElementsAre("misaligned_share 9/18, all triples", "strictly_misaligned_share 8/18, all triples",
                  "tied_share 1/18, all triples", "misaligned_anchors 5/5", "strictly_misaligned_anchors 5/5",
                  "nearest_neighbour_error 3/5", "nearest_neighbour_ties 1/5", "within_radius 10 3/5",
                  "within_radius 25.5 4/5", "distance_to_other_class_min 10/5, all anchors",
                  "distance_to_other_class_q01 10/5, all anchors", "distance_to_other_class_q10 10/5, all anchors",
                  "distance_to_other_class_median 10/5, all anchors"));
}

TEST_F(LineTest, MostMisalignedTriplesOfAllShardsStandInOneOrder_InInputUnits) {
  const std::vector<v1::ExportedTriple> triples = MostMisaligned(job_, shards_);
  std::vector<std::string> texts;
  for (const v1::ExportedTriple& one : triples) {
    const v1::MisalignedTriple& triple = one.triple();
    texts.push_back(absl::StrCat(triple.anchor(), " ", triple.same(), " ", triple.other()));
    EXPECT_EQ(one.distance_same(), triple.distance_same() / 255.);
    EXPECT_EQ(one.distance_other(), triple.distance_other() / 255.);
  }
  EXPECT_THAT(texts, ElementsAre("3 4 1", "2 0 3"));
}

TEST_F(LineTest, PairsHaveTheirTriplesAndTheDistancesBetweenClasses) {
  const std::vector<v1::ExportedPair> pairs = PairsOf(job_, shards_);
  ASSERT_THAT(pairs, SizeIs(9));
  std::vector<std::string> texts;
  for (const v1::ExportedPair& one : pairs) {
    const v1::PairAlignment& pair = one.pair();
    if (pair.from() == 2 || pair.to() == 2) {
      EXPECT_EQ(one.anchors(), 0u) << "a class without examples";
      EXPECT_EQ(one.maximum(), 0);
      continue;
    }
    texts.push_back(absl::StrCat(pair.from(), "-", pair.to(), " ", pair.greater(), "+", pair.equal(), "/",
                                 pair.triples(), " ", one.anchors(), ": ", std::lround(255 * one.minimum()), " ",
                                 std::lround(255 * one.median()), " ", std::lround(255 * one.maximum())));
  }
  EXPECT_THAT(texts, ElementsAre("0-0 0+0/0 3: 10 10 20", "0-1 4+1/12 3: 10 10 20", "1-0 4+0/6 2: 10 10 170",
                                 "1-1 0+0/0 2: 180 180 180"));
}

TEST_F(LineTest, AnchorsHaveTheirDistancesInInputUnits_AndNoneWhereThereIsNoSuchExample) {
  const v1::ExportedAnchor exported = ToExported(job_, shards_[0].anchors(1));
  EXPECT_EQ(exported.anchor().index(), 1u);
  EXPECT_EQ(exported.distance_same(), 10. / 255);
  EXPECT_EQ(exported.distance_other(), 10. / 255);
  v1::AnchorAlignment alone = shards_[0].anchors(1);
  alone.set_distance_same(kNoDistance);
  EXPECT_FALSE(ToExported(job_, alone).has_distance_same());
  EXPECT_TRUE(ToExported(job_, alone).has_distance_other());
}

TEST(AlignmentRowsTest, AnyDivisionIntoShardsGivesTheSameFigures) {
  std::mt19937 random(7);
  std::vector<std::vector<uint8_t>> images(61);
  std::vector<uint8_t> labels;
  for (std::vector<uint8_t>& image : images) {
    labels.push_back(static_cast<uint8_t>(random() % 4));
    for (int k = 0; k < 9; ++k) image.push_back(static_cast<uint8_t>(random() % 3 * 60 + labels.back() * 5));
  }
  const Dataset data = MakeDataset(images, labels, 4);
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2, v1::NORM_L1, v1::NORM_L0}) {
    const v1::AlignmentJob job = JobOf(data, norm, 5);
    const auto figures = [&](uint64_t shard_size) {
      const std::vector<v1::AlignmentResult> shards = Measured(job, data, shard_size);
      std::string bytes;
      for (const auto& row : AlignmentRows(job, {.1, 1}, shards, {})) bytes += row.SerializeAsString();
      for (const auto& pair : PairsOf(job, shards)) bytes += pair.SerializeAsString();
      for (const auto& triple : MostMisaligned(job, shards)) bytes += triple.SerializeAsString();
      return bytes;
    };
    const std::string whole = figures(61);
    EXPECT_FALSE(whole.empty());
    for (const uint64_t shard_size : {1, 7, 60}) EXPECT_EQ(figures(shard_size), whole) << NormName(norm);
  }
}

TEST(AlignmentRowsTest, NothingMeasuredGivesNoRows) {
  EXPECT_THAT(AlignmentRows({}, {.1}, {}, {}), ::testing::IsEmpty());
}

}  // namespace
}  // namespace tightrope
