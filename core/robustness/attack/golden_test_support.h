// The golden models and the test images that their figures are of.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/dataset/dataset.h"
#include "core/robustness/model/classifier.h"
#include "gtest/gtest.h"
#include "tests/shared_data.h"
#include "tests/status_matchers.h"

namespace tightrope {

struct GoldenModel {
  Dataset data;  // the test split
  std::unique_ptr<Classifier> classifier;
};

// `model`: the file's name, "at03.pt"; those that begin with "fashion" are of Fashion-MNIST, the others of MNIST. Skips
// the test that calls it, or fails it, where a file is missing: look at HasFatalFailure and IsSkipped.
inline void LoadGolden(const std::string& model, GoldenModel& golden) {
  TIGHTROPE_NEEDS_SHARED("golden/" + model);
  const bool fashion = model.rfind("fashion", 0) == 0;
  std::vector<std::string> search = {"/usr/share/datasets"};
  if (!fashion) {
    TIGHTROPE_NEEDS_SHARED("data/mnist");
    search = {SharedDirectory() + "/data"};
  } else if (!std::filesystem::exists("/usr/share/datasets/fashion-mnist")) {
    GTEST_SKIP() << "no /usr/share/datasets/fashion-mnist (apt-get install dataset-fashion-mnist)";
  }
  const auto split = ResolveDataset(fashion ? "fashion-mnist" : "mnist", v1::SPLIT_TEST, search);
  ASSERT_OK(split);
  auto data = ParseIdx(split->images, split->labels, split->ref.classes());
  ASSERT_OK(data);
  UseOneThreadPerExecutor();
  auto classifier = LoadTorchScript(SharedDirectory() + "/golden/" + model, split->ref, torch::kCPU);
  ASSERT_OK(classifier);
  golden = {.data = *std::move(data), .classifier = *std::move(classifier)};
}

}  // namespace tightrope
