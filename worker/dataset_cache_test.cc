#include "worker/dataset_cache.h"

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "core/artifact/digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/idx_bytes.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::_;

// Serves files from memory; one of them only once the test says so.
class FakeTransfer final : public ArtifactTransfer {
 public:
  absl::Status Get(const std::string& sha256, uint64_t offset, const Sink& sink) override {
    if (sha256 == late) {
      late_asked_for.Notify();
      late_comes.WaitForNotification();
    }
    const auto found = files.find(sha256);
    if (found == files.end()) return absl::NotFoundError("no such artifact");
    return sink(found->second.size(), absl::string_view(found->second).substr(offset));
  }
  absl::Status Put(const std::string&, absl::string_view) override { return absl::UnimplementedError("put"); }
  absl::StatusOr<bool> IsMissing(const std::string&) override { return absl::UnimplementedError("missing"); }

  // A data set of one image whose only pixel is `pixel`.
  v1::DatasetRef Add(char pixel) { return Add(std::string(1, pixel)); }
  // A data set of images of one pixel.
  v1::DatasetRef Add(const std::string& pixels) {
    const uint32_t count = static_cast<uint32_t>(pixels.size());
    const std::string images = IdxImageBytes(count, 1, 1, pixels);
    const std::string labels = IdxLabelBytes(std::string(count, '\0'));
    files[Sha256(images)] = images;
    files[Sha256(labels)] = labels;
    v1::DatasetRef ref;
    ref.set_images_sha256(Sha256(images));
    ref.set_labels_sha256(Sha256(labels));
    ref.set_count(count);
    ref.set_channels(1);
    ref.set_height(1);
    ref.set_width(1);
    ref.set_classes(2);
    return ref;
  }

  std::map<std::string, std::string> files;
  std::string late;
  absl::Notification late_asked_for;
  absl::Notification late_comes;
};

class DatasetCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<BlobStore> store = BlobStore::Open(directory_.path());
    ASSERT_OK(store);
    artifacts_ = std::make_unique<ArtifactCache>(*std::move(store), transfer_);
    datasets_ = std::make_unique<DatasetCache>(*artifacts_);
  }

  const TemporaryDirectory directory_;
  FakeTransfer transfer_;
  std::unique_ptr<ArtifactCache> artifacts_;
  std::unique_ptr<DatasetCache> datasets_;
  const Cancellation never_;
};

TEST_F(DatasetCacheTest, OneCopyIsKept) {
  const v1::DatasetRef ref = transfer_.Add(1);
  const auto first = datasets_->Get(ref, never_);
  ASSERT_OK(first);
  const auto second = datasets_->Get(ref, never_);
  ASSERT_OK(second);
  EXPECT_EQ(first->get(), second->get());
}

TEST_F(DatasetCacheTest, AskedForByManyAtOnce_OneCopyIsKept) {
  const v1::DatasetRef ref = transfer_.Add(1);
  std::vector<std::shared_ptr<const Dataset>> got(4);
  std::vector<std::thread> executors;
  for (auto& data : got) {
    executors.emplace_back([&] {
      const auto one = datasets_->Get(ref, never_);
      ASSERT_OK(one);
      data = *one;
    });
  }
  for (std::thread& executor : executors) executor.join();
  for (const auto& data : got) EXPECT_EQ(data, got[0]);
}

TEST_F(DatasetCacheTest, OneIsBeingFetched_AnotherThatIsHereDoesNotWaitForIt) {
  const v1::DatasetRef here = transfer_.Add(1);
  const v1::DatasetRef late = transfer_.Add(2);
  EXPECT_OK(datasets_->Get(here, never_));
  transfer_.late = late.images_sha256();
  std::thread executor([&] { EXPECT_OK(datasets_->Get(late, never_)); });
  transfer_.late_asked_for.WaitForNotification();
  EXPECT_OK(datasets_->Get(here, never_));
  transfer_.late_comes.Notify();
  executor.join();
}

TEST_F(DatasetCacheTest, FilesThatAreNotWhatTheReferenceSays_AreRefused) {
  v1::DatasetRef ref = transfer_.Add(1);
  ref.set_count(2);
  EXPECT_THAT(datasets_->Get(ref, never_), StatusIs(absl::StatusCode::kInvalidArgument, _));
}

TEST_F(DatasetCacheTest, CandidatesArePreparedOnceForEachChoice) {
  const v1::DatasetRef ref = transfer_.Add("abc");
  const auto all = datasets_->Candidates(ref, {}, never_);
  const auto also_all = datasets_->Candidates(ref, {.count = 3}, never_);
  ASSERT_OK(all);
  ASSERT_OK(also_all);
  EXPECT_EQ(all->get(), also_all->get());
  const auto data = datasets_->Get(ref, never_);
  ASSERT_OK(data);
  EXPECT_EQ((*all)->images, *data) << "images are not copied where all of them are candidates";
  const auto two = datasets_->Candidates(ref, {.count = 2}, never_);
  ASSERT_OK(two);
  EXPECT_EQ((*two)->images->count, 2u);
  EXPECT_FALSE((*two)->bits);
  const auto as_bits = datasets_->Candidates(ref, {.count = 2, .as_bits = true}, never_);
  ASSERT_OK(as_bits);
  EXPECT_TRUE((*as_bits)->bits);
}

TEST_F(DatasetCacheTest, MoreCandidatesThanTheTrainingSetHas_AreRefused) {
  EXPECT_THAT(datasets_->Candidates(transfer_.Add("abc"), {.count = 4}, never_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, _));
}

}  // namespace
}  // namespace tightrope
