// Data sets small enough to write into a temporary directory, so that no test needs an installed one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "core/experiment/experiment_file.h"
#include "tests/idx_bytes.h"
#include "tests/temporary_directory.h"

namespace tightrope {

inline void WriteFile(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

// A directory with the data sets mnist and fashion-mnist (28×28, ten classes) and a file present.pt, for as long as
// this object lives.
class TinyDatasets {
 public:
  TinyDatasets(uint32_t train_count, uint32_t test_count) {
    for (const char* name : {"mnist", "fashion-mnist"}) {
      WriteSplit(name, "train", train_count);
      WriteSplit(name, "t10k", test_count);
    }
    WriteFile(directory_ / "present.pt", "not opened by any test");
  }

  const std::filesystem::path& directory() const { return directory_; }

  // Parses `text` as DIRECTORY/experiment.yaml.
  absl::StatusOr<ExperimentFile> Parse(const std::string& text) const {
    return ParseExperimentFile(text, (directory_ / "experiment.yaml").string(),
                               {.dataset_search_path = {directory_.string()}});
  }

 private:
  void WriteSplit(const std::string& name, const std::string& split, uint32_t count) const {
    std::string pixels;
    std::string labels;
    for (uint32_t i = 0; i < count; ++i) {
      pixels.append(28 * 28, static_cast<char>(i % 251));
      labels += static_cast<char>(i % 10);
    }
    WriteFile(directory_ / name / (split + "-images-idx3-ubyte"), IdxImageBytes(count, 28, 28, pixels));
    WriteFile(directory_ / name / (split + "-labels-idx1-ubyte"), IdxLabelBytes(labels));
  }

  const TemporaryDirectory root_;
  const std::filesystem::path directory_ = root_.path();
};

}  // namespace tightrope
