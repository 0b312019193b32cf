#include "core/robustness/alignment/misalignment.h"

#include <algorithm>
#include <cstdlib>
#include <random>
#include <string>
#include <tuple>

#include "core/robustness/alignment/alignment_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/shared_data.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

bool GoOn(const MisalignmentProgress&) { return true; }

v1::Shard Range(uint64_t begin, uint64_t end) {
  v1::Shard range;
  range.set_begin(begin);
  range.set_end(end);
  return range;
}

// Few values and few pixels, so that distances tie and images repeat; the last class but one has a single example, the
// last none.
Dataset TyingImages(uint64_t count, uint32_t pixels, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<uint8_t>> images;
  std::vector<uint8_t> labels;
  for (uint64_t i = 0; i < count; ++i) {
    images.emplace_back();
    labels.push_back(static_cast<uint8_t>(random() % 4));
    for (uint32_t k = 0; k < pixels; ++k) {
      const uint32_t kind = random() % 8;
      images.back().push_back(static_cast<uint8_t>(kind < 5 ? 0 : kind < 7 ? 10 * labels.back() : random() % 4 * 85));
    }
  }
  labels[count / 2] = 4;
  return MakeDataset(images, labels, 6);
}

uint32_t Distance(const Dataset& data, const PixelDistance& distance, uint64_t a, uint64_t b) {
  const size_t pixels = data.pixels.size() / data.count;
  uint32_t result = 0;
  for (size_t k = 0; k < pixels; ++k) {
    const auto difference = static_cast<uint32_t>(std::abs(data.pixels[a * pixels + k] - data.pixels[b * pixels + k]));
    if (distance.norm == v1::NORM_LINF) result = std::max(result, difference);
    if (distance.norm == v1::NORM_L2) result += difference * difference;
    if (distance.norm == v1::NORM_L1) result += difference;
    if (distance.norm == v1::NORM_L0) result += difference > distance.threshold;
  }
  return result;
}

// The definitions, loop by loop.
Misalignment BruteForce(const Dataset& data, const MisalignmentSpec& spec) {
  Misalignment result{.spec = spec, .classes = data.classes, .begin = 0, .end = data.count};
  MisalignmentCounts& counts = result.counts;
  counts.by_pair.resize(data.classes * data.classes);
  std::vector<MisalignedTriple>& list = result.most_misaligned;
  std::vector<uint32_t> d(data.count);
  for (uint32_t x = 0; x < data.count; ++x) {
    AnchorRecord record{.index = x, .label = data.labels[x]};
    std::vector<uint32_t> nearest(data.classes, kNoDistance);
    std::vector<MisalignedTriple> of_anchor;
    for (uint32_t i = 0; i < data.count; ++i) d[i] = Distance(data, spec.distance, x, i);
    for (uint32_t i = 0; i < data.count; ++i) {
      if (i == x) continue;
      Neighbour& neighbour = data.labels[i] == data.labels[x] ? record.nearest_same : record.nearest_other;
      if (d[i] < neighbour.distance) neighbour = {.index = i, .distance = d[i]};
      nearest[data.labels[i]] = std::min(nearest[data.labels[i]], d[i]);
    }
    for (uint32_t x1 = 0; x1 < data.count; ++x1) {
      if (x1 == x || data.labels[x1] != data.labels[x]) continue;
      for (uint32_t x2 = 0; x2 < data.count; ++x2) {
        if (data.labels[x2] == data.labels[x]) continue;
        TripleCounts& pair = counts.by_pair[data.labels[x] * data.classes + data.labels[x2]];
        ++pair.triples, ++record.triples.triples;
        if (d[x1] > d[x2]) ++pair.greater, ++record.triples.greater;
        if (d[x1] == d[x2]) ++pair.equal, ++record.triples.equal;
        if (spec.most_misaligned > 0 && d[x1] >= d[x2]) {
          of_anchor.push_back(
              {x, x1, x2, d[x1], d[x2],
               DistanceOfModelInputs(spec.distance.norm, d[x1]) - DistanceOfModelInputs(spec.distance.norm, d[x2])});
        }
      }
    }
    const auto sort_and_keep = [](std::vector<MisalignedTriple>& triples, size_t most) {
      std::sort(triples.begin(), triples.end(), [](const MisalignedTriple& a, const MisalignedTriple& b) {
        if (a.gap != b.gap) return a.gap > b.gap;
        if (a.distance_same != b.distance_same) return a.distance_same > b.distance_same;
        if (a.distance_other != b.distance_other) return a.distance_other < b.distance_other;
        return std::tie(a.anchor, a.same, a.other) < std::tie(b.anchor, b.same, b.other);
      });
      triples.resize(std::min(triples.size(), most));
    };
    sort_and_keep(of_anchor, spec.most_misaligned_per_anchor);
    list.insert(list.end(), of_anchor.begin(), of_anchor.end());
    sort_and_keep(list, spec.most_misaligned);

    ++counts.anchors;
    counts.with_triples += record.triples.triples > 0;
    counts.misaligned += record.triples.greater + record.triples.equal > 0;
    counts.strictly_misaligned += record.triples.greater > 0;
    uint32_t least = kNoDistance;
    for (const uint32_t distance : nearest) least = std::min(least, distance);
    if (least != kNoDistance) {
      ++counts.with_neighbour;
      bool same = false, other = false, first_is_other = false;
      for (uint32_t i = 0; i < data.count; ++i) {
        if (i == x || d[i] != least) continue;
        if (!same && !other) first_is_other = data.labels[i] != data.labels[x];
        (data.labels[i] == data.labels[x] ? same : other) = true;
      }
      counts.nearest_of_another_class += first_is_other;
      counts.nearest_ties_across_classes += same && other;
    }
    result.anchors.push_back(record);
    result.nearest_by_class.insert(result.nearest_by_class.end(), nearest.begin(), nearest.end());
  }
  return result;
}

std::vector<PixelDistance> AllDistances() {
  return {{v1::NORM_LINF}, {v1::NORM_L2}, {v1::NORM_L1}, {v1::NORM_L0}, {v1::NORM_L0, 20}, {v1::NORM_L0, 254}};
}

Misalignment Measure(const Dataset& data, const MisalignmentSpec& spec, uint64_t begin, uint64_t end,
                     const MisalignmentExecution& execution = {}) {
  auto result = MeasureMisalignment(data, spec, Range(begin, end), GoOn, execution);
  EXPECT_OK(result);
  return *std::move(result);
}

TEST(MisalignmentTest, EqualsTheLoopOverAllTriples_OnEveryInstructionSet) {
  for (const uint32_t pixels : {3u, 30u}) {
    const Dataset data = TyingImages(500, pixels, pixels);
    for (const PixelDistance& distance : AllDistances()) {
      SCOPED_TRACE(v1::Norm_Name(distance.norm) + " " + std::to_string(distance.threshold));
      const Misalignment wanted = BruteForce(data, {.distance = distance});
      EXPECT_GT(wanted.counts.Total().equal, 0u);
      for (const InstructionSet instructions : UsableInstructionSets()) {
        EXPECT_EQ(Measure(data, {.distance = distance}, 0, data.count, {.instructions = instructions}), wanted);
      }
    }
  }
}

TEST(MisalignmentTest, NoiseOfAllGreyLevelsEqualsTheLoopToo) {
  std::mt19937 random(3);
  std::vector<std::vector<uint8_t>> images(120, std::vector<uint8_t>(784));
  std::vector<uint8_t> labels;
  for (auto& image : images) {
    for (uint8_t& pixel : image) pixel = static_cast<uint8_t>(random());
    labels.push_back(static_cast<uint8_t>(random() % 3));
  }
  const Dataset data = MakeDataset(images, labels, 3);
  for (const PixelDistance& distance : AllDistances()) {
    const MisalignmentSpec spec = {.distance = distance, .most_misaligned = 10, .most_misaligned_per_anchor = 3};
    EXPECT_EQ(Measure(data, spec, 0, data.count), BruteForce(data, spec));
  }
}

TEST(MisalignmentTest, TheMostMisalignedAreThoseOfTheSortedListOfAll) {
  const Dataset data = TyingImages(60, 4, 5);
  for (const PixelDistance& distance : AllDistances()) {
    for (const uint32_t most : {1u, 7u, 100u, 1'000'000u}) {
      for (const uint32_t per_anchor : {0u, 1u, 2u, 5u, 1'000'000u}) {
        const MisalignmentSpec spec = {
            .distance = distance, .most_misaligned = most, .most_misaligned_per_anchor = per_anchor};
        if (most * uint64_t{per_anchor} > 1'000'000) continue;
        ASSERT_EQ(Measure(data, spec, 0, data.count).most_misaligned, BruteForce(data, spec).most_misaligned)
            << v1::Norm_Name(distance.norm) << " " << most << " of which of an anchor " << per_anchor;
      }
    }
  }
}

TEST(MisalignmentTest, BlocksOfAnySizeMergeToTheSame) {
  const Dataset data = TyingImages(101, 6, 7);
  const MisalignmentSpec spec = {
      .distance = {.norm = v1::NORM_L1}, .most_misaligned = 20, .most_misaligned_per_anchor = 2};
  const Misalignment whole = Measure(data, spec, 0, data.count);
  for (const uint64_t shard : {1, 2, 7, 32, 33, 100, 101}) {
    for (const uint32_t block : {1u, 3u, 32u, 1000u}) {
      Misalignment merged = Measure(data, spec, 0, 0, {.anchors_per_block = block});
      EXPECT_EQ(merged.counts.anchors, 0u);
      for (uint64_t begin = 0; begin < data.count; begin += shard) {
        const uint64_t end = std::min(data.count, begin + shard);
        ASSERT_OK(Merge(merged, Measure(data, spec, begin, end, {.anchors_per_block = block})));
      }
      EXPECT_EQ(merged, whole) << "shards of " << shard << ", blocks of " << block;
    }
  }
}

TEST(MisalignmentTest, MergingIsAssociative) {
  const Dataset data = TyingImages(90, 5, 8);
  const MisalignmentSpec spec = {.distance = {.norm = v1::NORM_LINF}, .most_misaligned = 9};
  const Misalignment a = Measure(data, spec, 0, 20), b = Measure(data, spec, 20, 50), c = Measure(data, spec, 50, 90);
  Misalignment left = a, right = b, right_whole = a;
  ASSERT_OK(Merge(left, b));
  ASSERT_OK(Merge(left, c));
  ASSERT_OK(Merge(right, c));
  ASSERT_OK(Merge(right_whole, right));
  EXPECT_EQ(left, right_whole);
  EXPECT_EQ(left, Measure(data, spec, 0, 90));
}

TEST(MisalignmentTest, WhatDoesNotBelongTogetherIsNotMerged) {
  const Dataset data = TyingImages(30, 5, 8);
  const MisalignmentSpec spec = {.distance = {.norm = v1::NORM_LINF}};
  const Misalignment first = Measure(data, spec, 0, 10);
  Misalignment into = first;
  EXPECT_THAT(Merge(into, Measure(data, spec, 11, 30)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one begins at 11, the one before ends at 10")));
  EXPECT_THAT(Merge(into, first), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must follow one another")));
  EXPECT_THAT(Merge(into, Measure(data, {.distance = {.norm = v1::NORM_L1}}, 10, 30)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("different distances")));
  Dataset more_classes = data;
  more_classes.classes = 7;
  EXPECT_THAT(Merge(into, Measure(more_classes, spec, 10, 30)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("classes")));
  EXPECT_EQ(into, first);
}

TEST(MisalignmentTest, AnExampleAloneInItsClassHasNoTriplesButIsANeighbour) {
  const Dataset data = MakeDataset({{10}, {20}, {12}}, {0, 0, 1}, 2);
  const Misalignment result = Measure(data, {.distance = {.norm = v1::NORM_L1}}, 0, 3);
  EXPECT_EQ(result.counts.anchors, 3u);
  EXPECT_EQ(result.counts.with_triples, 2u);
  EXPECT_EQ(result.anchors[2].triples, TripleCounts{});
  EXPECT_FALSE(result.anchors[2].nearest_same.exists());
  EXPECT_EQ(result.anchors[2].nearest_other, (Neighbour{.index = 0, .distance = 2}));
  EXPECT_TRUE(result.anchors[2].NearestIsOfAnotherClass());
  EXPECT_EQ(result.counts.Total(), (TripleCounts{.triples = 2, .greater = 2, .equal = 0}));
  EXPECT_THAT(result.nearest_by_class, ElementsAre(10, 2, 10, 8, 2, kNoDistance));
}

TEST(MisalignmentTest, ASingleClassHasNoTriplesAndNoWrongNeighbour) {
  const Dataset data = MakeDataset({{1}, {1}, {5}}, {0, 0, 0}, 1);
  const Misalignment result = Measure(data, {.distance = {.norm = v1::NORM_L2}, .most_misaligned = 3}, 0, 3);
  EXPECT_EQ(result.counts.Total(), TripleCounts{});
  EXPECT_EQ(result.counts.with_triples, 0u);
  EXPECT_EQ(result.counts.with_neighbour, 3u);
  EXPECT_EQ(result.counts.nearest_of_another_class, 0u);
  EXPECT_EQ(result.counts.nearest_ties_across_classes, 0u);
  EXPECT_FALSE(result.anchors[0].nearest_other.exists());
  EXPECT_EQ(result.anchors[0].nearest_same, (Neighbour{.index = 1, .distance = 0}));
  EXPECT_THAT(result.most_misaligned, IsEmpty());
}

TEST(MisalignmentTest, ASingleExampleHasNoNeighbour) {
  const Misalignment result = Measure(MakeDataset({{1, 2}}, {1}, 2), {}, 0, 1);
  EXPECT_EQ(result.counts.anchors, 1u);
  EXPECT_EQ(result.counts.with_neighbour, 0u);
  EXPECT_EQ(result.counts.nearest_of_another_class, 0u);
  EXPECT_THAT(result.nearest_by_class, ElementsAre(kNoDistance, kNoDistance));
}

TEST(MisalignmentTest, EqualDistancesAreCountedApart_AndTheLowestIndexIsTheNeighbour) {
  // 0 stands between 1 of its own class and 2 of the other, at the same distance in every norm.
  const Dataset own_first = MakeDataset({{10, 0}, {20, 0}, {0, 0}}, {0, 0, 1}, 2);
  const Dataset other_first = MakeDataset({{10, 0}, {0, 0}, {20, 0}}, {0, 1, 0}, 2);
  for (const PixelDistance& distance : AllDistances()) {
    const Misalignment a = Measure(own_first, {.distance = distance}, 0, 1);
    const Misalignment b = Measure(other_first, {.distance = distance}, 0, 1);
    EXPECT_EQ(a.counts.Total(), (TripleCounts{.triples = 1, .greater = 0, .equal = 1}));
    EXPECT_EQ(b.counts.Total(), a.counts.Total());
    EXPECT_EQ(a.counts.misaligned, 1u);
    EXPECT_EQ(a.counts.strictly_misaligned, 0u);
    EXPECT_EQ(a.counts.nearest_ties_across_classes, 1u);
    EXPECT_EQ(b.counts.nearest_ties_across_classes, 1u);
    EXPECT_EQ(a.counts.nearest_of_another_class, 0u);
    EXPECT_EQ(b.counts.nearest_of_another_class, 1u);
  }
}

TEST(MisalignmentTest, ADistanceWithoutMisalignedTriplesIsAnOracle) {
  std::vector<std::vector<uint8_t>> images;
  std::vector<uint8_t> labels;
  for (uint8_t i = 0; i < 40; ++i) {
    images.push_back({static_cast<uint8_t>(i % 4 * 60 + i / 4), 7});
    labels.push_back(i % 4);
  }
  const Misalignment result = Measure(MakeDataset(images, labels, 4), {}, 0, 40);
  EXPECT_EQ(result.counts.Total(), (TripleCounts{.triples = 40 * 9 * 30, .greater = 0, .equal = 0}));
  EXPECT_EQ(result.counts.misaligned, 0u);
  EXPECT_EQ(result.counts.nearest_of_another_class, 0u);
}

TEST(MisalignmentTest, ProgressIsToldBlockByBlockAndCanStopIt) {
  const Dataset data = TyingImages(25, 5, 1);
  std::vector<uint64_t> done;
  const auto stop_after = [&](size_t calls) {
    done.clear();
    return MeasureMisalignment(data, {}, Range(5, 25),
                               [&](const MisalignmentProgress& progress) {
                                 EXPECT_DOUBLE_EQ(progress.fraction, static_cast<double>(progress.anchors_done) / 20);
                                 done.push_back(progress.anchors_done);
                                 return done.size() < calls;
                               },
                               {.anchors_per_block = 8});
  };
  EXPECT_OK(stop_after(4));
  EXPECT_THAT(done, ElementsAre(8, 16, 20));
  EXPECT_THAT(stop_after(2), StatusIs(absl::StatusCode::kCancelled, HasSubstr("stopped")));
  EXPECT_THAT(done, SizeIs(2));
}

TEST(MisalignmentTest, WhatCannotBeMeasuredIsRefused) {
  const Dataset data = TyingImages(10, 5, 1);
  const auto refused = [](const Dataset& images, const MisalignmentSpec& spec, const v1::Shard& range,
                          const MisalignmentExecution& execution, const std::string& message) {
    EXPECT_THAT(MeasureMisalignment(images, spec, range, GoOn, execution),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused(data, {}, Range(0, 11), {}, "[0, 11) of 10");
  refused(data, {}, Range(3, 2), {}, "[3, 2) of 10");
  refused(data, {.distance = {.norm = v1::NORM_SPATIAL}}, Range(0, 1), {}, "give linf, l2, l1 or l0");
  refused(data, {}, Range(0, 1), {.anchors_per_block = 0}, "at least one anchor");
  Dataset broken = data;
  broken.labels[3] = 6;
  refused(broken, {}, Range(0, 1), {}, "a label is too large for 6 classes: 6 of example 3");
  broken = data;
  broken.labels.pop_back();
  refused(broken, {}, Range(0, 1), {}, "9 labels, 10 examples");
}

class MnistMisalignmentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    TIGHTROPE_NEEDS_SHARED("data/mnist/train-images-idx3-ubyte.gz");
    const auto split = ResolveDataset("mnist", v1::SPLIT_TRAIN, {SharedDirectory() + "/data"});
    ASSERT_OK(split);
    auto data = LoadDataset(split->ref, split->images, split->labels);
    ASSERT_OK(data);
    data_ = *std::move(data);
  }

  Dataset data_;
};

// The share of misaligned triples (≥) was seen elsewhere to be about 0.23 for l2 and l1 and 0.77 for linf.
TEST_F(MnistMisalignmentTest, MnistIsMisaligned_MostOfAllInLinf) {
  const struct {
    PixelDistance distance;
    double share;
  } wanted[] = {{{v1::NORM_L2}, .23}, {{v1::NORM_L1}, .23}, {{v1::NORM_LINF}, .77}};
  for (const auto& [distance, share] : wanted) {
    const Misalignment result = Measure(data_, {.distance = distance}, 0, 200);
    const TripleCounts total = result.counts.Total();
    EXPECT_NEAR(static_cast<double>(total.greater + total.equal) / static_cast<double>(total.triples), share, .03);
    EXPECT_EQ(result.counts.misaligned, 200u);
    if (distance.norm == v1::NORM_LINF) {
      EXPECT_GT(total.equal, total.triples / 2) << "most images have a black pixel where another has a white one";
    } else {
      EXPECT_LE(result.counts.nearest_of_another_class, 15u) << "about 3 of 100";
    }
  }
}

// Counted with NumPy's sort and searchsorted from distances of SciPy's cdist (linf, l1), scikit-learn's
// pairwise_distances rounded to integers (l2), and NumPy (l0).
TEST_F(MnistMisalignmentTest, AnchorsCountedBySciPyAndScikitLearnAreEqualToTheLastTriple) {
  const struct {
    v1::Norm norm;
    TripleCounts total;
  } golden[] = {{v1::NORM_LINF, {41'481'603'566, 4'532'909'381, 28'619'303'820}},
                {v1::NORM_L2, {41'481'603'566, 11'809'743'532, 6'407}},
                {v1::NORM_L1, {41'481'603'566, 12'155'930'843, 1'527'379}},
                {v1::NORM_L0, {41'481'603'566, 14'877'584'357, 360'208'802}}};
  for (const auto& [norm, total] : golden) {
    EXPECT_EQ(Measure(data_, {.distance = {.norm = norm}}, 30'000, 30'128).counts.Total(), total)
        << v1::Norm_Name(norm);
  }
}

}  // namespace
}  // namespace tightrope
