#include "cli/artifact_names.h"

#include <string>

#include "gtest/gtest.h"

namespace tightrope {
namespace {

TEST(ArtifactNamesTest, NamesOfAnyLengthFitAFileSystemAndStayApart) {
  v1::ExportArtifactsResponse artifact;
  v1::Cell& cell = *artifact.mutable_cell();
  cell.set_model(std::string(200, 'm'));
  cell.set_training(std::string(198, 't') + "\u00e4");
  cell.set_attack(std::string(200, 'a'));
  cell.set_seed(9'007'199'254'740'991);
  artifact.set_shard(10'000'000);
  artifact.mutable_artifact()->set_role("witnesses");
  const std::string name = ArtifactFileName(artifact, "linf-1.2345678901234567e-100", /*with_experiment=*/false);
  const std::string longest_addition = "0123456789ab-.partial";
  EXPECT_LE(name.size() + longest_addition.size(), 255u) << name;
  cell.set_training(std::string(198, 't') + "\u00f6");
  EXPECT_NE(ArtifactFileName(artifact, "linf-1.2345678901234567e-100", false), name);
  cell.set_model("small_cnn");
  cell.set_training("pgd epsilon=0.1 epochs=20 optimizer=sgd steps=10");
  cell.set_seed(1);
  artifact.mutable_artifact()->set_role("weights");
  EXPECT_EQ(ArtifactFileName(artifact, "", false),
            "small_cnn-pgd_epsilon=0.1_epochs=20_optimizer=sgd_steps=10-seed1.safetensors");
}

}  // namespace
}  // namespace tightrope
