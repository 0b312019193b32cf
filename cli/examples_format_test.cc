#include "cli/examples_format.h"

#include <sstream>

#include "cli/artifact_names.h"
#include "gtest/gtest.h"

namespace tightrope {
namespace {

v1::ExportedExamples Job(const std::string& training, const std::string& attack, double epsilon) {
  v1::ExportedExamples job;
  job.set_experiment("quick");
  job.mutable_cell()->set_model("mlp");
  job.mutable_cell()->set_training(training);
  job.mutable_cell()->set_seed(1);
  job.mutable_cell()->set_attack(attack);
  if (!attack.empty()) {
    job.mutable_attack()->set_norm(v1::NORM_LINF);
    job.mutable_cell()->set_epsilon(epsilon);
  }
  return job;
}

void AddBroken(v1::ExportedExamples& job, uint64_t index, int prediction, double distance, uint64_t passes) {
  v1::ExampleRecord& record = *job.add_records();
  record.set_index(index);
  record.set_label(3);
  record.set_clean_prediction(3);
  record.set_verdict(v1::VERDICT_BROKEN);
  record.set_adversarial_prediction(prediction);
  record.set_distance(distance);
  record.set_forward_passes(passes);
}

void AddUndecided(v1::ExportedExamples& job, uint64_t index, uint64_t passes) {
  v1::ExampleRecord& record = *job.add_records();
  record.set_index(index);
  record.set_label(3);
  record.set_clean_prediction(3);
  record.set_verdict(v1::VERDICT_UNDECIDED);
  record.set_adversarial_prediction(-1);
  record.set_forward_passes(passes);
}

std::string Written(const std::vector<v1::ExportedExamples>& jobs) {
  std::ostringstream out;
  RecordWriter writer(out, RecordFormat::kCsv, ExampleColumns());
  ExampleRows rows(writer);
  for (const v1::ExportedExamples& job : jobs) rows.Add(job);
  rows.Finish();
  writer.Finish();
  const std::string text = out.str();
  return text.substr(text.find('\n') + 1);
}

TEST(ExamplesFormatTest, AttacksUnderOneThreatModelAreOneRowAnExample) {
  v1::ExportedExamples clean = Job("pgd", "", 0), fgsm = Job("pgd", "fgsm", 0.1), pgd = Job("pgd", "pgd", 0.1),
                       wider = Job("pgd", "pgd", 0.2);
  clean.add_records()->set_index(5);
  AddBroken(fgsm, 5, 7, 0.1, 2);
  AddUndecided(fgsm, 6, 2);
  AddUndecided(fgsm, 7, 2);
  AddBroken(pgd, 5, 8, 0.0625, 9);
  AddBroken(pgd, 6, 8, 0.1, 21);
  AddUndecided(pgd, 7, 21);
  AddBroken(wider, 5, 1, 0.2, 3);
  EXPECT_EQ(Written({clean, fgsm, pgd, wider}),
            "quick,mlp,pgd,1,linf,0.1,5,3,3,broken,8,0.0625,pgd,,11,,,,,,,,,,\n"
            "quick,mlp,pgd,1,linf,0.1,6,3,3,broken,8,0.1,pgd,,23,,,,,,,,,,\n"
            "quick,mlp,pgd,1,linf,0.1,7,3,3,undecided,,,fgsm + pgd,,23,,,,,,,,,,\n"
            "quick,mlp,pgd,1,linf,0.2,5,3,3,broken,1,0.2,pgd,,3,,,,,,,,,,\n");
}

TEST(ExamplesFormatTest, RowSaysWhatBrokeTheExampleAndHowNearTheModelWasSeenToBeWrong) {
  v1::ExportedExamples fgsm = Job("pgd", "fgsm", 0.1), ensemble = Job("pgd", "autoattack", 0.1);
  AddUndecided(fgsm, 5, 2);
  fgsm.mutable_records(0)->mutable_nearest()->set_linf(0.5);
  fgsm.mutable_records(0)->mutable_nearest()->set_l2(4);
  fgsm.mutable_records(0)->mutable_nearest()->set_l1(2);
  fgsm.mutable_records(0)->mutable_nearest()->set_l0(3);
  AddBroken(ensemble, 5, 8, 0.0625, 9);
  ensemble.mutable_records(0)->set_broken_by("apgd_t");
  ensemble.mutable_records(0)->set_first_success(7);
  ensemble.mutable_records(0)->mutable_nearest()->set_linf(0.0625);
  ensemble.mutable_records(0)->mutable_nearest()->set_l2(1.5);
  ensemble.mutable_records(0)->mutable_nearest()->set_l1(20);
  ensemble.mutable_records(0)->mutable_nearest()->set_l0(400);
  EXPECT_EQ(Written({fgsm, ensemble}),
            "quick,mlp,pgd,1,linf,0.1,5,3,3,broken,8,0.0625,autoattack,,11,apgd_t,7,0.0625,1.5,2,3,,,,\n");
}

TEST(ExamplesFormatTest, ShardsThatArriveOutOfOrderAreSorted) {
  v1::ExportedExamples later = Job("pgd", "pgd", 0.1), earlier = Job("pgd", "pgd", 0.1);
  AddUndecided(later, 30, 1);
  AddUndecided(earlier, 4, 1);
  EXPECT_EQ(Written({later, earlier}),
            "quick,mlp,pgd,1,linf,0.1,4,3,3,undecided,,,pgd,,1,,,,,,,,,,\n"
            "quick,mlp,pgd,1,linf,0.1,30,3,3,undecided,,,pgd,,1,,,,,,,,,,\n");
}

TEST(ExamplesFormatTest, ModelThatNothingAttacksHasRowsWithoutAThreatModel) {
  v1::ExportedExamples clean = Job("standard", "", 0), attacked = Job("pgd", "pgd", 0.1);
  v1::ExampleRecord& record = *clean.add_records();
  record.set_index(2);
  record.set_label(1);
  record.set_clean_prediction(9);
  record.set_forward_passes(1);
  AddUndecided(attacked, 2, 1);
  EXPECT_EQ(Written({clean, attacked}),
            "quick,mlp,standard,1,,,2,1,9,,,,,,1,,,,,,,,,,\n"
            "quick,mlp,pgd,1,linf,0.1,2,3,3,undecided,,,pgd,,1,,,,,,,,,,\n");
}

TEST(ExamplesFormatTest, SetHasRowsOfItsOwn_OfEachModelAndOfItsMaking) {
  v1::ExportedExamples attacked = Job("pgd", "pgd", 0.1), evaluated = Job("pgd", "", 0), made = Job("", "", 0);
  AddUndecided(attacked, 5, 1);
  v1::ExampleRecord& seen = *evaluated.add_records();
  evaluated.mutable_cell()->set_invariance("l0, ours");
  seen.set_index(0);
  seen.set_source(159);
  seen.set_label(3);
  seen.set_clean_prediction(3);
  seen.set_adversarial_prediction(-1);
  seen.set_oracle_label(-3);
  seen.set_forward_passes(2);
  seen.mutable_nearest()->set_l0(25);
  made.mutable_cell()->clear_model();
  made.mutable_cell()->set_invariance("l0, ours");
  v1::ExampleRecord& record = *made.add_records();
  record.set_index(0);
  record.set_source(159);
  record.set_label(3);
  record.set_target(8);
  record.mutable_nearest()->set_l0(25);
  EXPECT_EQ(Written({attacked, evaluated, made}),
            "quick,mlp,pgd,1,linf,0.1,5,3,3,undecided,,,pgd,,1,,,,,,,,,,\n"
            "quick,mlp,pgd,1,,,0,3,3,,-1,,,,2,,,0,0,0,25,\"l0, ours\",159,,-3\n"
            "quick,,,1,,,0,3,,,,,,,,,,0,0,0,25,\"l0, ours\",159,8,\n");
}

v1::ExportArtifactsResponse Artifact(const std::string& role) {
  v1::ExportArtifactsResponse artifact;
  artifact.set_experiment("quick");
  artifact.mutable_cell()->set_model("small_cnn");
  artifact.mutable_cell()->set_training("pgd epsilon=0.1");
  artifact.mutable_cell()->set_seed(2);
  artifact.mutable_cell()->set_attack("pgd");
  artifact.mutable_cell()->set_job_digest("0123456789abcdef");
  artifact.set_shard(4);
  artifact.mutable_artifact()->set_role(role);
  return artifact;
}

TEST(ArtifactNamesTest, NamesSayWhatTheFileIs) {
  EXPECT_EQ(ArtifactFileName(Artifact("weights"), "", false), "small_cnn-pgd_epsilon=0.1-seed2.safetensors");
  EXPECT_EQ(ArtifactFileName(Artifact("witnesses"), "linf-0.1", false),
            "small_cnn-pgd_epsilon=0.1-seed2-pgd-linf-0.1-shard004.npy");
  EXPECT_EQ(ArtifactFileName(Artifact("witnesses"), "linf-0.1-to-0.4", false),
            "small_cnn-pgd_epsilon=0.1-seed2-pgd-linf-0.1-to-0.4-shard004.npy");
  EXPECT_EQ(ArtifactFileName(Artifact("witnesses"), "", true),
            "quick/small_cnn-pgd_epsilon=0.1-seed2-pgd-01234567-shard004.npy");
}

TEST(ArtifactNamesTest, ExamplesOfASetAreNamedAfterIt) {
  v1::ExportArtifactsResponse artifact = Artifact("examples");
  artifact.mutable_cell()->clear_model();
  artifact.mutable_cell()->clear_training();
  artifact.mutable_cell()->clear_attack();
  artifact.mutable_cell()->set_invariance("made here, l0");
  EXPECT_EQ(ArtifactFileName(artifact, "", false), "made_here__l0-seed2-examples-shard004.npy");
  EXPECT_EQ(ArtifactFileName(artifact, "", true), "quick/made_here__l0-seed2-examples-shard004.npy");
}

TEST(ArtifactNamesTest, NoNameLeadsOutOfTheDirectory) {
  v1::ExportArtifactsResponse artifact = Artifact("weights");
  artifact.set_experiment("..");
  artifact.mutable_cell()->set_model("../../etc/passwd");
  EXPECT_EQ(ArtifactFileName(artifact, "", true), "_./_._.._etc_passwd-pgd_epsilon=0.1-seed2.safetensors");
}

}  // namespace
}  // namespace tightrope
