// What a good experiment file becomes: defaults, grids, names, inputs; and that no text at all can break the reader.
#include "core/experiment/experiment_file.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/artifact/digest.h"
#include "core/experiment/npy_bytes_test_support.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/tiny_dataset.h"

namespace tightrope {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

class ExperimentFileTest : public testing::Test {
 protected:
  ExperimentFile Read(const std::string& text) {
    absl::StatusOr<ExperimentFile> file = data_.Parse(text);
    EXPECT_OK(file);
    return file.ok() ? *std::move(file) : ExperimentFile();
  }

  template <typename Entries>
  static std::vector<std::string> Names(const Entries& entries) {
    std::vector<std::string> names;
    for (const auto& entry : entries) names.push_back(entry.name());
    return names;
  }

  const TinyDatasets data_{50, 20};
};

constexpr char kHead[] = "name: x\ndataset: mnist\n";
constexpr char kModel[] = "models: [{architecture: small_cnn}]\n";
constexpr char kStandard[] = "training: [{method: standard}]\n";

TEST_F(ExperimentFileTest, AbsentKeysGetTheirDefaultsSoThatTheMessageIsExplicit) {
  const ExperimentFile file =
      Read(absl::StrCat(kHead, "models: [{architecture: mlp}]\ntraining: [{method: pgd, norm: linf, epsilon: 0.1}]\n",
                        "attacks: [{method: pgd, norm: l2, epsilon: 2}]\n"));
  const v1::Experiment& experiment = file.experiment;
  EXPECT_EQ(experiment.shard_size(), 250u);
  EXPECT_THAT(experiment.seeds(), ElementsAre(1));
  EXPECT_EQ(experiment.examples().start(), 0u);
  EXPECT_EQ(experiment.examples().count(), 20u);
  EXPECT_THAT(experiment.models(0).architecture().mlp().hidden(), ElementsAre(256, 256));
  const v1::Training& training = experiment.training(0);
  EXPECT_EQ(training.epochs(), 10u);
  EXPECT_EQ(training.batch_size(), 128u);
  EXPECT_EQ(training.optimizer(), v1::OPTIMIZER_ADAM);
  EXPECT_EQ(training.learning_rate(), 0.001);
  EXPECT_EQ(training.schedule(), v1::SCHEDULE_CONSTANT);
  EXPECT_THAT(training.milestones(), IsEmpty());
  EXPECT_EQ(training.decay(), 0.1);
  EXPECT_EQ(training.examples(), 50u);
  EXPECT_EQ(training.pgd().steps(), 10u);
  EXPECT_EQ(training.pgd().step_size(), 2.5 * 0.1 / 10);
  EXPECT_TRUE(training.pgd().random_start());
  EXPECT_EQ(experiment.attacks(0).pgd().steps(), 20u);
  EXPECT_EQ(experiment.attacks(0).pgd().restarts(), 1u);
  // A rule that the attack applies to each radius, so that radii can share a job.
  EXPECT_FALSE(experiment.attacks(0).pgd().has_step_size());
  EXPECT_FALSE(experiment.attacks(0).has_query_budget());
  EXPECT_EQ(experiment.attacks(0).protocol(), v1::RADIUS_PROTOCOL_SHARED);
  EXPECT_EQ(experiment.attacks(0).pgd().loss(), v1::ATTACK_LOSS_CE);
  EXPECT_OK(ValidateExperiment(experiment, file.inputs));
}

TEST_F(ExperimentFileTest, ListsExpandToTheCrossProductWithTheFirstKeySlowest) {
  const ExperimentFile file = Read(absl::StrCat(kHead, kModel, R"(training:
  - method: standard
  - method: pgd
    epochs: [3, 4]
    norm: linf
    epsilon: [0.1, 0.2]
    learning_rate: 1e-3
)"));
  EXPECT_THAT(Names(file.experiment.training()),
              ElementsAre("standard", "pgd epochs=3 epsilon=0.1", "pgd epochs=3 epsilon=0.2",
                          "pgd epochs=4 epsilon=0.1", "pgd epochs=4 epsilon=0.2"));
  EXPECT_EQ(file.experiment.training(2).epochs(), 3u);
  EXPECT_EQ(file.experiment.training(2).pgd().epsilon(), 0.2);
  EXPECT_EQ(file.experiment.training(3).epochs(), 4u);
  EXPECT_EQ(file.experiment.training(3).pgd().step_size(), 2.5 * 0.1 / 10);
}

TEST_F(ExperimentFileTest, OrderOfTheFileDecidesNotTheOrderOfTheSchema) {
  const ExperimentFile file =
      Read(absl::StrCat(kHead, kModel, "training: [{epochs: [3, 4], batch_size: [8, 16], method: standard}]\n"));
  EXPECT_THAT(Names(file.experiment.training()),
              ElementsAre("standard epochs=3 batch_size=8", "standard epochs=3 batch_size=16",
                          "standard epochs=4 batch_size=8", "standard epochs=4 batch_size=16"));
}

TEST_F(ExperimentFileTest, ListAtARepeatedKeyIsTheValueAndAListOfListsSweeps) {
  const ExperimentFile file = Read(absl::StrCat(kHead, kStandard, R"(models:
  - {name: one, architecture: mlp, hidden: [10, 20]}
  - {architecture: mlp, hidden: [[], [10], [10, 20]]}
)"));
  ASSERT_EQ(file.experiment.models_size(), 4);
  EXPECT_THAT(file.experiment.models(0).architecture().mlp().hidden(), ElementsAre(10, 20));
  EXPECT_THAT(file.experiment.models(1).architecture().mlp().hidden(), IsEmpty());
  EXPECT_THAT(Names(file.experiment.models()),
              ElementsAre("one", "mlp hidden=[]", "mlp hidden=[10]", "mlp hidden=[10, 20]"));
}

TEST_F(ExperimentFileTest, KindMayBeWrittenBesideOrInBraces) {
  const ExperimentFile beside = Read(absl::StrCat(kHead, kStandard, "models: [{architecture: mlp, hidden: [7]}]\n"));
  const ExperimentFile braces =
      Read(absl::StrCat(kHead, kStandard, "models: [{architecture: {mlp: {hidden: [7]}}}]\n"));
  EXPECT_TRUE(MessageDifferencer::Equals(beside.experiment, braces.experiment));
}

TEST_F(ExperimentFileTest, SweptKindsTakeTheirOwnKeysInBraces) {
  const ExperimentFile file = Read(absl::StrCat(kHead, R"(models:
  - architecture: [small_cnn, {mlp: {hidden: [[5], [6]]}}, {torchscript: present.pt}]
training:
  - method: [standard, {pgd: {norm: linf, epsilon: [0.1, 8/255]}}]
    epochs: 2
)"));
  EXPECT_THAT(Names(file.experiment.models()), ElementsAre("small_cnn", "mlp hidden=[5]", "mlp hidden=[6]", "present"));
  EXPECT_THAT(Names(file.experiment.training()), ElementsAre("standard", "pgd epsilon=0.1", "pgd epsilon=8/255"));
  EXPECT_EQ(file.experiment.training(2).pgd().epsilon(), 8.0 / 255);
  EXPECT_EQ(file.experiment.training(2).epochs(), 2u);
}

TEST_F(ExperimentFileTest, GivenNameIsFollowedByAllThatIsSwept) {
  const ExperimentFile file = Read(absl::StrCat(kHead, R"(models:
  - {name: net, architecture: [small_cnn, madry_cnn]}
training:
  - {name: strong, method: pgd, norm: [linf, l2], epsilon: 0.1}
)"));
  EXPECT_THAT(Names(file.experiment.models()), ElementsAre("net architecture=small_cnn", "net architecture=madry_cnn"));
  EXPECT_THAT(Names(file.experiment.training()), ElementsAre("strong norm=linf", "strong norm=l2"));
}

TEST_F(ExperimentFileTest, AttackNamesLeaveOutNormAndEpsilonWhichResultsShowBeside) {
  const ExperimentFile file = Read(absl::StrCat(kHead, kModel, kStandard, R"(attacks:
  - {method: pgd, norm: [linf, l2], epsilon: [0.1, 0.2], steps: [5, 10]}
)"));
  EXPECT_EQ(file.experiment.attacks_size(), 8);
  EXPECT_EQ(file.experiment.attacks(0).name(), "pgd steps=5");
  EXPECT_EQ(file.experiment.attacks(7).name(), "pgd steps=10");
}

TEST_F(ExperimentFileTest, ListOfOneKeepsItsKeyInTheNameSoThatAddingAValueRenamesNothing) {
  const ExperimentFile file =
      Read(absl::StrCat(kHead, kModel, "training: [{method: pgd, norm: linf, epsilon: [0.1]}]\n"));
  EXPECT_THAT(Names(file.experiment.training()), ElementsAre("pgd epsilon=0.1"));
}

TEST_F(ExperimentFileTest, AliasesRepeatWhatTheyName) {
  const ExperimentFile file = Read(absl::StrCat(kHead, kModel, R"(training:
  - {method: pgd, norm: linf, epsilon: &radii [0.1, 0.2]}
attacks:
  - {method: pgd, norm: linf, epsilon: *radii}
)"));
  EXPECT_EQ(file.experiment.training_size(), 2);
  EXPECT_EQ(file.experiment.attacks_size(), 2);
}

TEST_F(ExperimentFileTest, InputsAndUploadsNameTheSameBytes) {
  const ExperimentFile file = Read(absl::StrCat(
      kHead, kStandard, "models: [{architecture: small_cnn}, {architecture: {torchscript: present.pt}}]\n"));
  EXPECT_EQ(file.inputs.test().count(), 20u);
  EXPECT_EQ(file.inputs.train().count(), 50u);
  const std::string& model = file.inputs.file_sha256().at("present.pt");
  std::vector<std::string> uploads;
  for (const ExperimentFile::Upload& upload : file.uploads) {
    uploads.push_back(upload.sha256);
    if (upload.path.empty()) {
      EXPECT_EQ(upload.sha256, Sha256(upload.bytes));
    }
  }
  EXPECT_THAT(uploads,
              UnorderedElementsAre(file.inputs.test().images_sha256(), file.inputs.test().labels_sha256(),
                                   file.inputs.train().images_sha256(), file.inputs.train().labels_sha256(), model));
  EXPECT_EQ(model, *Sha256OfFile((data_.directory() / "present.pt").string()));
}

TEST_F(ExperimentFileTest, NothingTrainedNeedsNoTrainingData) {
  const ExperimentFile file = Read(absl::StrCat(kHead, "models: [{architecture: {torchscript: present.pt}}]\n"));
  EXPECT_FALSE(file.inputs.has_train());
  EXPECT_EQ(file.uploads.size(), 3u);
}

TEST_F(ExperimentFileTest, NegativeZeroIsZeroSoThatItIsTheSameExperiment) {
  const std::string before = absl::StrCat(kHead, kModel, kStandard, "attacks: [{method: fgsm, norm: linf, epsilon: ");
  EXPECT_EQ(Read(before + "-0.0}]\n").experiment.SerializeAsString(),
            Read(before + "0}]\n").experiment.SerializeAsString());
}

// Messages that a stranger may send.

TEST_F(ExperimentFileTest, WhatTheReaderAcceptsValidates) {
  const ExperimentFile file = Read(absl::StrCat(kHead, kModel, kStandard));
  EXPECT_OK(ValidateExperiment(file.experiment, file.inputs));
}

TEST_F(ExperimentFileTest, EmptyMessageIsRefusedByFieldPath) {
  EXPECT_THAT(ValidateExperiment({}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("dataset: `dataset` is text"),
                             HasSubstr("models: an experiment has `models`, or what needs none"),
                             HasSubstr("inputs.test.images_sha256: not a SHA-256 digest"))));
}

TEST_F(ExperimentFileTest, MessagesFromTheNetworkObeyTheRulesOfTheFile) {
  const ExperimentFile good = Read(absl::StrCat(
      kHead, kModel,
      "training: [{method: pgd, norm: linf, epsilon: 0.1}]\nattacks: [{method: pgd, norm: l2, epsilon: 1}]\n"));
  struct Case {
    std::function<void(v1::Experiment&, v1::Inputs&)> change;
    std::string told;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Case> cases = {
      {[](v1::Experiment& e, v1::Inputs&) { e.set_name("a b"); }, "name: `name` is letters, digits"},
      {[](v1::Experiment& e, v1::Inputs&) { e.set_shard_size(0); },
       "shard_size: `shard_size` is a whole number, 1 to 100000; `0` is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.add_seeds(1); }, "seeds[1]: seed 1 is given twice; keep one"},
      {[](v1::Experiment& e, v1::Inputs&) { e.clear_seeds(); }, "seeds: `seeds` is an empty list"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_examples()->set_start(~uint64_t{0}); },
       "`start` is beyond the data"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_examples()->set_count(~uint64_t{0}); },
       "`count` is beyond the data"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_models(0)->clear_architecture(); },
       "models[0].architecture: `architecture` is required: one of mlp"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_training(0)->clear_method(); },
       "training[0].method: `method` is required: one of standard, pgd"},
      {[&](v1::Experiment& e, v1::Inputs&) { e.mutable_training(0)->mutable_pgd()->set_epsilon(nan); },
       "training[0].pgd.epsilon: `epsilon` is a number, 0 or more; `nan` is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_training(0)->mutable_pgd()->set_epsilon(2); },
       "training[0].pgd.epsilon: `epsilon` of linf is 0 to 1"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_attacks(0)->set_epsilon(1e300); },
       "attacks[0].epsilon: `epsilon` of l2 is 0 to 28"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_attacks(0)->set_norm(static_cast<v1::Norm>(77)); },
       "attacks[0].norm: `norm` is one of linf, l2, l1, l0, spatial; number 77 is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_attacks(0)->mutable_pgd()->set_step_size(0); },
       "attacks[0].pgd.step_size: `step_size` is above 0"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_attacks(0)->set_query_budget(0); },
       "attacks[0].query_budget: `query_budget` is a whole number, 1 or more; `0` is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_attacks(0)->clear_protocol(); },
       "attacks[0].protocol: `protocol` is one of shared, independent; number 0 is not"},
      {[](v1::Experiment& e, v1::Inputs&) {
         v1::AutoAttack& attack = *e.mutable_attacks(0)->mutable_autoattack();
         attack.set_version(v1::AUTO_ATTACK_VERSION_STANDARD);
         attack.add_components(static_cast<v1::AutoAttackComponent>(99));
       },
       "attacks[0].autoattack.components[0]: `components` is a list of apgd_ce, apgd_dlr, apgd_t, fab, fab_t, square; "
       "number 99 is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_training(0)->set_momentum(0.5); }, "`momentum` applies to"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_training(0)->set_examples(51); }, "has 50 examples; 51 is more"},
      {[](v1::Experiment& e, v1::Inputs&) { e.clear_training(); }, "this model has to be trained"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_attacks(0)->set_name("a\nb"); }, "a `name` is one line"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_models(0)->mutable_architecture()->set_torchscript("m.pt"); },
       "models[0].architecture.torchscript: the inputs have no digest of this file"},
      {[](v1::Experiment&, v1::Inputs& i) { i.mutable_test()->set_images_sha256("../../etc/passwd"); },
       "inputs.test.images_sha256: not a SHA-256 digest"},
      {[](v1::Experiment&, v1::Inputs& i) { i.clear_train(); }, "inputs.train.count: there are no examples"},
      {[](v1::Experiment&, v1::Inputs& i) { i.mutable_train()->set_channels(3); }, "splits differ in the shape"},
      {[](v1::Experiment&, v1::Inputs& i) { i.mutable_test()->set_height(~uint32_t{0}); }, "inputs have 1 to"},
      {[](v1::Experiment&, v1::Inputs& i) { i.mutable_test()->set_classes(1); }, "a classifier has 2 to 65536 classes"},
      {[](v1::Experiment& e, v1::Inputs&) {
         for (int n = 0; n < 10'001; ++n) e.add_attacks();
       },
       "attacks: `attacks` has more than 10000 entries"},
      {[](v1::Experiment& e, v1::Inputs&) {  // values that the schema does not know, in a list that is not looked into
         for (int n = 0; n < 10'001; ++n) e.add_training()->set_schedule(static_cast<v1::Schedule>(99));
       },
       "training: `training` has more than 10000 entries"},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.told);
    v1::Experiment experiment = good.experiment;
    v1::Inputs inputs = good.inputs;
    broken.change(experiment, inputs);
    EXPECT_THAT(ValidateExperiment(experiment, inputs),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(broken.told)));
  }
}

TEST_F(ExperimentFileTest, FewClassesRefuseTheLossesThatDivideByLogitsThatAreNotThere) {
  const ExperimentFile good =
      Read(absl::StrCat(kHead, kModel, kStandard, "attacks: [{method: pgd, norm: linf, epsilon: 0.1}]\n"));
  const auto told = [&](uint32_t classes, const std::function<void(v1::Attack&)>& change) {
    v1::Experiment experiment = good.experiment;
    v1::Inputs inputs = good.inputs;
    inputs.mutable_test()->set_classes(classes);
    inputs.mutable_train()->set_classes(classes);
    change(*experiment.mutable_attacks(0));
    return std::string(ValidateExperiment(experiment, inputs).message());
  };
  const auto pgd_dlr = [](v1::Attack& attack) { attack.mutable_pgd()->set_loss(v1::ATTACK_LOSS_DLR); };
  EXPECT_EQ(told(3, pgd_dlr), "");
  EXPECT_EQ(told(2, pgd_dlr),
            "attacks[0].pgd.loss: `loss: dlr` needs 3 classes or more, and the data have 2; write `loss: ce`");
  const auto targeted = [](v1::Attack& attack) {
    v1::ApgdAttack& apgd = *attack.mutable_apgd();
    apgd.set_loss(v1::ATTACK_LOSS_DLR);
    apgd.set_targets(2);
    apgd.set_steps(100);
    apgd.set_restarts(1);
    apgd.set_eot(1);
  };
  EXPECT_EQ(told(4, targeted), "");
  EXPECT_EQ(
      told(3, targeted),
      "attacks[0].apgd.loss: targeted `loss: dlr` needs 4 classes or more, and the data have 3; write `loss: ce`");
  const auto ensemble = [](v1::Attack& attack) {
    attack.mutable_autoattack()->set_version(v1::AUTO_ATTACK_VERSION_STANDARD);
  };
  EXPECT_EQ(told(4, ensemble), "");
  EXPECT_EQ(
      told(3, ensemble),
      "attacks[0].autoattack.version: autoattack runs apgd_t here, which needs 4 classes or more, and the data have "
      "3; write `components: [apgd_ce, fab, square]`");
  EXPECT_EQ(told(2,
                 [&](v1::Attack& attack) {
                   ensemble(attack);
                   attack.mutable_autoattack()->add_components(v1::AUTO_ATTACK_COMPONENT_APGD_CE);
                   attack.mutable_autoattack()->add_components(v1::AUTO_ATTACK_COMPONENT_FAB);
                   attack.mutable_autoattack()->add_components(v1::AUTO_ATTACK_COMPONENT_SQUARE);
                 }),
            "");
}

// Ten thousand damaged copies of a file that uses all of the syntax: whatever they say, the reader answers.
TEST_F(ExperimentFileTest, NoMutationCrashesOrHangsTheReader) {
  const std::string seed_text = R"(# comment
name: fuzz
dataset: mnist
examples: {start: 0, count: 10}
seeds: [1, 2]
models:
  - architecture: small_cnn
  - {name: "wide", architecture: mlp, hidden: [[10], [20, 30]]}
  - architecture: {torchscript: present.pt}
training:
  - method: &m standard
    epochs: 3
  - method: pgd
    norm: linf
    epsilon: &eps [0.1, 8/255]
    schedule: step
    milestones: [3, 5]
    random_start: true
attacks:
  - method: pgd
    norm: [linf, l2]
    epsilon: *eps
    steps: [5, 10]
  - {method: fgsm, norm: linf, epsilon: 0.1}
alignment:
  - {norm: [l2, l0], radii: [[1, 2.5], []], split: test}
invariance:
  - {method: linf, epsilon: 0.3, targets: "0: 4 6, 1: 7", oracle: [dataset, {nearest: {first: 40}}]}
  - {method: file, path: examples.npy, white: 255, sources: sources.npy, oracle: {labels: labels.csv}}
shard_size: 5
)";
  WriteFile(data_.directory() / "examples.npy", NpyExamples<float>("<f4", 2, 254.5f));
  WriteFile(data_.directory() / "sources.npy", NpyBytes<int64_t>("<i8", {2}, {3, 7}));
  WriteFile(data_.directory() / "labels.csv", "index,ann,bob\n0,1,2\n1,,none\n");
  ASSERT_OK(data_.Parse(seed_text));
  // Without data on disk most of the time goes to the reader itself, not to digests.
  const ReadOptions nowhere = {.dataset_search_path = {}};
  const std::vector<std::string> pieces = {
      "[",  "]",     "{",    "}",  ":",    ": ",   "- ",   "\n",   "&a ",  "*a",           "*eps",
      "!!", "\"",    "'",    "#",  "|",    ">",    "%",    "? ",   "---",  "...",          "~",
      "-1", "1e999", ".inf", "\t", "\xff", "\r\n", "<<: ", "null", "0x10", "\xef\xbb\xbf", "\xf0\x9f\x98\x80"};
  std::mt19937 random(20'240'607);  // NOLINT: the same mutations in every run
  const auto below = [&](size_t bound) { return static_cast<size_t>(random()) % bound; };
  int accepted = 0;
  for (int round = 0; round < 10'000; ++round) {
    std::string text = seed_text;
    const size_t changes = 1 + below(6);
    for (size_t i = 0; i < changes; ++i) {
      const size_t at = below(text.size() + 1);
      const size_t length = std::min(text.size() - at, below(12));
      switch (below(5)) {
        case 0:
          text.erase(at, length);
          break;
        case 1:
          text.insert(at, pieces[below(pieces.size())]);
          break;
        case 2:
          text.insert(at, text.substr(below(text.size() + 1), below(40)));
          break;
        case 3:
          if (at < text.size()) text[at] = static_cast<char>(random());
          break;
        default:
          text.resize(std::max<size_t>(at, 1));
          break;
      }
    }
    const absl::StatusOr<ExperimentFile> file =
        round % 10 == 0 ? data_.Parse(text) : ParseExperimentFile(text, "fuzz.yaml", nowhere);
    if (file.ok()) {
      ++accepted;
    } else {
      ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << text;
      ASSERT_THAT(std::string(file.status().message()), Not(IsEmpty())) << text;
    }
  }
  EXPECT_GT(accepted, 0);  // the mutations are not all so coarse that only the YAML parser is tested
}

}  // namespace
}  // namespace tightrope
