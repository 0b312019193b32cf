#include <filesystem>
#include <fstream>
#include <string>

#include "core/robustness/model/classifier.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class TorchScriptTest : public ::testing::Test {
 protected:
  TorchScriptTest() {
    data_.set_name("toy");
    data_.set_channels(1);
    data_.set_height(2);
    data_.set_width(2);
    data_.set_classes(3);
  }
  ~TorchScriptTest() override { std::filesystem::remove(path_); }

  absl::StatusOr<std::unique_ptr<Classifier>> Load(const std::string& forward) {
    torch::jit::Module module("Model");
    module.register_parameter("weight", torch::full({3, 4}, 0.5f), /*is_buffer=*/false);
    module.define("def forward(self, x):\n  " + forward + "\n");
    module.save(path_);
    return LoadTorchScript(path_, data_, torch::kCPU);
  }

  v1::DatasetRef data_;
  const std::string path_ = ::testing::TempDir() + "torchscript_test_" +
                            ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".pt";
};

auto DoesNotFit(const std::string& text) {
  return StatusIs(absl::StatusCode::kInvalidArgument,
                  AllOf(HasSubstr("does not fit the data set toy"), HasSubstr(text), Not(HasSubstr("frame #"))));
}

TEST_F(TorchScriptTest, AModelGivesLogitsAndInputGradientsOnly) {
  const auto classifier = Load("return torch.matmul(torch.flatten(x, 1), self.weight.t())");
  ASSERT_OK(classifier);
  const torch::Tensor inputs = torch::ones({5, 1, 2, 2});
  EXPECT_TRUE(torch::equal((*classifier)->Logits(inputs), torch::full({5, 3}, 2.0f)));
  EXPECT_FALSE((*classifier)->Logits(inputs).requires_grad());
  const Classifier::TwoWay look = (*classifier)->LogitsAndGradient(inputs);
  EXPECT_TRUE(torch::equal(look.logits, torch::full({5, 3}, 2.0f)));
  EXPECT_FALSE(look.logits.requires_grad());
  EXPECT_TRUE(torch::equal(look.input_gradient(torch::ones({5, 3})), torch::full({5, 1, 2, 2}, 1.5f)));
}

TEST_F(TorchScriptTest, LogitsOfAnotherFloatingTypeAreConverted) {
  const auto classifier = Load("return torch.matmul(torch.flatten(x, 1), self.weight.t()).double()");
  ASSERT_OK(classifier);
  EXPECT_EQ((*classifier)->Logits(torch::ones({1, 1, 2, 2})).scalar_type(), torch::kFloat32);
}

TEST_F(TorchScriptTest, AModelOfAnotherInputShapeIsRefused) {
  EXPECT_THAT(Load("return torch.matmul(x, self.weight.t())"), DoesNotFit("1×1×2×2 zeros"));
}

TEST_F(TorchScriptTest, AModelOfAnotherNumberOfClassesIsRefused) {
  EXPECT_THAT(Load("return torch.flatten(x, 1)"), DoesNotFit("[1, 4]"));
}

TEST_F(TorchScriptTest, AModelThatGivesNoMatrixIsRefused) {
  EXPECT_THAT(Load("return x"), DoesNotFit("[1, 1, 2, 2]"));
  EXPECT_THAT(Load("return (x, x)"), DoesNotFit("Tuple"));
}

TEST_F(TorchScriptTest, AModelThatGivesClassesInsteadOfLogitsIsRefused) {
  EXPECT_THAT(Load("return torch.flatten(x, 1)[:, :3].long()"), DoesNotFit("Long"));
}

TEST_F(TorchScriptTest, AModelWithABatchSizeTracedIntoItIsRefused) {
  EXPECT_THAT(Load("return torch.matmul(x.reshape(1, 4), self.weight.t())"), DoesNotFit("2×1×2×2 zeros"));
}

TEST_F(TorchScriptTest, AModelTracedInTrainingModeIsRefused) {
  EXPECT_THAT(Load("return torch.matmul(torch.dropout(torch.flatten(x, 1), 0.5, True), self.weight.t())"),
              DoesNotFit("asked again"));
  EXPECT_THAT(Load("y = torch.matmul(torch.flatten(x, 1), self.weight.t())\n  return y - y.mean(0, True)"),
              DoesNotFit("depend on the others"));
}

// What it draws follows from the seed and from which call it is, and not from whoever else draws.
TEST_F(TorchScriptTest, AModelThatIsMeantToDrawAtRandomDrawsWhatItsSeedSays) {
  const std::string noisy = "return torch.matmul(torch.flatten(x + torch.rand_like(x), 1), self.weight.t())";
  EXPECT_THAT(Load(noisy), DoesNotFit("stochastic: true"));
  const auto first = LoadTorchScript(path_, data_, torch::kCPU, {}, /*stochastic=*/true);
  const auto second = LoadTorchScript(path_, data_, torch::kCPU, {}, /*stochastic=*/true);
  ASSERT_OK(first);
  ASSERT_OK(second);
  const torch::Tensor input = torch::zeros({1, 1, 2, 2});
  (*first)->SeedDraws(7);
  const torch::Tensor a = (*first)->Logits(input), b = (*first)->Logits(input);
  EXPECT_FALSE(torch::equal(a, b));
  (*second)->SeedDraws(7);
  EXPECT_TRUE(torch::equal((*second)->Logits(input), a));
  torch::rand({5});
  (*first)->SeedDraws(8);
  EXPECT_FALSE(torch::equal((*first)->Logits(input), a));
  EXPECT_TRUE(torch::equal((*second)->Logits(input), b));
}

TEST_F(TorchScriptTest, AModelThatRaisesIsRefused) {
  EXPECT_THAT(Load("assert x.numel() < 0, 'only on weekdays'\n  return x"), DoesNotFit("only on weekdays"));
}

TEST_F(TorchScriptTest, AFileThatIsNotTorchScriptIsRefusedByName) {
  EXPECT_THAT(LoadTorchScript(path_, data_, torch::kCPU),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(path_), Not(HasSubstr("frame #")))));
  for (const std::string& content : {std::string(), std::string("not a model"), std::string("PK\3\4 nor a zip file")}) {
    std::ofstream(path_, std::ios::binary) << content;
    EXPECT_THAT(LoadTorchScript(path_, data_, torch::kCPU),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a TorchScript file: " + path_)));
  }
}

TEST_F(TorchScriptTest, ATruncatedFileIsRefused) {
  ASSERT_OK(Load("return torch.matmul(torch.flatten(x, 1), self.weight.t())"));
  const auto size = std::filesystem::file_size(path_);
  for (const auto kept : {size - 1, size - 30, size / 2, size / 10}) {
    std::filesystem::resize_file(path_, kept);
    EXPECT_THAT(LoadTorchScript(path_, data_, torch::kCPU),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a TorchScript file")))
        << kept;
  }
}

}  // namespace
}  // namespace tightrope
