#include "worker/invariance_inputs.h"

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/artifact/digest.h"
#include "core/artifact/npy.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class FakeTransfer final : public ArtifactTransfer {
 public:
  absl::Status Get(const std::string& sha256, uint64_t offset, const Sink& sink) override {
    asked_for.push_back(sha256);
    const auto found = files.find(sha256);
    if (found == files.end()) return absl::NotFoundError("no such artifact");
    return sink(found->second.size(), absl::string_view(found->second).substr(offset));
  }
  absl::Status Put(const std::string&, absl::string_view) override { return absl::UnimplementedError("put"); }
  absl::StatusOr<bool> IsMissing(const std::string&) override { return absl::UnimplementedError("missing"); }

  std::string Add(const std::string& data) {
    files[Sha256(data)] = data;
    return Sha256(data);
  }

  std::map<std::string, std::string> files;
  std::vector<std::string> asked_for;
};

// Examples of two values: at position p they are p and p + 0.5.
class InvarianceInputsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<BlobStore> store = BlobStore::Open(directory_.path());
    ASSERT_OK(store);
    artifacts_ = std::make_unique<ArtifactCache>(*std::move(store), transfer_);
    data_.count = 8;
    data_.channels = data_.height = 1;
    data_.width = 2;
    v1::EvaluateInvarianceJob& job = *lease_.mutable_spec()->mutable_evaluate_invariance();
    job.mutable_sources()->set_count(10);
    job.set_built_by("the job that made them");
    lease_.mutable_range()->set_begin(3);
    lease_.mutable_range()->set_end(6);
  }

  std::string ExamplesAt(uint64_t begin, uint64_t end) {
    std::vector<float> values;
    for (uint64_t p = begin; p < end; ++p) {
      values.push_back(static_cast<float>(p));
      values.push_back(static_cast<float>(p) + 0.5f);
    }
    return WriteNpy(values, {static_cast<int64_t>(end - begin), 1, 1, 2});
  }

  // Names a file for the positions [begin, end).
  void Lease(uint64_t begin, uint64_t end, const std::string& file) {
    v1::LeasedExamples& leased = *lease_.add_examples();
    leased.mutable_artifact()->set_sha256(transfer_.Add(file));
    leased.mutable_range()->set_begin(begin);
    leased.mutable_range()->set_end(end);
  }

  absl::StatusOr<std::vector<float>> Read() { return ReadExamples(lease_, data_, *artifacts_, never_); }

  const TemporaryDirectory directory_;
  FakeTransfer transfer_;
  std::unique_ptr<ArtifactCache> artifacts_;
  const Cancellation never_;
  Dataset data_;
  v1::Lease lease_;
};

TEST_F(InvarianceInputsTest, ShardsThatAreCutOtherwise_GiveTheirRows) {
  Lease(0, 4, ExamplesAt(0, 4));
  Lease(4, 5, ExamplesAt(4, 5));
  Lease(5, 10, ExamplesAt(5, 10));
  const auto examples = Read();
  ASSERT_OK(examples);
  EXPECT_THAT(*examples, ElementsAre(3, 3.5, 4, 4.5, 5, 5.5));
}

TEST_F(InvarianceInputsTest, FilesThatTheLeaseDoesNotNeed_AreNotFetched) {
  Lease(0, 3, ExamplesAt(0, 3));
  Lease(3, 6, ExamplesAt(3, 6));
  Lease(4, 6, ExamplesAt(4, 6));
  Lease(6, 10, ExamplesAt(6, 10));
  const auto examples = Read();
  ASSERT_OK(examples);
  EXPECT_THAT(*examples, ElementsAre(3, 3.5, 4, 4.5, 5, 5.5));
  EXPECT_THAT(transfer_.asked_for, ElementsAre(lease_.examples(1).artifact().sha256()));
}

TEST_F(InvarianceInputsTest, RowsAreMissing_ItSaysWhich) {
  const auto lacks = [&](const std::string& message) {
    EXPECT_THAT(Read().status(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(message)));
    lease_.clear_examples();
  };
  lacks("at the positions [3, 6), in ascending order; the first that is missing: 3");
  Lease(4, 6, ExamplesAt(4, 6));
  lacks("missing: 3");
  Lease(3, 5, ExamplesAt(3, 5));
  lacks("missing: 5");
  Lease(0, 4, ExamplesAt(0, 4));
  Lease(5, 6, ExamplesAt(5, 6));
  lacks("missing: 4");
  Lease(9, 2, ExamplesAt(0, 1));  // from 9 to 2
  lacks("missing: 3");
  Lease(2, 0, ExamplesAt(0, 1));
  lacks("missing: 3");
}

TEST_F(InvarianceInputsTest, AFileIsNotWhatItsShardMade_ItIsRefused) {
  const auto refused = [&](const std::string& file, const std::string& message) {
    lease_.clear_examples();
    Lease(3, 6, file);
    EXPECT_THAT(Read().status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  refused(ExamplesAt(3, 5), "must be <f4 of shape (3, 1, 1, 2), as the job and its data say; got <f4 of shape (2,");
  refused(WriteIndexNpy(std::vector<int64_t>{3, 4, 5}), "got <i8");
  refused("nonsense", "broken .npy file");
}

TEST_F(InvarianceInputsTest, AnArrayOfTheWholeSet_GivesTheRowsOfTheRange) {
  v1::EvaluateInvarianceJob& job = *lease_.mutable_spec()->mutable_evaluate_invariance();
  job.set_array_sha256(transfer_.Add(ExamplesAt(0, 10)));
  const auto examples = Read();
  ASSERT_OK(examples);
  EXPECT_THAT(*examples, ElementsAre(3, 3.5, 4, 4.5, 5, 5.5));
  job.set_array_sha256(transfer_.Add(ExamplesAt(0, 9)));
  EXPECT_THAT(Read().status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("of shape (9, 1, 1, 2)")));
  job.set_array_sha256(Sha256("nobody has this"));
  EXPECT_THAT(Read().status(), StatusIs(absl::StatusCode::kNotFound, _));
  job.clear_examples();
  EXPECT_THAT(Read().status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("names neither")));
}

TEST_F(InvarianceInputsTest, SourcesComeFromTheirArrayOrFollowTheFirst) {
  v1::Sources sources;
  sources.set_count(7);
  sources.set_first(1);
  const auto following = ReadSources(sources, lease_.range(), data_, *artifacts_, never_);
  ASSERT_OK(following);
  EXPECT_THAT(*following, ElementsAre(4, 5, 6));
  EXPECT_THAT(transfer_.asked_for, IsEmpty());
  sources.set_indices_sha256(transfer_.Add(WriteIndexNpy(std::vector<int64_t>{0, 0, 0, 7, 1, 7, 0})));
  const auto listed = ReadSources(sources, lease_.range(), data_, *artifacts_, never_);
  ASSERT_OK(listed);
  EXPECT_THAT(*listed, ElementsAre(7, 1, 7));
  data_.count = 7;
  EXPECT_THAT(ReadSources(sources, lease_.range(), data_, *artifacts_, never_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at position 3: 7")));
}

}  // namespace
}  // namespace tightrope
