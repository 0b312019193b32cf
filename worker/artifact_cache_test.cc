#include "worker/artifact_cache.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "core/artifact/digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"
#include "tightrope/v1/coordinator.grpc.pb.h"
#include "worker/coordinator_connection.h"

namespace tightrope {
namespace {

using ::testing::_;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Bytes without a period, so that a part at a wrong place changes the digest.
std::string Bytes(size_t size) {
  std::string bytes(size, '\0');
  uint32_t state = 1;
  for (char& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

// The Artifacts service in memory; `interfere` may change one stream of Get.
class FakeArtifacts final : public v1::Artifacts::Service {
 public:
  static constexpr size_t kChunk = 1000;

  // What a Get stream does instead of sending everything.
  struct Fault {
    size_t stop_after = SIZE_MAX;  // bytes of this stream
    grpc::Status status = grpc::Status::OK;
    bool corrupt = false;  // one wrong bit
    uint64_t announce_more = 0;
    std::function<void(const grpc::ServerContext&)> before_stop = nullptr;
  };

  grpc::Status FindMissing(grpc::ServerContext*, const v1::FindMissingRequest* request,
                           v1::FindMissingResponse* response) override {
    const absl::MutexLock lock(&mutex);
    for (const std::string& sha256 : request->sha256()) {
      if (!files.contains(sha256)) response->add_sha256(sha256);
    }
    return grpc::Status::OK;
  }

  grpc::Status Put(grpc::ServerContext*, grpc::ServerReader<v1::PutRequest>* reader, v1::PutResponse*) override {
    v1::PutRequest part;
    std::string sha256;
    std::string data;
    uint64_t size = 0;
    for (bool first = true; reader->Read(&part); first = false) {
      if (first) sha256 = part.sha256(), size = part.size();
      const absl::MutexLock lock(&mutex);
      largest_part = std::max(largest_part, part.data().size());
      data += part.data();
    }
    const absl::MutexLock lock(&mutex);
    ++puts;
    if (!put_faults.empty()) {
      const grpc::Status fault = put_faults.back();
      put_faults.pop_back();
      return fault;
    }
    if (data.size() != size) return {grpc::StatusCode::INVALID_ARGUMENT, "size"};
    if (Sha256(data) != sha256) return {grpc::StatusCode::DATA_LOSS, "digest"};
    files[sha256] = data;
    return grpc::Status::OK;
  }

  grpc::Status Get(grpc::ServerContext* context, const v1::GetRequest* request,
                   grpc::ServerWriter<v1::GetResponse>* writer) override {
    std::string data;
    Fault fault;
    {
      const absl::MutexLock lock(&mutex);
      offsets.push_back(request->offset());
      const auto found = files.find(request->sha256());
      if (found == files.end()) return {grpc::StatusCode::NOT_FOUND, "no such artifact"};
      data = found->second;
      if (!get_faults.empty()) {
        fault = get_faults.front();
        get_faults.erase(get_faults.begin());
      }
    }
    v1::GetResponse part;
    part.set_size(data.size() + fault.announce_more);
    if (fault.corrupt) data[data.size() / 2] = static_cast<char>(data[data.size() / 2] ^ 1);
    data.erase(0, request->offset());
    size_t sent = 0;
    do {
      if (sent >= fault.stop_after) {
        if (fault.before_stop) fault.before_stop(*context);
        return fault.status;
      }
      part.set_data(data.substr(sent, kChunk));
      sent += part.data().size();
      if (!writer->Write(part)) return grpc::Status::CANCELLED;
      part.Clear();
    } while (sent < data.size());
    return fault.stop_after == SIZE_MAX ? grpc::Status::OK : fault.status;
  }

  std::string Add(const std::string& data) {
    const absl::MutexLock lock(&mutex);
    files[Sha256(data)] = data;
    return Sha256(data);
  }

  absl::Mutex mutex;
  std::map<std::string, std::string> files;
  std::vector<Fault> get_faults;  // of the next streams, in order
  std::vector<grpc::Status> put_faults;
  std::vector<uint64_t> offsets;  // asked for, in order
  int puts = 0;
  size_t largest_part = 0;
};

class ArtifactCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Serve("127.0.0.1:0");
    connection_ = ConnectToCoordinator(absl::StrCat("127.0.0.1:", port_));
    OpenCache();
  }

  void TearDown() override { StopServing(); }

  void Serve(const std::string& address) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }

  void StopServing() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  void OpenCache(absl::Duration give_up_after = absl::Minutes(1)) {
    absl::StatusOr<BlobStore> store = BlobStore::Open(directory_.path());
    ASSERT_OK(store);
    cache_ = std::make_unique<ArtifactCache>(*std::move(store), connection_->artifacts(),
                                             ArtifactCacheOptions{.retry = {.first = absl::Milliseconds(1),
                                                                            .longest = absl::Milliseconds(20),
                                                                            .give_up_after = give_up_after}});
  }

  // Gets `sha256` and expects `bytes`.
  void ExpectRead(const std::string& sha256, const std::string& bytes) {
    const absl::StatusOr<std::string> read = cache_->Read(sha256, never_);
    ASSERT_OK(read);
    EXPECT_TRUE(*read == bytes);
  }

  // Fetches `sha256` and writes something else into the file, whose path it returns.
  std::string FetchAndDamage(const std::string& sha256) {
    const absl::StatusOr<std::string> path = cache_->FetchFile(sha256, never_);
    EXPECT_OK(path);
    if (!path.ok()) return "";
    std::filesystem::permissions(*path, std::filesystem::perms::owner_all);
    std::ofstream(*path, std::ios::binary) << "something else";
    return *path;
  }

  const TemporaryDirectory directory_;
  FakeArtifacts service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<CoordinatorConnection> connection_;
  std::unique_ptr<ArtifactCache> cache_;
  const Cancellation never_;
};

TEST_F(ArtifactCacheTest, FileIsFetchedOnceAndKept) {
  const std::string bytes = Bytes(12'345);
  const std::string sha256 = service_.Add(bytes);
  ExpectRead(sha256, bytes);
  ExpectRead(sha256, bytes);
  OpenCache();
  ExpectRead(sha256, bytes);
  EXPECT_THAT(service_.offsets, ElementsAre(0));
}

TEST_F(ArtifactCacheTest, PathOfAFetchedFileHoldsItsBytes) {
  const std::string bytes = Bytes(10);
  const absl::StatusOr<std::string> path = cache_->FetchFile(service_.Add(bytes), never_);
  ASSERT_OK(path);
  std::ifstream file(*path, std::ios::binary);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), bytes);
}

TEST_F(ArtifactCacheTest, EmptyFileIsAFile) { ExpectRead(service_.Add(""), ""); }

TEST_F(ArtifactCacheTest, StreamEndsEarly_TheRestIsAskedForFromThere) {
  const std::string bytes = Bytes(10'000);
  const std::string sha256 = service_.Add(bytes);
  service_.get_faults = {{.stop_after = 3'000}, {.stop_after = 2'000}};
  ExpectRead(sha256, bytes);
  EXPECT_THAT(service_.offsets, ElementsAre(0, 3'000, 5'000));
}

TEST_F(ArtifactCacheTest, StreamBreaksWithAnError_IsResumed) {
  const std::string bytes = Bytes(10'000);
  const std::string sha256 = service_.Add(bytes);
  service_.get_faults = {{.stop_after = 4'000, .status = {grpc::StatusCode::UNAVAILABLE, "gone"}}};
  ExpectRead(sha256, bytes);
  EXPECT_THAT(service_.offsets, ElementsAre(0, 4'000));
}

TEST_F(ArtifactCacheTest, StreamBreaksManyTimesButSomethingComesEachTime_IsFetched) {
  const std::string bytes = Bytes(10'000);
  const std::string sha256 = service_.Add(bytes);
  service_.get_faults.assign(8, {.stop_after = 1'000, .status = {grpc::StatusCode::INTERNAL, "RST_STREAM"}});
  ExpectRead(sha256, bytes);
  EXPECT_THAT(service_.offsets, SizeIs(9));
}

TEST_F(ArtifactCacheTest, StreamBreaksBeforeAnythingComes_IsGivenUp) {
  const std::string sha256 = service_.Add(Bytes(10));
  service_.get_faults.assign(8, {.stop_after = 0, .status = {grpc::StatusCode::INTERNAL, "RST_STREAM"}});
  EXPECT_THAT(cache_->Read(sha256, never_), StatusIs(absl::StatusCode::kInternal, HasSubstr("RST_STREAM")));
  EXPECT_THAT(service_.offsets, SizeIs(3));
}

// Breaks in between must not make a file that always comes wrong be tried for ever.
TEST_F(ArtifactCacheTest, WrongDigestBetweenBreaks_IsDataLoss) {
  const std::string sha256 = service_.Add(Bytes(5'000));
  for (int i = 0; i < 3; ++i) {
    service_.get_faults.push_back({.stop_after = 1'000, .status = {grpc::StatusCode::INTERNAL, "RST_STREAM"}});
    service_.get_faults.push_back({.corrupt = true});
  }
  EXPECT_THAT(cache_->Read(sha256, never_), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(sha256)));
}

TEST_F(ArtifactCacheTest, ServerDiesInMidStream_AnotherOneServesTheRest) {
  const std::string bytes = Bytes(10'000);
  const std::string sha256 = service_.Add(bytes);
  absl::Notification in_mid_stream;
  service_.get_faults = {{.stop_after = 5'000, .before_stop = [&](const grpc::ServerContext& context) {
                            in_mid_stream.Notify();
                            while (!context.IsCancelled()) std::this_thread::yield();
                          }}};
  std::thread reader([&] { ExpectRead(sha256, bytes); });
  in_mid_stream.WaitForNotification();
  StopServing();
  Serve(absl::StrCat("127.0.0.1:", port_));
  reader.join();
  EXPECT_THAT(service_.offsets, ElementsAre(0, AnyOf(0, 1'000, 2'000, 3'000, 4'000, 5'000)));
}

TEST_F(ArtifactCacheTest, WrongDigest_IsFetchedAgainFromTheBeginning) {
  const std::string bytes = Bytes(5'000);
  const std::string sha256 = service_.Add(bytes);
  service_.get_faults = {{.corrupt = true}};
  ExpectRead(sha256, bytes);
  EXPECT_THAT(service_.offsets, ElementsAre(0, 0));
}

TEST_F(ArtifactCacheTest, WrongDigestEveryTime_IsDataLossAndLeavesNothingBehind) {
  const std::string sha256 = service_.Add(Bytes(5'000));
  service_.get_faults = {{.corrupt = true}, {.corrupt = true}, {.corrupt = true}};
  EXPECT_THAT(cache_->Read(sha256, never_), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(sha256)));
  const absl::StatusOr<BlobStore> store = BlobStore::Open(directory_.path());
  ASSERT_OK(store);
  EXPECT_FALSE(store->Has(sha256));
}

TEST_F(ArtifactCacheTest, ShorterThanAnnounced_IsDataLoss) {
  const std::string sha256 = service_.Add(Bytes(1'500));
  service_.get_faults.assign(20, {.announce_more = 1});
  EXPECT_THAT(cache_->Read(sha256, never_), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("ended early")));
}

TEST_F(ArtifactCacheTest, AnnouncedSizeIsAbsurd_IsRefusedBeforeAnythingIsWritten) {
  const std::string sha256 = service_.Add(Bytes(10));
  service_.get_faults = {{.announce_more = uint64_t{1} << 60}};
  EXPECT_THAT(cache_->Read(sha256, never_), StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_THAT(service_.offsets, ElementsAre(0));
}

TEST_F(ArtifactCacheTest, UnknownFileIsNotFound_MalformedDigestIsNotAskedFor) {
  EXPECT_THAT(cache_->Read(Sha256("nobody put this"), never_), StatusIs(absl::StatusCode::kNotFound, _));
  EXPECT_THAT(cache_->Read("../../etc/passwd", never_), StatusIs(absl::StatusCode::kInvalidArgument, _));
  EXPECT_THAT(service_.offsets, ElementsAre(0));
}

TEST_F(ArtifactCacheTest, FileDamagedOnDiskIsFetchedAgain) {
  const std::string bytes = Bytes(5'000);
  const std::string sha256 = service_.Add(bytes);
  FetchAndDamage(sha256);
  ExpectRead(sha256, bytes);
  EXPECT_THAT(service_.offsets, ElementsAre(0, 0));
}

// Another executor, or another worker that shares the cache, may have put a good file there meanwhile.
TEST_F(ArtifactCacheTest, FileDamagedOnDisk_IsReplacedAndNeverRemoved) {
  const std::string bytes = Bytes(5'000);
  const std::string sha256 = service_.Add(bytes);
  const std::string path = FetchAndDamage(sha256);
  bool there = false;
  service_.get_faults = {{.stop_after = 2'000,
                          .status = {grpc::StatusCode::UNAVAILABLE, "gone"},
                          .before_stop = [&](const grpc::ServerContext&) { there = std::filesystem::exists(path); }}};
  ExpectRead(sha256, bytes);
  EXPECT_TRUE(there);
}

TEST_F(ArtifactCacheTest, ManyExecutorsFindTheSameDamage_OneTransferRepairsIt) {
  const std::string bytes = Bytes(200'000);
  const std::string sha256 = service_.Add(bytes);
  FetchAndDamage(sha256);
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i) readers.emplace_back([&] { ExpectRead(sha256, bytes); });
  for (std::thread& reader : readers) reader.join();
  EXPECT_THAT(service_.offsets, ElementsAre(0, 0));
}

TEST_F(ArtifactCacheTest, ManyExecutorsAskAtOnce_OneTransfer) {
  const std::string bytes = Bytes(200'000);
  const std::string sha256 = service_.Add(bytes);
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i) readers.emplace_back([&] { ExpectRead(sha256, bytes); });
  for (std::thread& reader : readers) reader.join();
  EXPECT_THAT(service_.offsets, ElementsAre(0));
}

TEST_F(ArtifactCacheTest, TheOneThatFetchesIsCancelled_AnotherGoesOn) {
  const std::string bytes = Bytes(10'000);
  const std::string sha256 = service_.Add(bytes);
  Cancellation cancelled;
  absl::Notification in_mid_stream;
  absl::Notification go_on;
  service_.get_faults = {{.stop_after = 2'000,
                          .status = {grpc::StatusCode::UNAVAILABLE, "gone"},
                          .before_stop = [&](const grpc::ServerContext&) {
                            in_mid_stream.Notify();
                            go_on.WaitForNotification();
                          }}};
  std::thread first([&] { EXPECT_THAT(cache_->Read(sha256, cancelled), StatusIs(absl::StatusCode::kCancelled, _)); });
  in_mid_stream.WaitForNotification();
  std::thread second([&] { ExpectRead(sha256, bytes); });
  cancelled.Cancel();
  go_on.Notify();
  first.join();
  second.join();
}

TEST_F(ArtifactCacheTest, CoordinatorIsAway_WaitsUntilCancelled) {
  StopServing();
  Cancellation cancellation;
  std::thread reader([&] {
    EXPECT_THAT(cache_->Read(Sha256("x"), cancellation), StatusIs(absl::StatusCode::kCancelled, _));
    EXPECT_THAT(cache_->Put("x", cancellation), StatusIs(absl::StatusCode::kCancelled, _));
  });
  cancellation.Cancel();
  reader.join();
}

TEST_F(ArtifactCacheTest, CancelledBefore_NothingIsAskedForOrSent) {
  const std::string sha256 = service_.Add(Bytes(10));
  Cancellation cancelled;
  cancelled.Cancel();
  EXPECT_THAT(cache_->Read(sha256, cancelled), StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_THAT(cache_->Put("data", cancelled), StatusIs(absl::StatusCode::kCancelled, _));
  EXPECT_THAT(service_.offsets, IsEmpty());
  EXPECT_EQ(service_.puts, 0);
}

TEST_F(ArtifactCacheTest, CoordinatorIsAwayForTooLong_IsUnavailable) {
  StopServing();
  OpenCache(/*give_up_after=*/absl::Milliseconds(5));
  EXPECT_THAT(cache_->Read(Sha256("x"), never_), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_THAT(cache_->Put("x", never_), StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST_F(ArtifactCacheTest, PutSendsPartsThatFit_AndOnlyWhatIsMissing) {
  const std::string bytes = Bytes(3'000'000);
  const absl::StatusOr<std::string> sha256 = cache_->Put(bytes, never_);
  ASSERT_OK(sha256);
  EXPECT_TRUE(service_.files[*sha256] == bytes);
  EXPECT_LE(service_.largest_part, size_t{1} << 20);
  ASSERT_OK(cache_->Put(bytes, never_));
  EXPECT_EQ(service_.puts, 1);
}

TEST_F(ArtifactCacheTest, PutOfAnEmptyFile) {
  const absl::StatusOr<std::string> sha256 = cache_->Put("", never_);
  ASSERT_OK(sha256);
  EXPECT_TRUE(service_.files.contains(*sha256));
}

TEST_F(ArtifactCacheTest, PutIsTriedAgainWhenTheConnectionBreaks_NotWhenItIsRefused) {
  service_.put_faults = {{grpc::StatusCode::DATA_LOSS, "digest"}, {grpc::StatusCode::UNAVAILABLE, "gone"}};
  ASSERT_OK(cache_->Put("data", never_));
  EXPECT_EQ(service_.puts, 3);
  service_.put_faults = {{grpc::StatusCode::RESOURCE_EXHAUSTED, "disk full"}};
  EXPECT_THAT(cache_->Put("other", never_), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_EQ(service_.puts, 4);
}

TEST_F(ArtifactCacheTest, PutOnceDoesNotWait) {
  service_.put_faults = {{grpc::StatusCode::UNAVAILABLE, "gone"}};
  EXPECT_THAT(cache_->PutOnce("data"), StatusIs(absl::StatusCode::kUnavailable, _));
  EXPECT_EQ(service_.puts, 1);
}

}  // namespace
}  // namespace tightrope
