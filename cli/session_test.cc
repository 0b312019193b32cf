#include "cli/session.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/artifact/data_directory.h"
#include "core/artifact/digest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr char kExperiment[] = R"(name: tiny
dataset: mnist
models: [{architecture: {mlp: {hidden: [4]}}}]
training: [{method: standard, epochs: 1}]
attacks: [{method: fgsm, norm: linf, epsilon: 0.1}]
)";

// A real coordinator in this process, real gRPC over loopback, a data set of a few images.
class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string split : {"train", "t10k"}) {
      root_.Write("data/mnist/" + split + "-images-idx3-ubyte",
                  std::string("\0\0\x08\x03\0\0\0\x0a\0\0\0\x1c\0\0\0\x1c", 16) + std::string(10 * 28 * 28, split[1]));
      root_.Write("data/mnist/" + split + "-labels-idx1-ubyte",
                  std::string("\0\0\x08\x01\0\0\0\x0a", 8) + std::string("\0\1\2\3\4\5\6\7\x08\x09", 10));
    }
  }

  std::string Directory() const { return root_ / "store"; }
  absl::StatusOr<std::unique_ptr<CoordinatorServer>> StartServer() {
    return CoordinatorServer::Start(
        {.directory = Directory(), .listen = "127.0.0.1:0", .insecure = false, .resume_experiments = false});
  }
  absl::StatusOr<ExperimentFile> Experiment() {
    return ParseExperimentFile(kExperiment, root_ / "tiny.yaml", {.dataset_search_path = {root_ / "data"}});
  }

  const TemporaryDirectory root_;
};

TEST_F(SessionTest, DirectoryWithoutAStore_IsAnErrorAndNothingIsCreated) {
  EXPECT_THAT(Session::Open({.coordinator = "", .directory = Directory()}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(Directory())));
  EXPECT_FALSE(fs::exists(Directory()));
}

TEST_F(SessionTest, RunningCoordinatorIsTalkedTo_AndAnOldStoreIsOpenedHere) {
  auto server = StartServer();
  ASSERT_OK(server);
  const Target target = {.coordinator = "", .directory = Directory()};
  {
    const auto session = Session::Open(target);
    ASSERT_OK(session);
    EXPECT_FALSE((*session)->embedded());
  }
  server->reset();
  const auto session = Session::Open(target);
  ASSERT_OK(session);
  EXPECT_TRUE((*session)->embedded());
  EXPECT_OK(DataDirectory(Directory()).RunningAddress());
}

TEST_F(SessionTest, CoordinatorThatEndsWhileACommandUsesIt_IsReplacedByOneOfOurOwn) {
  auto server = StartServer();
  ASSERT_OK(server);
  std::vector<bool> embedded;
  EXPECT_OK(WithSession({.coordinator = "", .directory = Directory()}, [&](Session& session) -> absl::Status {
    embedded.push_back(session.embedded());
    server->reset();
    return session.client().Status("").status();
  }));
  EXPECT_THAT(embedded, ElementsAre(false, true));
}

TEST_F(SessionTest, CommandThatHoldsTheDirectoryForAMoment_IsWaitedFor) {
  auto other = StartServer();
  ASSERT_OK(other);
  int pauses = 0;
  EXPECT_OK(StartOwnServer({.directory = Directory(), .listen = "127.0.0.1:0"}, [&](absl::Duration) {
    if (++pauses == 3) other->reset();
  }));
  EXPECT_EQ(pauses, 3);
}

TEST_F(SessionTest, CoordinatorThatStaysOnTheDirectory_IsNotTheUsersMistake) {
  auto other = StartServer();
  ASSERT_OK(other);
  absl::Duration waited;
  EXPECT_THAT(StartOwnServer({.directory = Directory(), .listen = "127.0.0.1:0"},
                             [&](absl::Duration pause) { waited += pause; }),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr((*other)->address())));
  EXPECT_LT(waited, absl::Seconds(5));
}

TEST_F(SessionTest, MoreDigestsThanOneRequestHoldsAreAskedForInParts) {
  auto server = StartServer();
  ASSERT_OK(server);
  auto client = Client::Connect((*server)->address(), absl::Seconds(10));
  ASSERT_OK(client);
  // 70 MB of them: more than the coordinator takes at once.
  const auto committed = (*client)->FindCommitted(std::vector<std::string>(1'070'000, std::string(64, 'a')));
  ASSERT_OK(committed);
  EXPECT_THAT(*committed, IsEmpty());
}

TEST_F(SessionTest, StoreOfANewerVersion_IsTheUsersToMendAndNotTriedAgain) {
  ASSERT_OK(StartServer());
  std::fstream store(DataDirectory(Directory()).StorePath(), std::ios::binary | std::ios::in | std::ios::out);
  store.seekp(60);  // SQLite's user_version, big-endian
  store.write("\0\0\3\xe7", 4);
  store.close();
  EXPECT_THAT(Session::Open({.coordinator = "", .directory = Directory()}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("newer Tightrope")));
}

TEST_F(SessionTest, SubmittingPutsEachArtifactOnce) {
  auto server = StartServer();
  ASSERT_OK(server);
  auto client = Client::Connect((*server)->address(), absl::Seconds(10));
  ASSERT_OK(client);
  const absl::StatusOr<ExperimentFile> file = Experiment();
  ASSERT_OK(file);

  std::vector<uint64_t> uploads;
  const auto first = (*client)->Submit(*file, [&](uint64_t size) { uploads.push_back(size); });
  ASSERT_OK(first);
  EXPECT_EQ(first->jobs(), 3u);
  // Both splits have the same labels: one file.
  EXPECT_THAT(uploads, UnorderedElementsAre(7856, 7856, 18));
  uploads.clear();
  ASSERT_OK((*client)->Submit(*file, [&](uint64_t size) { uploads.push_back(size); }));
  EXPECT_THAT(uploads, IsEmpty());

  const auto status = (*client)->Status("");
  ASSERT_OK(status);
  ASSERT_EQ(status->experiments_size(), 1);
  EXPECT_EQ(status->experiments(0).name(), "tiny");
  EXPECT_FALSE(status->experiments(0).finished());
  EXPECT_THAT((*client)->Status("other"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("other")));
  const auto results = (*client)->Results("tiny");
  ASSERT_OK(results);
  EXPECT_THAT(*results, IsEmpty());
}

TEST_F(SessionTest, LargeArtifactGoesUpInChunksAndComesBackTheSame) {
  auto server = StartServer();
  ASSERT_OK(server);
  auto client = Client::Connect((*server)->address(), absl::Seconds(10));
  ASSERT_OK(client);
  absl::StatusOr<ExperimentFile> file = Experiment();
  ASSERT_OK(file);
  // Three chunks and a bit, from memory and from a file.
  std::string bytes((3 << 20) + 17, 'x');
  for (size_t i = 0; i < bytes.size(); i += 1000) bytes[i] = static_cast<char>(i / 1000);
  root_.Write("model.pt", bytes + "y");
  file->uploads.push_back({.sha256 = Sha256(bytes), .bytes = bytes, .path = ""});
  file->uploads.push_back({.sha256 = Sha256(bytes + "y"), .bytes = "", .path = root_ / "model.pt"});
  ASSERT_OK((*client)->Submit(*file, [](uint64_t) {}));
  const std::string path = root_ / "back";
  ASSERT_OK((*client)->Download(Sha256(bytes + "y"), path));
  EXPECT_EQ(fs::file_size(path), bytes.size() + 1);
  const auto digest = Sha256OfFile(path);
  ASSERT_OK(digest);
  EXPECT_EQ(*digest, Sha256(bytes + "y"));
  EXPECT_THAT((*client)->Download(Sha256("never put"), path + "2"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("")));
  EXPECT_FALSE(fs::exists(path + "2"));
  EXPECT_FALSE(fs::exists(path + "2.partial"));
}

TEST_F(SessionTest, ModelFileThatChangedSinceItWasRead_IsRefused) {
  auto server = StartServer();
  ASSERT_OK(server);
  auto client = Client::Connect((*server)->address(), absl::Seconds(10));
  ASSERT_OK(client);
  absl::StatusOr<ExperimentFile> file = Experiment();
  ASSERT_OK(file);
  root_.Write("model.pt", "another model");
  file->uploads.push_back({.sha256 = Sha256("a model"), .bytes = "", .path = root_ / "model.pt"});
  EXPECT_THAT((*client)->Submit(*file, [](uint64_t) {}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(root_ / "model.pt")));
}

TEST_F(SessionTest, WatchingEndsWhenTheFeedIsDropped_AndTellsOfACoordinatorThatGoes) {
  auto server = StartServer();
  ASSERT_OK(server);
  auto client = Client::Connect((*server)->address(), absl::Seconds(10));
  ASSERT_OK(client);
  const absl::StatusOr<ExperimentFile> file = Experiment();
  ASSERT_OK(file);
  ASSERT_OK((*client)->Submit(*file, [](uint64_t) {}));
  const auto dropped = (*client)->Watch("tiny", absl::Milliseconds(10));
  ASSERT_OK(dropped->Next(absl::Seconds(60)));
  const auto feed = (*client)->Watch("tiny", absl::Milliseconds(10));
  ASSERT_OK(feed->Next(absl::Seconds(60)));
  server->reset();
  absl::StatusOr<v1::StatusResponse> next = feed->Next(absl::Seconds(60));
  while (next.ok()) next = feed->Next(absl::Seconds(60));
  EXPECT_THAT(next, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("the coordinator at 127.0.0.1:")));
}

TEST_F(SessionTest, AddressesAreCheckedBeforeAnythingIsTried) {
  for (const char* address : {"", "node1", ":80", "node1:", "node1:http", "node1:99999"}) {
    EXPECT_THAT(Client::Connect(address, absl::ZeroDuration()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")))
        << address;
  }
  EXPECT_THAT(Client::Connect("127.0.0.1:1", absl::ZeroDuration()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("127.0.0.1:1")));
}

}  // namespace
}  // namespace tightrope
