// The attacks that ask for decisions or losses only, and that of rotations and translations.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/robustness/attack/attack_test_support.h"
#include "core/robustness/attack/decisions.h"
#include "core/robustness/attack/golden_test_support.h"
#include "core/robustness/attack/hop_skip_jump_schedule.h"
#include "core/robustness/attack/loss.h"
#include "core/robustness/attack/spatial_transform.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;

constexpr uint32_t kExamples = 16;

const char* const kBoundary =
    "boundary { steps: 1500 spherical_step: 0.05 source_step: 0.02 step_adaptation: 1.5 restarts: 1 }";
const char* const kHopSkipJump =
    "hop_skip_jump { steps: 15 gradient_queries: 100 max_gradient_queries: 1000 restarts: 1 }";
const char* const kGrid =
    "spatial { search: SPATIAL_SEARCH_GRID max_rotation: 30 max_translation: 3 rotations: 5 translations: 7 draws: 1 }";
const char* const kRandomMoves =
    "spatial { search: SPATIAL_SEARCH_RANDOM max_rotation: 0 max_translation: 4 rotations: 1 translations: 1 draws: 40 "
    "}";

std::string Spsa(const std::string& directions) {
  return absl::StrCat("spsa { steps: 20 samples: 32 delta: 0.01 learning_rate: 0.02 restarts: 1 loss: ",
                      "ATTACK_LOSS_MARGIN directions: SPSA_DIRECTIONS_", directions, " }");
}

// Grey noise, labelled as a linear model of two classes has it; the box is in nobody's way.
class QueryAttacksTest : public ::testing::Test {
 protected:
  QueryAttacksTest() {
    auto weight = weight_.accessor<float, 2>();
    for (int64_t i = 0; i < 64; ++i) {
      const float size = 0.5f + 0.03f * static_cast<float>(i * 37 % 64);
      weight[1][i] = i % 2 == 1 ? size : -size;
    }
    LabelAsPredicted(data_, model_);
  }

  // Of every example to the plane between the classes.
  std::vector<double> PlaneDistances(v1::Norm norm) const {
    const torch::Tensor w = weight_[1].to(torch::kFloat64);
    const torch::Tensor dual = norm == v1::NORM_LINF ? w.abs().sum() : w.norm();
    const torch::Tensor distances = (AllInputs(data_).flatten(1).to(torch::kFloat64) * w).sum(1).abs() / dual;
    return {distances.data_ptr<double>(), distances.data_ptr<double>() + data_.count};
  }

  // That every example's nearest wrong point is no more than `times` as far as the plane.
  void ExpectNearest(const std::string& attack, v1::Norm norm, double times) {
    const std::vector<double> distances = PlaneDistances(norm);
    const double farthest = *std::max_element(distances.begin(), distances.end());
    const v1::AttackJob job = JobOf(attack, norm, {1e-7, 2 * farthest});
    const auto outcome = Attacked(job, data_, model_);
    ASSERT_OK(outcome);
    ExpectRecordsHold(*outcome, job, data_, model_);
    double worst = 0;
    for (uint32_t i = 0; i < data_.count; ++i) {
      const double nearest = NearestOf(outcome->records[i], norm);
      EXPECT_GE(nearest, distances[i] * (1 - 1e-4) - 1e-6) << i;
      EXPECT_LE(nearest, distances[i] * times + 1e-5) << i << " of " << distances[i];
      worst = std::max(worst, nearest / distances[i]);
    }
    std::cout << Norm_Name(norm) << ": at most " << worst << " times the distance of the plane\n";
  }

  // All points that the model was asked about while the first example was attacked, the example itself before them.
  std::vector<torch::Tensor> PointsOf(const std::string& attack, v1::Norm norm, double epsilon, Classifier& model) {
    std::vector<torch::Tensor> points;
    Made recording([&](const torch::Tensor& inputs) {
      EXPECT_EQ(inputs.size(0), 1);
      points.push_back(inputs.clone());
      return model.Logits(inputs);
    });
    v1::Shard first;
    first.set_end(1);
    EXPECT_OK(RunAttack(JobOf(attack, norm, {epsilon}), "job", first, data_, recording,
                        [](const EvaluationProgress&) { return true; }));
    return points;
  }
  bool Wrong(const torch::Tensor& point) { return Predictions(model_.Logits(point))[0] != data_.labels[0]; }

  Dataset data_ = MakeToyDataset(kExamples, 8, 2, /*contrast=*/0);
  torch::Tensor weight_ = torch::zeros({2, 64});
  LinearModel model_{weight_};
};

double Length(const torch::Tensor& offset) { return offset.to(torch::kFloat64).norm().item<double>(); }

TEST_F(QueryAttacksTest, HopSkipJumpFindsTheNearestPointToAFewPercent) {
  ExpectNearest(kHopSkipJump, v1::NORM_L2, 1.05);
  ExpectNearest(kHopSkipJump, v1::NORM_LINF, 1.08);
}

TEST_F(QueryAttacksTest, TheBoundaryAttackFindsTheNearestPointToAFewPercent) {
  ExpectNearest(kBoundary, v1::NORM_L2, 1.05);
}

TEST_F(QueryAttacksTest, EstimatedGradientsBreakWhatIsNearerThanTheRadius) {
  for (const v1::Norm norm : {v1::NORM_LINF, v1::NORM_L2}) {
    std::vector<double> distances = PlaneDistances(norm);
    std::nth_element(distances.begin(), distances.begin() + kExamples / 2, distances.end());
    const double epsilon = distances[kExamples / 2];
    for (const char* directions : {"RADEMACHER", "GAUSSIAN"}) {
      SCOPED_TRACE(absl::StrCat(Norm_Name(norm), directions));
      const auto outcome = Attacked(JobOf(Spsa(directions), norm, {epsilon}), data_, model_);
      ASSERT_OK(outcome);
      for (uint32_t i = 0; i < data_.count; ++i) {
        const double distance = PlaneDistances(norm)[i];
        if (distance > 0.9 * epsilon && distance < epsilon * 1.0001) continue;
        EXPECT_EQ(outcome->records[i].verdict() == v1::VERDICT_BROKEN, distance < epsilon) << distance / epsilon;
      }
    }
  }
}

// Rows finish their searches for a step at different looks, and idle ones must not pay.
TEST_F(QueryAttacksTest, AnExampleAloneGetsTheRecordThatItGetsAmongOthers) {
  const auto expect_same = [&](const std::string& attack, v1::Norm norm) {
    SCOPED_TRACE(absl::StrCat(Norm_Name(norm), " ", attack));
    const v1::AttackJob job = JobOf(attack, norm, {norm == v1::NORM_SPATIAL ? 1 : 0.001, 64});
    const auto together = Attacked(job, data_, model_);
    ASSERT_OK(together);
    for (const uint32_t i : {0u, 5u, 11u}) {
      v1::Shard alone;
      alone.set_begin(i);
      alone.set_end(i + 1);
      const auto outcome = RunAttack(job, "job", alone, data_, model_, [](const EvaluationProgress&) { return true; });
      ASSERT_OK(outcome);
      v1::ExampleRecord expected = together->records[i];
      v1::ExampleRecord record = outcome->records[0];
      if (expected.witness_row() >= 0) expected.set_witness_row(0);
      EXPECT_EQ(record.ShortDebugString(), expected.ShortDebugString());
    }
  };
  expect_same("boundary { steps: 60 spherical_step: 0.05 source_step: 0.05 step_adaptation: 1.5 restarts: 2 }",
              v1::NORM_L2);
  const std::string hop_skip_jump =
      "hop_skip_jump { steps: 3 gradient_queries: 20 max_gradient_queries: 100 restarts: 2 }";
  expect_same(hop_skip_jump, v1::NORM_L2);
  expect_same(hop_skip_jump, v1::NORM_LINF);
  expect_same(Spsa("GAUSSIAN"), v1::NORM_L2);
  expect_same(kGrid, v1::NORM_SPATIAL);
}

TEST_F(QueryAttacksTest, AttacksThatNeedDecisionsDoTheSameWhateverTheLogits) {
  Made decisions([&](const torch::Tensor& inputs) {
    const torch::Tensor predicted = model_.Logits(inputs).argmax(1, /*keepdim=*/true);
    return torch::zeros({inputs.size(0), 2}).scatter(1, predicted, 1.0);
  });
  for (const v1::Norm norm : {v1::NORM_L2, v1::NORM_LINF, v1::NORM_SPATIAL}) {
    for (const std::string& attack : std::vector<std::string>{kBoundary, kHopSkipJump, kGrid, kRandomMoves}) {
      const v1::AttackJob job = JobOf(attack, norm, {0.2, 0.9});
      if (!FindAttack(job.attack())->Takes(norm)) continue;
      const auto from_logits = Attacked(job, data_, model_);
      const auto from_decisions = Attacked(job, data_, decisions);
      ASSERT_OK(from_logits);
      ASSERT_OK(from_decisions);
      EXPECT_GT(from_logits->witnesses.rows, 0);
      EXPECT_EQ(BytesOf(*from_logits), BytesOf(*from_decisions)) << Norm_Name(norm) << " " << attack;
    }
  }
}

// Fine noise has a mean of about a half, whatever the draw.
TEST_F(QueryAttacksTest, WhereFineNoiseIsTakenForTheLabelCoarserNoiseIsTheStart) {
  Made by_brightness([](const torch::Tensor& inputs) {
    const torch::Tensor off = (inputs.mean({1, 2, 3}) - 0.5).abs();
    return torch::stack({torch::full_like(off, 0.2), off}, 1);
  });
  LabelAsPredicted(data_, by_brightness);
  for (const char* attack : {kBoundary, kHopSkipJump}) {
    const auto outcome = Attacked(JobOf(attack, v1::NORM_L2, {8}), data_, by_brightness);
    ASSERT_OK(outcome);
    EXPECT_EQ(Count(*outcome, v1::VERDICT_BROKEN), static_cast<int>(kExamples));
  }
}

TEST_F(QueryAttacksTest, ASearchThatFindsNoStartEndsAndPaysForTheDrawsOnly) {
  Made constant([](const torch::Tensor& inputs) { return torch::zeros({inputs.size(0), 2}); });
  LabelAsPredicted(data_, constant);
  for (const char* attack : {kBoundary, kHopSkipJump}) {
    const auto outcome = Attacked(JobOf(attack, v1::NORM_L2, {8}), data_, constant);
    ASSERT_OK(outcome);
    for (const v1::ExampleRecord& record : outcome->records) EXPECT_EQ(record.forward_passes(), 1 + kNoiseLooks);
  }
}

TEST(HopSkipJumpScheduleTest, ConstantsAreThoseOfThePaper) {
  EXPECT_DOUBLE_EQ(HopSkipJumpThreshold(v1::NORM_L2, 784), 1.0 / (28 * 784));
  EXPECT_DOUBLE_EQ(HopSkipJumpThreshold(v1::NORM_LINF, 784), 1.0 / (784 * 784));
  EXPECT_EQ(HopSkipJumpHalvings(v1::NORM_L2, 784), 15u);    // 2^14 < 21,952 < 2^15
  EXPECT_EQ(HopSkipJumpHalvings(v1::NORM_LINF, 784), 20u);  // 2^19 < 614,656 < 2^20
  v1::HopSkipJumpAttack options;
  options.set_gradient_queries(100);
  options.set_max_gradient_queries(220);
  std::vector<uint32_t> queries;
  for (const uint32_t step : {1, 2, 3, 4, 5}) queries.push_back(HopSkipJumpQueries(options, step));
  EXPECT_THAT(queries, ElementsAre(100, 141, 173, 200, 220));
}

// Follows one search through two steps, look by look.
TEST_F(QueryAttacksTest, HopSkipJumpLooksAroundTheBoundaryThenHalvesItsStepThenBisects) {
  constexpr size_t kHalvings = 9;  // 64^1.5 = 2^9
  const std::vector<torch::Tensor> points =
      PointsOf("hop_skip_jump { steps: 2 gradient_queries: 30 max_gradient_queries: 1000 restarts: 1 }", v1::NORM_L2,
               1e-6, model_);
  const torch::Tensor& example = points[0];
  size_t at = 1;
  while (!Wrong(points.at(at))) ++at;
  torch::Tensor from = points[at++];  // noise that the model gets wrong

  const auto bisect = [&] {
    double low = 0, high = 1;
    for (size_t i = 0; i < kHalvings; ++i, ++at) {
      const double share = (low + high) / 2;
      EXPECT_LT(Length(points.at(at) - (example + share * (from - example))), 1e-5) << i;
      (Wrong(points[at]) ? high : low) = share;
    }
    return example + high * (from - example);
  };
  torch::Tensor boundary = bisect();
  const auto look_around = [&](size_t queries, double radius) {
    torch::Tensor mean = torch::zeros_like(example);
    double decisions = 0;
    for (size_t i = at; i < at + queries; ++i) {
      EXPECT_NEAR(Length(points.at(i) - boundary), radius, 1e-4 * radius + 2e-6);
      decisions += Wrong(points[i]) ? 1.0 / queries : -1.0 / queries;
    }
    for (size_t i = at; i < at + queries; ++i) {
      mean += ((Wrong(points[i]) ? 1 : -1) - decisions) * (points[i] - boundary);
    }
    at += queries;
    return torch::Tensor(mean / Length(mean));
  };
  const auto step = [&](const torch::Tensor& direction, double t) {
    double length = Length(boundary - example) / std::sqrt(t);
    for (;; ++at, length /= 2) {
      EXPECT_LT(Length(points.at(at) - (boundary + length * direction).clamp(0, 1)), 1e-3 * length + 1e-5);
      if (Wrong(points[at])) break;
    }
    from = points[at++];
  };
  step(look_around(30, 0.1), 1);
  const double radius = Length(from - example) / 64;
  boundary = bisect();
  step(look_around(42, radius), 2);
  bisect();
  EXPECT_EQ(at, points.size());
}

// Wrong everywhere but at the example: both steps always succeed, and grow by half after 30 looks, the one towards the
// example twice over.
TEST_F(QueryAttacksTest, StepsOfTheBoundaryAttackGrowWhereTheyAlwaysSucceed) {
  data_.labels[0] = 0;
  const torch::Tensor clean = AllInputs(data_)[0];
  Made elsewhere([&](const torch::Tensor& inputs) {
    const torch::Tensor near = (inputs - clean).abs().amax({1, 2, 3}) < 1e-7;
    return torch::stack({near, near.logical_not()}, 1).to(torch::kFloat32);
  });
  for (const double adaptation : {1.0, 1.5}) {
    const std::vector<torch::Tensor> points = PointsOf(
        absl::StrCat("boundary { steps: 60 spherical_step: 0.04 source_step: 0.01 restarts: 1 step_adaptation: ",
                     adaptation, " }"),
        v1::NORM_L2, 1e-9, elsewhere);
    const size_t first = 1 + 1 + 10;  // the example, the noise, its bisection
    ASSERT_EQ(points.size(), first + 2 * 60);
    for (size_t step = 1; step < 60; ++step) {
      const torch::Tensor before = points[first + 2 * step - 1], on_sphere = points[first + 2 * step];
      const double distance = Length(before - clean), factor = step < 30 ? 1 : adaptation;
      EXPECT_NEAR(Length(on_sphere - clean) / distance, 1, 2e-3) << step;
      EXPECT_NEAR(Length(on_sphere - before) / distance, 0.04 * factor, 2e-3) << step;
      EXPECT_NEAR(Length(points[first + 2 * step + 1] - clean) / distance, 1 - 0.01 * factor * factor, 2e-3) << step;
    }
  }
}

TEST_F(QueryAttacksTest, AStepOfSpsaIsAdamsAlongTheDifferencesOfPairs) {
  const double kRate = 0.003, kDelta = 0.01;
  for (const char* directions : {"RADEMACHER", "GAUSSIAN"}) {
    const std::vector<torch::Tensor> points =
        PointsOf(absl::StrCat("spsa { steps: 1 samples: 8 loss: ATTACK_LOSS_MARGIN restarts: 1 delta: ", kDelta,
                              " learning_rate: ", kRate, " directions: SPSA_DIRECTIONS_", directions, " }"),
                 v1::NORM_LINF, 0.01, model_);
    ASSERT_EQ(points.size(), 3u + 16);  // the example, where it starts, pairs, where it leads
    const torch::Tensor& start = points[1];
    const torch::Tensor label = torch::tensor(std::vector<int64_t>{data_.labels[0]});
    torch::Tensor slope = torch::zeros_like(start);
    for (size_t i = 2; i < 18; i += 2) {
      const torch::Tensor direction = (points[i] - points[i + 1]) / (2 * kDelta);
      EXPECT_LT(((points[i] + points[i + 1]) / 2 - start).abs().max().item<float>(), 1e-6);
      const bool signs = (direction.abs() - 1).abs().max().item<float>() < 1e-3;
      EXPECT_EQ(signs, std::string(directions) == "RADEMACHER");
      slope +=
          direction * (MarginLoss(model_.Logits(points[i]), label) - MarginLoss(model_.Logits(points[i + 1]), label));
    }
    // Adam's first step is as long in every element.
    const torch::Tensor clean = points[0];
    const torch::Tensor expected =
        torch::minimum(torch::maximum(start + kRate * slope.sign(), clean - 0.01), clean + 0.01);
    EXPECT_LT((points.back() - expected).abs().max().item<float>(), 1e-6) << directions;
  }
}

// count×1×height×width images that are black but for one white pixel.
Dataset OnePixel(uint32_t height, uint32_t width, uint32_t row, uint32_t column) {
  Dataset data;
  data.count = 1;
  data.channels = 1;
  data.height = height;
  data.width = width;
  data.classes = 2;
  data.labels = {0};
  data.pixels.assign(height * width, 0);
  data.pixels[row * width + column] = 255;
  return data;
}

torch::Tensor Moved(const torch::Tensor& images, double angle, double right, double down) {
  return Transformed(images, torch::tensor({{angle, right, down}}, torch::kFloat64).expand({images.size(0), 3}));
}

TEST(SpatialTransformTest, NothingMovedIsTheImageBitForBit) {
  const torch::Tensor images = AllInputs(MakeToyDataset(4, 9, 2, 0.5));
  EXPECT_TRUE(torch::equal(Moved(images, 0, 0, 0), images));
  // Beside rows that do move.
  const torch::Tensor moves =
      torch::tensor({{0.0, 0.0, 0.0}, {10.0, 0.0, 0.0}, {0.0, 1.0, 0.0}, {0.0, 0.0, 0.0}}, torch::kFloat64);
  const torch::Tensor moved = Transformed(images, moves);
  for (const int64_t row : {0, 3}) EXPECT_TRUE(torch::equal(moved[row], images[row]));
  for (const int64_t row : {1, 2}) EXPECT_GT((moved[row] - images[row]).abs().max().item<float>(), 0.1) << row;
}

TEST(SpatialTransformTest, APixelGoesWhereItIsSent) {
  struct Case {
    double angle, right, down;
    int64_t row, column;  // where the white pixel at row 1, column 5 goes
  };
  // 5 rows of 7: the centre is at row 2, column 3.
  const torch::Tensor image = AllInputs(OnePixel(5, 7, 1, 5));
  for (const Case& to : {Case{0, 1, 0, 1, 6}, Case{0, -3, 0, 1, 2}, Case{0, 0, 2, 3, 5}, Case{0, -2, 3, 4, 3},
                         Case{90, 0, 0, 4, 4}, Case{-90, 0, 0, 0, 2}, Case{180, 0, 0, 3, 1}, Case{90, -3, -2, 2, 1}}) {
    torch::Tensor expected = torch::zeros_like(image);
    expected[0][0][to.row][to.column] = 1;
    const torch::Tensor moved = Moved(image, to.angle, to.right, to.down);
    EXPECT_LT((moved - expected).abs().max().item<float>(), 1e-6) << to.angle << " " << to.right << " " << to.down;
  }
  EXPECT_LT(Moved(image, 0, 2, 0).abs().max().item<float>(), 1e-6);  // over the edge
  const torch::Tensor half = Moved(image, 0, -0.5, 0);
  EXPECT_NEAR(half[0][0][1][4].item<float>(), 0.5, 1e-6);
  EXPECT_NEAR(half[0][0][1][5].item<float>(), 0.5, 1e-6);
}

TEST(SpatialTransformTest, TheGridRunsFromTheMildestToTheLargest) {
  v1::SpatialAttack options;
  options.set_max_rotation(30);
  options.set_max_translation(3);
  options.set_rotations(31);
  options.set_translations(5);
  const std::vector<std::array<double, 3>> grid = SpatialGrid(options);
  ASSERT_EQ(grid.size(), 31u * 5 * 5 - 1);
  double before = 0;
  for (const std::array<double, 3>& point : grid) {
    double size = 0;
    for (const double share : point) size = std::max(size, std::abs(share));
    EXPECT_GE(size, before);
    before = size;
  }
  EXPECT_EQ(before, 1);
  EXPECT_THAT(grid.front(), ElementsAre(-1.0 / 15, 0, 0));
  options.set_max_rotation(0);
  EXPECT_EQ(SpatialGrid(options).size(), 5u * 5 - 1);
  options.set_max_translation(0);
  EXPECT_EQ(SpatialGrid(options).size(), 0u);
}

// The model is wrong as soon as the white pixel is two columns further right.
TEST(SpatialTest, TheSmallestOfTheGridsMovesThatDeceivesIsFoundAndNothingAfterItIsTried) {
  const Dataset data = OnePixel(9, 9, 4, 4);
  Made detector([](const torch::Tensor& inputs) {
    const torch::Tensor seen = inputs.select(3, 6).select(2, 4).flatten();
    return torch::stack({torch::full_like(seen, 0.9), seen}, 1);
  });
  const v1::AttackJob job = JobOf(kGrid, v1::NORM_SPATIAL, {0.25, 0.6, 0.7, 1});  // shifts of 1, 2 and 3 pixels
  const auto outcome = Attacked(job, data, detector);
  ASSERT_OK(outcome);
  ExpectRecordsHold(*outcome, job, data, detector);
  EXPECT_DOUBLE_EQ(outcome->records[0].distance(), 2.0 / 3);
  EXPECT_EQ(outcome->records[0].broken_at(), 0.7);
  EXPECT_LT(outcome->records[0].forward_passes(), 5u * 7 * 7 - 60);
  // What is beyond the largest radius is not tried either.
  const auto small = Attacked(JobOf(kGrid, v1::NORM_SPATIAL, {0.4}), data, detector);
  ASSERT_OK(small);
  EXPECT_EQ(small->records[0].verdict(), v1::VERDICT_UNDECIDED);
  EXPECT_EQ(small->records[0].forward_passes(), 1u + 3 * 3 - 1);
}

TEST(SpatialTest, RandomMovesFillTheBallAndStayInIt) {
  const Dataset data = OnePixel(17, 17, 8, 8);
  double largest = 0;
  uint64_t looks = 0;
  Made looking([&](const torch::Tensor& inputs) {
    looks += inputs.size(0);
    const torch::Tensor columns = torch::arange(17, torch::kFloat32) - 8;
    for (const int64_t dimension : {2, 3}) {
      const torch::Tensor moved = (inputs.sum({1, dimension}) * columns).sum(1);
      largest = std::max<double>(largest, moved.abs().max().item<float>());
    }
    return torch::tensor({{1.0f, 0.0f}}).expand({inputs.size(0), 2});
  });
  const auto outcome = Attacked(JobOf(kRandomMoves, v1::NORM_SPATIAL, {0.5}), data, looking);
  ASSERT_OK(outcome);
  EXPECT_EQ(looks, 1u + 40);
  EXPECT_LE(largest, 0.5 * 4 + 1e-5);
  EXPECT_GT(largest, 0.5 * 4 * 0.9);
}

// Of the first 50 test images; fab finds medians of 1.00 and 0.07 with gradients.
TEST(QueryAttacksGoldenTest, HopSkipJumpComesNearWithSevenHundredQueries) {
  GoldenModel model;
  LoadGolden("std.pt", model);
  if (HasFatalFailure() || IsSkipped()) return;
  v1::Shard range;
  range.set_end(50);
  for (const auto& [norm, largest, limit] :
       {std::tuple(v1::NORM_L2, 28.0, 2.5), std::tuple(v1::NORM_LINF, 1.0, 0.18)}) {
    const v1::AttackJob job =
        JobOf("hop_skip_jump { steps: 4 gradient_queries: 100 max_gradient_queries: 10000 restarts: 1 }", norm,
              {0.001, largest});
    const auto outcome =
        RunAttack(job, "golden", range, model.data, *model.classifier, [](const EvaluationProgress&) { return true; });
    ASSERT_OK(outcome);
    std::vector<double> nearest;
    for (const v1::ExampleRecord& record : outcome->records) {
      EXPECT_EQ(record.verdict(), v1::VERDICT_BROKEN);
      nearest.push_back(NearestOf(record, norm));
    }
    std::nth_element(nearest.begin(), nearest.begin() + 25, nearest.end());
    EXPECT_LT(nearest[25], limit) << Norm_Name(norm);
  }
}

}  // namespace
}  // namespace tightrope
