// A model from Python, of the size that people attack: loaded, compared with what Python computed, and attacked.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/robustness/attack/attack_test_support.h"
#include "core/robustness/model/classifier.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"

namespace tightrope {
namespace {

std::string ReadText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::vector<float> ReadFloats(const std::string& path) {
  const std::string bytes = ReadText(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy_n(bytes.data(), values.size() * sizeof(float), reinterpret_cast<char*>(values.data()));
  return values;
}

TEST(PythonModelTest, AResidualNetworkExportedFromPythonGivesPythonsLogitsAndIsAttacked) {
  const std::string directory = ::testing::TempDir() + "python_model_test";
  std::filesystem::create_directories(directory);
  const std::string said = directory + "/said.txt";
  // Where another python3 comes first in the path, Debian's may still have what is needed.
  std::string python;
  for (const char* candidate : {"python3", "/usr/bin/python3"}) {
    if (std::system(absl::StrCat(candidate, " -c 'import torch, numpy' > ", said, " 2>&1").c_str()) != 0) continue;
    python = candidate;
    break;
  }
  if (python.empty()) {
    GTEST_SKIP() << "python3 cannot import torch and numpy; on Debian: apt install python3-torch\n" << ReadText(said);
  }
  const std::string script = TIGHTROPE_SOURCE_DIR "/core/robustness/model/testdata/resnet18.py";
  ASSERT_EQ(std::system(absl::StrCat(python, " ", script, " ", directory, " > ", said, " 2>&1").c_str()), 0)
      << ReadText(said);

  Dataset data;
  data.count = 4;
  data.channels = 3;
  data.height = 32;
  data.width = 32;
  data.classes = 10;
  const std::vector<float> inputs = ReadFloats(directory + "/inputs.bin");
  const std::vector<float> wanted = ReadFloats(directory + "/logits.bin");
  ASSERT_EQ(inputs.size(), 4u * 3 * 32 * 32);
  ASSERT_EQ(wanted.size(), 4u * 10);
  const auto model = LoadTorchScript(directory + "/model.pt", ToyReference(data), torch::kCPU);
  ASSERT_OK(model);
  torch::NoGradGuard no_grad;
  const torch::Tensor logits = (*model)->Logits(torch::tensor(inputs).view({4, 3, 32, 32}));
  EXPECT_LE((logits - torch::tensor(wanted).view({4, 10})).abs().max().item<float>(), 1e-5);

  // As the data have bytes, so the examples are those nearest to the inputs.
  for (const float value : inputs) data.pixels.push_back(static_cast<uint8_t>(value * 255));
  data.labels.resize(4);
  LabelAsPredicted(data, **model);
  const v1::AttackJob job = JobOf("pgd { steps: 3 restarts: 1 random_start: true }", v1::NORM_LINF, {0.1});
  const auto outcome = Attacked(job, data, **model);
  ASSERT_OK(outcome);
  // Untrained, it takes nearly everything for one class, so that nothing need fall; but it has gradients.
  EXPECT_GT(outcome->diagnostics.gradients(), 0u);
  EXPECT_EQ(outcome->diagnostics.zero_gradients(), 0u);
  EXPECT_EQ(outcome->diagnostics.nonfinite_gradients(), 0u);
  ExpectRecordsHold(*outcome, job, data, **model);
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace tightrope
