#include "core/robustness/model/network.h"

#include <cmath>
#include <string>
#include <vector>

#include "core/artifact/safetensors.h"
#include "core/robustness/model/weights.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::DatasetRef Reference(uint32_t channels, uint32_t side, uint32_t classes) {
  v1::DatasetRef data;
  data.set_name("toy");
  data.set_channels(channels);
  data.set_height(side);
  data.set_width(side);
  data.set_classes(classes);
  return data;
}

v1::Architecture SmallCnnArchitecture() {
  v1::Architecture architecture;
  architecture.mutable_small_cnn();
  return architecture;
}

v1::Architecture MadryCnnArchitecture() {
  v1::Architecture architecture;
  architecture.mutable_madry_cnn();
  return architecture;
}

v1::Architecture MlpArchitecture(std::vector<uint32_t> hidden) {
  v1::Architecture architecture;
  architecture.mutable_mlp()->mutable_hidden()->Assign(hidden.begin(), hidden.end());
  return architecture;
}

torch::nn::Sequential Network(const v1::Architecture& architecture, const v1::DatasetRef& data, uint64_t seed = 1) {
  torch::nn::Sequential network = MakeNetwork(architecture, data).value();
  InitialiseWeights(*network, RandomStream(seed, "job", "weights"));
  return network;
}

std::vector<std::string> NamesAndShapes(const torch::nn::Module& network) {
  std::vector<std::string> described;
  for (const auto& parameter : network.named_parameters()) {
    described.push_back(parameter.key());
    for (const int64_t extent : parameter.value().sizes()) described.back() += " " + std::to_string(extent);
  }
  return described;
}

TEST(NetworkTest, TensorsAreNamedAsAPyTorchSequentialNamesThem) {
  EXPECT_THAT(NamesAndShapes(*Network(SmallCnnArchitecture(), Reference(1, 28, 10))),
              ElementsAre("0.weight 16 1 4 4", "0.bias 16", "2.weight 32 16 4 4", "2.bias 32", "5.weight 100 1568",
                          "5.bias 100", "7.weight 10 100", "7.bias 10"));
  EXPECT_THAT(NamesAndShapes(*Network(MadryCnnArchitecture(), Reference(3, 32, 10))),
              ElementsAre("0.weight 32 3 5 5", "0.bias 32", "3.weight 64 32 5 5", "3.bias 64", "7.weight 1024 4096",
                          "7.bias 1024", "9.weight 10 1024", "9.bias 10"));
  EXPECT_THAT(NamesAndShapes(*Network(MlpArchitecture({7, 5}), Reference(1, 2, 3))),
              ElementsAre("1.weight 7 4", "1.bias 7", "3.weight 5 7", "3.bias 5", "5.weight 3 5", "5.bias 3"));
}

TEST(NetworkTest, EveryArchitectureTakesEveryShapeOfAtLeastFourPixels) {
  for (const v1::Architecture& architecture : {SmallCnnArchitecture(), MadryCnnArchitecture(), MlpArchitecture({8})}) {
    for (const uint32_t side : {4u, 5u, 7u, 28u, 32u}) {
      const torch::Tensor logits =
          Network(architecture, Reference(3, side, 4))->forward(torch::zeros({2, 3, side, side}));
      EXPECT_THAT(logits.sizes(), ElementsAre(2, 4));
    }
  }
}

TEST(NetworkTest, ImagesThatAreTooSmallAreRefused) {
  EXPECT_THAT(MakeNetwork(SmallCnnArchitecture(), Reference(1, 3, 10)),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("small_cnn"), HasSubstr("3×3"))));
  EXPECT_THAT(MakeNetwork(MadryCnnArchitecture(), Reference(1, 3, 10)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("madry_cnn")));
  EXPECT_THAT(MakeNetwork(MlpArchitecture({4}), Reference(1, 0, 10)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("above 0")));
  EXPECT_THAT(MakeNetwork(v1::Architecture(), Reference(1, 28, 10)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("small_cnn")));
}

TEST(NetworkTest, InitialWeightsAreADrawAndNotTheGlobalGenerators) {
  const v1::DatasetRef data = Reference(1, 28, 10);
  torch::manual_seed(1);
  const std::string first = WriteSafeTensors(SaveWeights(*Network(MadryCnnArchitecture(), data)));
  torch::manual_seed(2);
  EXPECT_EQ(first, WriteSafeTensors(SaveWeights(*Network(MadryCnnArchitecture(), data))));
  EXPECT_NE(first, WriteSafeTensors(SaveWeights(*Network(MadryCnnArchitecture(), data, /*seed=*/2))));
}

TEST(NetworkTest, InitialWeightsAreUniformWithinOneOverTheRootOfTheFanIn) {
  torch::nn::Sequential network = Network(MadryCnnArchitecture(), Reference(1, 28, 10));
  for (const auto& parameter : network->named_parameters()) {
    const std::string layer = parameter.key().substr(0, 1);
    const double fan_in = layer == "0" ? 25 : layer == "3" ? 800 : layer == "7" ? 3136 : 1024;
    const double largest = parameter.value().abs().max().item<double>() * std::sqrt(fan_in);
    EXPECT_LE(largest, 1.0) << parameter.key();
    if (parameter.value().numel() > 500) {
      EXPECT_GT(largest, 0.99) << parameter.key();
      EXPECT_NEAR(parameter.value().std().item<double>() * std::sqrt(fan_in), std::sqrt(1.0 / 3), 0.02);
    }
  }
}

TEST(NetworkTest, SavedWeightsGiveTheSameLogits) {
  const v1::DatasetRef data = Reference(1, 8, 3);
  const torch::Tensor inputs = torch::rand({5, 1, 8, 8});
  for (const v1::Architecture& architecture : {SmallCnnArchitecture(), MadryCnnArchitecture(), MlpArchitecture({9})}) {
    torch::nn::Sequential network = Network(architecture, data);
    const auto parsed = ParseSafeTensors(WriteSafeTensors(SaveWeights(*network)));
    ASSERT_OK(parsed);
    const auto classifier = LoadTrained(architecture, data, *parsed, torch::kCPU);
    ASSERT_OK(classifier);
    EXPECT_TRUE(torch::equal((*classifier)->Logits(inputs), network->forward(inputs)));
    EXPECT_FALSE((*classifier)->Logits(inputs).requires_grad());
  }
}

TEST(NetworkTest, WeightsThatDoNotFitAreRefusedByName) {
  const v1::DatasetRef data = Reference(1, 8, 3);
  const SafeTensors good = SaveWeights(*Network(MlpArchitecture({9}), data));
  const auto refusal = [&](const SafeTensors& weights) {
    return LoadTrained(MlpArchitecture({9}), data, weights, torch::kCPU).status();
  };
  const auto invalid = [](const char* text) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)); };
  ASSERT_OK(refusal(good));
  SafeTensors bad = good;
  bad.tensors.erase("3.bias");
  EXPECT_THAT(refusal(bad), invalid("missing from the file: 3.bias"));
  bad = good;
  bad.tensors["7.weight"] = good.tensors.at("1.bias");
  EXPECT_THAT(refusal(bad), invalid("7.weight"));
  bad = good;
  bad.tensors["1.bias"].shape = {3, 3};
  EXPECT_THAT(refusal(bad), invalid("1.bias is F32 [3, 3], not F32 [9]"));
  bad = good;
  bad.tensors["1.bias"].dtype = "I64";
  EXPECT_THAT(refusal(bad), invalid("1.bias is I64"));
  bad = good;
  bad.tensors["1.bias"].data.resize(8);
  EXPECT_THAT(refusal(bad), invalid("8 bytes, not 36"));
  EXPECT_THAT(LoadTrained(SmallCnnArchitecture(), data, good, torch::kCPU), invalid("cannot load the trained weights"));
}

}  // namespace
}  // namespace tightrope
