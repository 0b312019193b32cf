#include "core/robustness/invariance/l0_attack.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "core/robustness/invariance/invariance_test_support.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Numbers made of the pixels changed, to script what is convincing.
class ScriptedScore : public CompositeScore {
 public:
  explicit ScriptedScore(std::function<double(const L0Composite&)> score) : score_(std::move(score)) {}
  absl::StatusOr<std::vector<double>> Scores(absl::Span<const L0Composite> composites, uint8_t,
                                             uint8_t) const override {
    std::vector<double> scores;
    for (const L0Composite& composite : composites) scores.push_back(score_(composite));
    return scores;
  }

 private:
  std::function<double(const L0Composite&)> score_;
};

// A training set of one image: two squares of 4×4 and 3×3 pixels and a single pixel. Sources are black.
struct Scene {
  Dataset training;
  std::vector<uint8_t> source = std::vector<uint8_t>(196);
  AffineCandidate candidate;

  Scene() {
    training.count = training.channels = 1;
    training.height = training.width = 14;
    training.pixels.resize(196);
    training.labels = {1};
    training.classes = 2;
    for (size_t y = 0; y < 4; ++y) {
      for (size_t x = 0; x < 4; ++x) training.pixels[(1 + y) * 14 + 1 + x] = 255;
    }
    for (size_t y = 0; y < 3; ++y) {
      for (size_t x = 0; x < 3; ++x) training.pixels[(9 + y) * 14 + 9 + x] = 200;
    }
    training.pixels[1 * 14 + 12] = 250;
  }
};

std::vector<int64_t> Changed(const std::vector<L0Composite>& composites) {
  std::vector<int64_t> changed;
  for (const L0Composite& composite : composites) changed.push_back(composite.changed);
  return changed;
}

TEST(L0AttackTest, EveryChoiceOfGroupsIsAComposite) {
  const Scene scene;
  const auto training = BitImages::Create(scene.training);
  ASSERT_OK(training);
  L0AttackOptions options;
  EXPECT_THAT(Changed(Composites(scene.source, *training, scene.candidate, options)),
              ElementsAre(16, 9, 25, 1, 17, 10, 26));
  options.search.published_form = true;  // the lonely pixel is noise, and stays
  EXPECT_THAT(Changed(Composites(scene.source, *training, scene.candidate, options)), ElementsAre(16, 9, 25));
  options.search.published_form = false;
  options.most_groups = 2;  // the small ones go together
  EXPECT_THAT(Changed(Composites(scene.source, *training, scene.candidate, options)), ElementsAre(16, 10, 26));
  options.most_groups = 1;
  EXPECT_THAT(Changed(Composites(scene.source, *training, scene.candidate, options)), ElementsAre(26));
}

TEST(L0AttackTest, OnlyTheChangedPixelsDifferAndTheyAreTheCandidates) {
  const Scene scene;
  const auto training = BitImages::Create(scene.training);
  ASSERT_OK(training);
  for (const L0Composite& composite : Composites(scene.source, *training, scene.candidate, {})) {
    int64_t changed = 0;
    for (size_t i = 0; i < 196; ++i) {
      if (composite.pixels[i] == 0) continue;
      ++changed;
      EXPECT_EQ(composite.pixels[i], static_cast<float>(scene.training.pixels[i]) / 255.0f);
    }
    EXPECT_EQ(changed, composite.changed);
    EXPECT_EQ(composite.aligned, composite.pixels);  // the candidate's transform is the identity
  }
}

TEST(L0AttackTest, TheLeastChangeThatIsConvincingIsChosenElseTheMostConvincing) {
  const Scene scene;
  const auto training = BitImages::Create(scene.training);
  ASSERT_OK(training);
  const auto chosen = [&](std::function<double(const L0Composite&)> score) {
    return *L0ExampleFrom(scene.source, 0, *training, scene.candidate, {}, ScriptedScore(std::move(score)));
  };
  const L0Example enough = chosen([](const L0Composite& c) { return 9.5 - static_cast<double>(c.changed); });
  EXPECT_EQ(enough.changed, 10);
  EXPECT_TRUE(enough.convincing);
  EXPECT_EQ(enough.score, -0.5);
  EXPECT_EQ(enough.composites, 7u);
  const L0Example never = chosen([](const L0Composite& c) { return 100.0 - static_cast<double>(c.changed); });
  EXPECT_EQ(never.changed, 26);
  EXPECT_FALSE(never.convincing);
  const L0Example broken = chosen([](const L0Composite& c) { return c.changed == 17 ? 3 : std::nan(""); });
  EXPECT_EQ(broken.changed, 17);
  EXPECT_FALSE(chosen([](const L0Composite&) { return std::nan(""); }).convincing);
}

TEST(L0AttackTest, WithoutACandidateTheSourceStays) {
  const Scene scene;
  const auto training = BitImages::Create(scene.training);
  ASSERT_OK(training);
  const ScriptedScore score([](const L0Composite&) { return -1.0; });
  const auto nothing = L0ExampleFrom(scene.source, 0, *training, std::nullopt, {}, score);
  ASSERT_OK(nothing);
  EXPECT_EQ(nothing->pixels, std::vector<float>(196));
  EXPECT_FALSE(nothing->convincing);
  const auto same = L0ExampleFrom(scene.training.pixels, 0, *training, scene.candidate, {}, score);  // nothing differs
  ASSERT_OK(same);
  EXPECT_EQ(same->changed, 0);
  EXPECT_EQ(same->composites, 0u);
}

TEST(L0AttackTest, OptionsOutOfRangeAreRefused) {
  const Scene scene;
  const auto training = BitImages::Create(scene.training);
  ASSERT_OK(training);
  const ScriptedScore score([](const L0Composite&) { return -1.0; });
  const RandomStream stream(1, "digest", "transforms");
  for (const int32_t groups : {0, 17}) {
    EXPECT_THAT(L0Attack(*training, scene.training, 0, 1, {.most_groups = groups}, score, stream),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 to 16")));
  }
  EXPECT_THAT(L0Attack(*training, scene.training, 0, 1, {.clusters = {.radius = -1}}, score, stream),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("radius")));
}

TEST(L0AttackTest, TheNearestNeighbourIsConvincedWhereItsClassIsTheTarget) {
  Dataset images = RandomImages(2, 1, 4, 4, 2, 1, 1);
  std::fill(images.pixels.begin(), images.pixels.end(), uint8_t{0});
  images.pixels[16] = 100;
  images.labels = {0, 1};
  const auto search = NeighbourSearch::Create(images);
  ASSERT_OK(search);
  L0Composite composite = {.pixels = std::vector<float>(16)};
  composite.pixels[0] = 60 / 255.0f;
  const NearestNeighbourScore score(*search);
  EXPECT_THAT(*score.Scores(absl::MakeConstSpan(&composite, 1), 0, 1), ElementsAre(40 * 40 - 60 * 60));
  EXPECT_THAT(*score.Scores(absl::MakeConstSpan(&composite, 1), 1, 0), ElementsAre(60 * 60 - 40 * 40));
  EXPECT_GT(score.Scores(absl::MakeConstSpan(&composite, 1), 0, 7)->front(), 1e300);  // no image of class 7
}

TEST(L0AttackTest, AnySplitOfTheSourcesGivesTheSameExamplesAndTheyStayInTheBall) {
  TIGHTROPE_NEEDS_SHARED("data/mnist");
  Dataset training = Mnist(v1::SPLIT_TEST);
  training.count = 700;
  training.pixels.resize(700 * 784);
  training.labels.resize(700);
  const auto bits = BitImages::Create(training);
  const auto judge = NeighbourSearch::Create(training);
  ASSERT_OK(bits);
  ASSERT_OK(judge);
  const NearestNeighbourScore score(*judge);
  const RandomStream stream(1, "digest", "transforms");
  for (const bool published : {false, true}) {
    const L0AttackOptions options = {.search = {.published_form = published}, .transforms = 20};
    const auto all = L0Attack(*bits, training, 10, 16, options, score, stream);
    ASSERT_OK(all);
    for (uint64_t i = 10; i < 16; ++i) {
      const auto one = L0Attack(*bits, training, i, i + 1, options, score, stream);
      ASSERT_OK(one);
      const L0Example& example = (*all)[i - 10];
      EXPECT_EQ(one->front().pixels, example.pixels);
      EXPECT_EQ(one->front().score, example.score);
      int64_t changed = 0;
      for (size_t e = 0; e < 784; ++e) {
        EXPECT_TRUE(example.pixels[e] >= 0 && example.pixels[e] <= 1);
        changed += example.pixels[e] != static_cast<float>(training.pixels[i * 784 + e]) / 255.0f;
      }
      EXPECT_EQ(changed, example.changed);
    }
  }
}

}  // namespace
}  // namespace tightrope
