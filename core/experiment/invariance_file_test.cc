// What `alignment` and `invariance` of an experiment file become: defaults, grids, names, files; and what strangers may
// send in their place.
#include <algorithm>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/artifact/digest.h"
#include "core/experiment/example_array.h"
#include "core/experiment/experiment_file.h"
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
using testing::UnorderedElementsAre;

constexpr char kHead[] = "name: x\ndataset: mnist\n";
constexpr char kFile[] = "models: [{architecture: {torchscript: present.pt}}]\n";

class InvarianceFileTest : public testing::Test {
 protected:
  InvarianceFileTest() {
    WriteFile(data_.directory() / "set/bytes.npy", NpyExamples<uint8_t>("|u1", 3, 51));
    WriteFile(data_.directory() / "set/floats.npy", NpyExamples<float>("<f4", 3, 51));
    WriteFile(data_.directory() / "set/other.npy", NpyExamples<float>("<f4", 20, 0.5f));
    WriteFile(data_.directory() / "set/sources.npy", NpyBytes<int32_t>("<i4", {3}, {19, 0, 4}));
    WriteFile(data_.directory() / "set/labels.csv", "index,ann,bob\n0,1,1\n1,none,2\n2,3,3\n");
    WriteFile(data_.directory() / "set/judge.pt", "another model");
  }

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

  static std::vector<std::string> Digests(const ExperimentFile& file) {
    std::vector<std::string> digests;
    for (const ExperimentFile::Upload& upload : file.uploads) {
      digests.push_back(upload.sha256);
      if (upload.path.empty()) {
        EXPECT_EQ(upload.sha256, Sha256(upload.bytes));
      } else {
        EXPECT_EQ(upload.sha256, *Sha256OfFile(upload.path));
      }
    }
    return digests;
  }

  const TinyDatasets data_{50, 20};
};

TEST_F(InvarianceFileTest, AlignmentAloneIsAnExperiment_WithAllDefaultsFilledIn) {
  const ExperimentFile file = Read(absl::StrCat(kHead, "alignment: [{norm: l2}, {norm: linf, split: test}]\n"));
  ASSERT_EQ(file.experiment.alignment_size(), 2);
  const v1::Alignment& l2 = file.experiment.alignment(0);
  EXPECT_EQ(l2.name(), "l2");
  EXPECT_EQ(l2.split(), v1::SPLIT_TRAIN);
  EXPECT_EQ(l2.anchors(), 50u);
  EXPECT_EQ(l2.threshold(), 0u);
  EXPECT_THAT(l2.radii(), IsEmpty());
  EXPECT_EQ(l2.most_misaligned(), 20u);
  EXPECT_EQ(l2.shard_size(), 1000u);
  EXPECT_EQ(file.experiment.alignment(1).anchors(), 20u);
  EXPECT_TRUE(file.inputs.has_train());
}

TEST_F(InvarianceFileTest, AlignmentOfTheTestSplitNeedsNoTrainingData) {
  EXPECT_FALSE(Read(absl::StrCat(kHead, "alignment: [{norm: l2, split: test}]\n")).inputs.has_train());
}

TEST_F(InvarianceFileTest, ListOfRadiiIsTheValue_AndAListOfListsSweeps) {
  const ExperimentFile file = Read(absl::StrCat(kHead, R"(alignment:
  - {norm: l2, radii: [1, 1/2, 2.5]}
  - {name: swept, norm: l1, radii: [[], [3]]}
)"));
  ASSERT_EQ(file.experiment.alignment_size(), 3);
  EXPECT_THAT(file.experiment.alignment(0).radii(), ElementsAre(1, 0.5, 2.5));
  EXPECT_THAT(file.experiment.alignment(2).radii(), ElementsAre(3));
  EXPECT_THAT(Names(file.experiment.alignment()), ElementsAre("l2", "swept radii=[]", "swept radii=[3]"));
}

TEST_F(InvarianceFileTest, NamesSayWhatWasSwept_ButNotTwice) {
  const ExperimentFile file = Read(absl::StrCat(kHead, R"(alignment:
  - {norm: [linf, l0], split: [train, test]}
  - {name: given, norm: [linf, l2]}
)"));
  EXPECT_THAT(Names(file.experiment.alignment()), ElementsAre("linf split=train", "linf split=test", "l0 split=train",
                                                              "l0 split=test", "given norm=linf", "given norm=l2"));
}

TEST_F(InvarianceFileTest, SetsAreNamedAfterTheirMethodOrFile_ThenAfterWhatWasSwept) {
  const ExperimentFile file = Read(absl::StrCat(kHead, kFile, R"(invariance:
  - {method: linf, epsilon: [0.3, 0.4], oracle: dataset}
  - method: [l0, {interpolate: {norm: l2, epsilon: 2}}]
    oracle: [nearest, {model: set/judge.pt}]
  - {method: file, path: [set/bytes.npy, set/floats.npy], white: 255, sources: set/sources.npy, oracle: dataset}
  - {name: given, method: {file: {path: set/bytes.npy}}, sources: set/sources.npy, oracle: {labels: [set/labels.csv]}}
)"));
  EXPECT_THAT(Names(file.experiment.invariance()),
              ElementsAre("linf epsilon=0.3", "linf epsilon=0.4", "l0 oracle=nearest", "l0 model=set/judge.pt",
                          "interpolate oracle=nearest", "interpolate model=set/judge.pt", "bytes", "floats",
                          "given labels=set/labels.csv"));
}

TEST_F(InvarianceFileTest, DefaultsOfSetsAreFilledIn) {
  const ExperimentFile file = Read(absl::StrCat(kHead, R"(invariance:
  - {method: linf, epsilon: 0.3, oracle: dataset}
  - {method: l0, oracle: nearest, candidates: 40}
  - {method: interpolate, norm: l1, epsilon: 20, oracle: nearest, first: 40, neighbours: 5}
)"));
  ASSERT_EQ(file.experiment.invariance_size(), 3);
  const v1::InvarianceSet& first = file.experiment.invariance(0);
  const v1::LinfInvariance& linf = first.linf();
  EXPECT_EQ(linf.epsilon(), 0.3);
  EXPECT_EQ(linf.targets(), "all");
  EXPECT_EQ(linf.form(), v1::INVARIANCE_FORM_CORRECTED);
  EXPECT_EQ(linf.max_shift(), 3);
  EXPECT_EQ(linf.shifts(), 5u);
  EXPECT_EQ(linf.max_rotation(), 30);
  EXPECT_EQ(linf.rotations(), 31u);
  EXPECT_EQ(linf.candidates(), 50u);
  EXPECT_TRUE(first.oracle().has_dataset());
  EXPECT_FALSE(first.has_sources());
  EXPECT_EQ(first.shard_size(), 50u);
  const v1::InvarianceSet& second = file.experiment.invariance(1);
  EXPECT_EQ(second.l0().transforms(), 1000u);
  EXPECT_EQ(second.l0().groups(), 8u);
  EXPECT_EQ(second.l0().candidates(), 40u);
  EXPECT_EQ(second.oracle().nearest().neighbours(), 1u);
  EXPECT_EQ(second.oracle().nearest().first(), 0u);
  const v1::InvarianceSet& third = file.experiment.invariance(2);
  EXPECT_EQ(third.interpolate().path(), v1::INTERPOLATION_PATH_STRAIGHT);
  EXPECT_EQ(third.interpolate().candidates(), 50u);
  EXPECT_EQ(third.oracle().nearest().neighbours(), 5u);
  EXPECT_EQ(third.oracle().nearest().first(), 40u);
  EXPECT_TRUE(file.inputs.has_train());
}

TEST_F(InvarianceFileTest, BothKindsMayBeWrittenBesideOrInBraces) {
  const ExperimentFile beside =
      Read(absl::StrCat(kHead, "invariance: [{method: linf, epsilon: 0.3, oracle: nearest, neighbours: 3}]\n"));
  const ExperimentFile braces =
      Read(absl::StrCat(kHead, "invariance: [{oracle: {nearest: {neighbours: 3}}, method: {linf: {epsilon: 0.3}}}]\n"));
  EXPECT_TRUE(MessageDifferencer::Equals(beside.experiment, braces.experiment));
}

TEST_F(InvarianceFileTest, FilesOfASetAreUploadedInTheFormThatWorkersRead) {
  const ExperimentFile file = Read(absl::StrCat(kHead, kFile, R"(invariance:
  - {method: file, path: set/bytes.npy, sources: set/sources.npy, oracle: {labels: set/labels.csv}}
  - {method: file, path: set/other.npy, oracle: {model: set/judge.pt}}
)"));
  const auto bytes = ParseExamples(NpyExamples<uint8_t>("|u1", 3, 51), std::nullopt, nullptr);
  const auto other = ParseExamples(NpyExamples<float>("<f4", 20, 0.5f), std::nullopt, nullptr);
  const auto sources = ParseIndices(NpyBytes<int32_t>("<i4", {3}, {19, 0, 4}), nullptr);
  ASSERT_OK(bytes);
  ASSERT_OK(other);
  ASSERT_OK(sources);
  EXPECT_EQ(file.inputs.arrays().at("set/bytes.npy").sha256(), Sha256(bytes->npy));
  EXPECT_EQ(file.inputs.arrays().at("set/bytes.npy").count(), 3u);
  EXPECT_EQ(file.inputs.arrays().at("set/other.npy").sha256(), Sha256(other->npy));
  EXPECT_EQ(file.inputs.arrays().at("set/sources.npy").sha256(), Sha256(sources->npy));
  EXPECT_EQ(file.inputs.arrays().at("set/sources.npy").count(), 3u);
  EXPECT_EQ(file.inputs.file_sha256().at("set/judge.pt"), Sha256("another model"));
  EXPECT_EQ(file.experiment.invariance(0).file().white(), 255);
  EXPECT_EQ(file.experiment.invariance(1).file().white(), 1);
  // Nothing is made here, and no oracle looks at neighbours.
  EXPECT_FALSE(file.inputs.has_train());
  EXPECT_THAT(Digests(file),
              UnorderedElementsAre(file.inputs.test().images_sha256(), file.inputs.test().labels_sha256(),
                                   file.inputs.file_sha256().at("present.pt"), Sha256("another model"),
                                   file.inputs.file_sha256().at("set/labels.csv"), Sha256(bytes->npy),
                                   Sha256(other->npy), Sha256(sources->npy)));
}

TEST_F(InvarianceFileTest, EqualExamplesInTwoFilesAreOneArtifact) {
  const ExperimentFile file = Read(absl::StrCat(kHead, kFile, R"(invariance:
  - {method: file, path: set/bytes.npy, sources: set/sources.npy, oracle: dataset}
  - {method: file, path: set/floats.npy, white: 255, sources: set/sources.npy, oracle: dataset}
)"));
  EXPECT_EQ(file.inputs.arrays().at("set/bytes.npy").sha256(), file.inputs.arrays().at("set/floats.npy").sha256());
  const std::vector<std::string> digests = Digests(file);
  EXPECT_EQ(std::count(digests.begin(), digests.end(), file.inputs.arrays().at("set/bytes.npy").sha256()), 1);
}

TEST_F(InvarianceFileTest, OneFileInSeveralSetsMayGiveItsWhiteOrLeaveItOut) {
  const ExperimentFile file = Read(absl::StrCat(kHead, kFile, R"(invariance:
  - {name: a, method: file, path: set/bytes.npy, sources: set/sources.npy, oracle: dataset}
  - {name: b, method: file, path: set/bytes.npy, white: 255, sources: set/sources.npy, oracle: {labels: set/labels.csv}}
)"));
  EXPECT_EQ(file.inputs.arrays_size(), 2);
}

// Workers would find it, hours later.
TEST_F(InvarianceFileTest, TableWithALabelOfNoExampleIsRefusedWhenTheFileIsRead) {
  WriteFile(data_.directory() / "set/beyond.csv", "index,ann\n2,1\n3,1\n");
  EXPECT_THAT(
      data_.Parse(absl::StrCat(kHead, kFile, "invariance:\n  - method: linf\n    epsilon: 0.3\n",
                               "    sources: set/sources.npy\n    oracle: {labels: set/beyond.csv}\n")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("experiment.yaml:8:22: `set/beyond.csv`: line 3")));
}

TEST_F(InvarianceFileTest, MistakesInTheNewListsAreReportedTogetherWithAllOthers) {
  const absl::Status status = data_
                                  .Parse(R"(name: x
dataset: mnist
models: [{architecture: mlp}]
alignment: [{norm: l3}]
invariance: [{method: linf, epsilon: 2, oracle: dataset}, {method: file, path: no.npy, oracle: dataset}]
)")
                                  .status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("this model has to be trained"), HasSubstr("`norm` is one of linf"),
                                     HasSubstr("`epsilon` is a number, above 0, up to 1"),
                                     HasSubstr("there is no NumPy file `no.npy`"))));
}

TEST_F(InvarianceFileTest, WithoutData_FilesAreLookedAtAllTheSame) {
  const absl::Status status =
      ParseExperimentFile(
          absl::StrCat(kHead, kFile, "invariance: [{method: file, path: set/bytes.npy, sources: no.npy, ",
                       "oracle: dataset}]\n"),
          (data_.directory() / "x.yaml").string(), {.dataset_search_path = {"/nonexistent"}})
          .status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("data set mnist not found"), HasSubstr("no NumPy file `no.npy`"))));
}

// Messages that a stranger may send.

TEST_F(InvarianceFileTest, MessagesFromTheNetworkObeyTheRulesOfTheFile) {
  const ExperimentFile good = Read(absl::StrCat(kHead, kFile, R"(
alignment: [{norm: l2, radii: [1, 2]}]
invariance:
  - {method: linf, epsilon: 0.3, sources: set/sources.npy, oracle: {labels: set/labels.csv}}
  - {method: file, path: set/bytes.npy, sources: set/sources.npy, oracle: {model: set/judge.pt}}
  - {method: interpolate, norm: l2, epsilon: 2, oracle: nearest}
)"));
  ASSERT_OK(ValidateExperiment(good.experiment, good.inputs));
  struct Case {
    std::function<void(v1::Experiment&, v1::Inputs&)> change;
    std::string told;
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<Case> cases = {
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->clear_norm(); },
       "alignment[0].norm: `norm` is one of linf, l2, l1, l0, spatial; number 0 is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->set_norm(v1::NORM_SPATIAL); },
       "alignment[0].norm: `alignment` takes the norms"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->set_split(static_cast<v1::Split>(9)); },
       "alignment[0].split: `split` is one of train, test; number 9 is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->set_threshold(3); },
       "alignment[0].threshold: `threshold` applies to `norm: l0` only"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->set_anchors(51); },
       "alignment[0].anchors: the training split of `mnist` has 50 examples; 51 is more"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->set_anchors(0); },
       "alignment[0].anchors: `anchors` is a whole number, 1 or more; `0` is not"},
      {[&](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->set_radii(1, nan); },
       "alignment[0].radii[1]: `radii` is a list of numbers, 0 or more each; `nan` is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->set_radii(1, 1); },
       "alignment[0].radii[1]: radius 1 is given twice"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->set_shard_size(0); },
       "alignment[0].shard_size: `shard_size` is a whole number, 1 to 100000; `0` is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_alignment(0)->clear_name(); },
       "alignment[0].name: `name` is text of 1 to"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(0)->clear_method(); },
       "invariance[0].method: `method` is required: one of linf, l0, interpolate, file"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(0)->clear_oracle(); },
       "invariance[0].oracle: `oracle` is required: one of dataset, labels, nearest, model"},
      {[&](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(0)->mutable_linf()->set_epsilon(nan); },
       "invariance[0].linf.epsilon: `epsilon` is a number, above 0, up to 1; `nan` is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(0)->mutable_linf()->set_targets("0: 0"); },
       "invariance[0].linf.targets: row 1 of `targets`, `0: 0`: class 0 cannot be its own target"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(0)->mutable_linf()->clear_targets(); },
       "invariance[0].linf.targets: `targets` is text of 1 to"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(0)->mutable_linf()->clear_form(); },
       "invariance[0].linf.form: `form` is one of corrected, published; number 0 is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(0)->mutable_linf()->set_candidates(51); },
       "invariance[0].linf.candidates: the training split of `mnist` has 50 examples; 51 is more"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(0)->set_name("bytes"); },
       "invariance[1]: two entries of `invariance` are called `bytes`"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(2)->mutable_interpolate()->set_epsilon(29); },
       "invariance[2].interpolate.epsilon: `epsilon` of l2 is 0 to 28"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(2)->mutable_interpolate()->set_norm(v1::NORM_L0); },
       "invariance[2].interpolate.norm: `interpolate` takes the norms linf, l2, l1; `l0` is not one of them"},
      {[](v1::Experiment& e, v1::Inputs&) {
         e.mutable_invariance(2)->mutable_oracle()->mutable_nearest()->set_first(50);
       },
       "invariance[2].oracle.nearest.first: the training split of `mnist` has 50 examples; 50 is not below that"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(1)->mutable_file()->clear_white(); },
       "invariance[1].file.white: `white` is a number, above 0, up to 65535; `0` is not"},
      {[](v1::Experiment& e, v1::Inputs&) { e.mutable_invariance(1)->clear_sources(); },
       "invariance[1].file.path: there is one example a source: `set/bytes.npy` has 3 examples, but the `examples` of"},
      {[](v1::Experiment&, v1::Inputs& i) { (*i.mutable_arrays())["set/bytes.npy"].set_count(4); },
       "invariance[1].file.path: there is one example a source: `set/bytes.npy` has 4 examples, but "
       "`set/sources.npy` names 3 sources"},
      {[](v1::Experiment&, v1::Inputs& i) { (*i.mutable_arrays())["set/bytes.npy"].set_count(0); },
       "invariance[1].file.path: the inputs say that this array is empty"},
      {[](v1::Experiment&, v1::Inputs& i) { i.mutable_arrays()->erase("set/bytes.npy"); },
       "invariance[1].file.path: the inputs have no digest of this array"},
      {[](v1::Experiment&, v1::Inputs& i) { (*i.mutable_arrays())["set/sources.npy"].set_sha256("../../etc/passwd"); },
       "invariance[0].sources: the inputs have no digest of this array"},
      {[](v1::Experiment&, v1::Inputs& i) { i.mutable_file_sha256()->erase("set/labels.csv"); },
       "invariance[0].oracle.labels: the inputs have no digest of this file"},
      {[](v1::Experiment&, v1::Inputs& i) { (*i.mutable_file_sha256())["set/judge.pt"] = "x"; },
       "invariance[1].oracle.model: the inputs have no digest of this file"},
      {[](v1::Experiment&, v1::Inputs& i) { i.clear_train(); }, "inputs.train.count: there are no examples"},
      {[](v1::Experiment& e, v1::Inputs&) { e.clear_models(); },
       "invariance[1]: these examples are made already, and there is no model to evaluate on them"},
      {[](v1::Experiment& e, v1::Inputs& i) {
         e.mutable_invariance(2)->mutable_l0()->set_transforms(1);
         for (v1::DatasetRef* data : {i.mutable_test(), i.mutable_train()}) data->set_channels(3);
       },
       "invariance[2].l0: `method: l0` cuts images to black and white"},
      {[](v1::Experiment& e, v1::Inputs& i) {
         for (v1::DatasetRef* data : {i.mutable_test(), i.mutable_train()}) data->set_classes(3);
         e.mutable_invariance(0)->mutable_linf()->set_targets("published");
       },
       "invariance[0].linf.targets: `targets: published` is a table for the ten digits, and the data have 3 classes"},
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

// Counts that a stranger claims are only multiplied, not walked.
TEST_F(InvarianceFileTest, HugeCountsAreTooManyShards) {
  const ExperimentFile good =
      Read(absl::StrCat(kHead, "alignment: [{norm: l2}]\n",
                        "invariance: [{method: linf, epsilon: 0.3, sources: set/sources.npy, oracle: dataset}]\n"));
  v1::Experiment experiment = good.experiment;
  v1::Inputs inputs = good.inputs;
  (*inputs.mutable_arrays())["set/sources.npy"].set_count(~uint64_t{0});
  EXPECT_THAT(ValidateExperiment(experiment, inputs),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shard_size: the experiment has more than")));
  inputs = good.inputs;
  inputs.mutable_train()->set_count(~uint64_t{0});
  experiment.mutable_alignment(0)->set_anchors(~uint64_t{0});
  EXPECT_THAT(ValidateExperiment(experiment, inputs),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shard_size: the experiment has more than")));
}

}  // namespace
}  // namespace tightrope
