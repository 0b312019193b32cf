// A whole coordinator, over real gRPC on a loopback port.
#include "coordinator/server.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/testing/small_experiment.h"
#include "core/artifact/data_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"
#include "tightrope/v1/coordinator.grpc.pb.h"
#include "tightrope/v1/experiments.grpc.pb.h"

namespace tightrope {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr std::chrono::seconds kDeadline{30};

class ServerTest : public ::testing::Test {
 protected:
  void Start() {
    server_.reset();
    auto server = CoordinatorServer::Start({.directory = directory_});
    ASSERT_OK(server);
    server_ = *std::move(server);
    auto channel = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    coordinator_ = v1::Coordinator::NewStub(channel);
    artifacts_ = v1::Artifacts::NewStub(channel);
    experiments_ = v1::Experiments::NewStub(channel);
  }

  struct Context : grpc::ClientContext {
    Context() { set_deadline(std::chrono::system_clock::now() + kDeadline); }
  };

  // Sends `messages` of an upload that says it has `size` bytes.
  grpc::Status Put(const std::string& sha256, uint64_t size, const std::vector<std::string>& messages) {
    Context context;
    v1::PutResponse response;
    const auto writer = artifacts_->Put(&context, &response);
    for (size_t i = 0; i < messages.size(); ++i) {
      v1::PutRequest request;
      if (i == 0) {
        request.set_sha256(sha256);
        request.set_size(size);
      }
      request.set_data(messages[i]);
      if (!writer->Write(request)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  void PutAll() {
    for (const std::string& bytes : SmallArtifacts()) {
      ASSERT_TRUE(Put(Sha256(bytes), bytes.size(), {bytes}).ok());
    }
  }
  grpc::Status Get(const std::string& sha256, uint64_t offset, std::string& data) {
    Context context;
    v1::GetRequest request;
    request.set_sha256(sha256);
    request.set_offset(offset);
    const auto reader = artifacts_->Get(&context, request);
    data.clear();
    v1::GetResponse response;
    while (reader->Read(&response)) {
      EXPECT_LE(response.data().size(), size_t{1} << 20);
      data += response.data();
    }
    return reader->Finish();
  }
  grpc::Status Submit(const v1::SubmitRequest& request, v1::SubmitResponse* response) {
    Context context;
    return experiments_->Submit(&context, request, response);
  }
  grpc::Status Sync(const v1::SyncRequest& request, v1::SyncResponse* response) {
    Context context;
    return coordinator_->Sync(&context, request, response);
  }
  // Until a worker's Sync is held.
  void AwaitWorker() {
    v1::StatusResponse status;
    while (status.workers().empty()) {
      Context context;
      const grpc::Status asked = experiments_->Status(&context, v1::StatusRequest(), &status);
      EXPECT_TRUE(asked.ok()) << asked.error_message();
      if (!asked.ok()) return;
    }
  }
  // Works as one worker until there is nothing left.
  void Work() {
    v1::SyncRequest request;
    request.set_worker_id("w");
    request.set_want(8);
    request.set_poll_ms(0);
    bool more = true;
    while (more) {
      v1::SyncResponse response;
      ASSERT_TRUE(Sync(request, &response).ok());
      more = response.acknowledged_size() + response.leases_size() > 0;
      request.clear_finished();
      for (const v1::Lease& lease : response.leases()) {
        v1::Artifact weights;
        if (lease.spec().has_train()) {
          ASSERT_TRUE(Put(Sha256("weights"), 7, {"weights"}).ok());
          weights.set_role("weights");
          weights.set_sha256(Sha256("weights"));
          weights.set_size(7);
        }
        *request.add_finished() = Finished(lease, ResultFor(lease, weights));
      }
    }
  }

  const TemporaryDirectory root_;
  const std::string directory_ = root_ / "store";  // created by the server
  std::unique_ptr<CoordinatorServer> server_;
  std::unique_ptr<v1::Coordinator::Stub> coordinator_;
  std::unique_ptr<v1::Artifacts::Stub> artifacts_;
  std::unique_ptr<v1::Experiments::Stub> experiments_;
};

TEST_F(ServerTest, ArtifactIsPutAndGotInChunks) {
  Start();
  std::string data(2'500'000, 'x');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31);
  const std::vector<std::string> chunks = {data.substr(0, 1 << 20), data.substr(1 << 20, 1 << 20),
                                           data.substr(2 << 20)};
  ASSERT_TRUE(Put(Sha256(data), data.size(), chunks).ok());
  ASSERT_TRUE(Put(Sha256(data), data.size(), chunks).ok()) << "again is harmless";
  std::string got;
  ASSERT_TRUE(Get(Sha256(data), 0, got).ok());
  EXPECT_EQ(Sha256(got), Sha256(data));
  ASSERT_TRUE(Get(Sha256(data), 2'000'000, got).ok());
  EXPECT_EQ(got, data.substr(2'000'000));
  ASSERT_TRUE(Get(Sha256(data), data.size(), got).ok());
  EXPECT_EQ(got, "");
}

TEST_F(ServerTest, EmptyArtifactIsAnArtifact) {
  Start();
  ASSERT_TRUE(Put(Sha256(""), 0, {""}).ok());
  std::string got = "something";
  ASSERT_TRUE(Get(Sha256(""), 0, got).ok());
  EXPECT_EQ(got, "");
}

TEST_F(ServerTest, BrokenUploadsLeaveNothingBehind) {
  Start();
  const std::string digest = Sha256("hello");
  EXPECT_EQ(Put(digest, 5, {"hellO"}).error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(Put(digest, 5, {"hel"}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Put(digest, 5, {"hello", "!"}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Put(digest, 5, {}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Put("../../evil", 5, {"hello"}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Put(digest, uint64_t{1} << 60, {"hello"}).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(Put(digest, 3 << 20, {std::string(2 << 20, 'x')}).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  std::string got;
  EXPECT_EQ(Get(digest, 0, got).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Get("../results.sqlite", 0, got).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ServerTest, UploadIsCutOff_NothingIsStored) {
  Start();
  {
    Context context;
    v1::PutResponse response;
    const auto writer = artifacts_->Put(&context, &response);
    v1::PutRequest request;
    request.set_sha256(Sha256("hello"));
    request.set_size(5);
    request.set_data("hel");
    ASSERT_TRUE(writer->Write(request));
    context.TryCancel();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  std::string got;
  EXPECT_EQ(Get(Sha256("hello"), 0, got).error_code(), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(Put(Sha256("hello"), 5, {"hello"}).ok());
}

TEST_F(ServerTest, MissingArtifactsAreFound) {
  Start();
  PutAll();
  v1::FindMissingRequest request;
  request.add_sha256(Sha256("test images"));
  request.add_sha256(Sha256("elsewhere"));
  Context context;
  v1::FindMissingResponse response;
  ASSERT_TRUE(artifacts_->FindMissing(&context, request, &response).ok());
  ASSERT_THAT(response.sha256(), SizeIs(1));
  EXPECT_EQ(response.sha256(0), Sha256("elsewhere"));
}

TEST_F(ServerTest, LongPollWakesOnSubmit) {
  Start();
  PutAll();
  v1::SyncResponse response;
  grpc::Status status;
  std::thread worker([&] {
    v1::SyncRequest request;
    request.set_worker_id("w");
    request.set_want(1);
    request.set_poll_ms(60'000);
    status = Sync(request, &response);
  });
  AwaitWorker();
  v1::SubmitResponse submitted;
  EXPECT_TRUE(Submit(EvaluationExperiment("e", 1, 1), &submitted).ok());
  worker.join();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_THAT(response.leases(), SizeIs(1));
}

TEST_F(ServerTest, ShutdownEndsHeldCalls) {
  Start();
  grpc::Status status;
  std::thread worker([&] {
    v1::SyncRequest request;
    request.set_worker_id("w");
    request.set_want(1);
    request.set_poll_ms(60'000);
    v1::SyncResponse response;
    status = Sync(request, &response);
  });
  AwaitWorker();
  server_->Shutdown();
  worker.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_OK(server_->Wait());
}

TEST_F(ServerTest, ExperimentIsWatchedToItsEnd_AndExported) {
  Start();
  PutAll();
  v1::SubmitResponse submitted;
  ASSERT_TRUE(Submit(TrainingExperiment("e", 2), &submitted).ok());
  v1::StatusResponse last;
  grpc::Status watched;
  std::thread watcher([&] {
    Context context;
    v1::WatchRequest request;
    request.set_experiment("e");
    request.set_interval_ms(10);
    const auto reader = experiments_->Watch(&context, request);
    while (reader->Read(&last)) {
    }
    watched = reader->Finish();
  });
  Work();
  watcher.join();
  EXPECT_TRUE(watched.ok()) << watched.error_message();
  ASSERT_THAT(last.experiments(), SizeIs(1));
  EXPECT_TRUE(last.experiments(0).finished());
  EXPECT_EQ(last.experiments(0).shards().committed(), 5u);

  v1::ExportRequest request;
  request.set_experiment("e");
  int records = 0;
  {
    Context context;
    const auto reader = experiments_->ExportExamples(&context, request);
    v1::ExportExamplesResponse response;
    while (reader->Read(&response)) {
      for (const v1::ExportedExamples& exported : response.jobs()) {
        records += exported.records_size();
        EXPECT_EQ(exported.cell().model(), "mlp");
        EXPECT_EQ(exported.has_attack(), exported.cell().attack() == "fgsm");
      }
    }
    EXPECT_TRUE(reader->Finish().ok());
  }
  EXPECT_EQ(records, 40);
  {
    Context context;
    const auto reader = experiments_->ExportEpochs(&context, request);
    v1::ExportEpochsResponse response;
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_THAT(response.epochs(), SizeIs(2));
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_TRUE(reader->Finish().ok());
  }
  {
    Context context;
    const auto reader = experiments_->ExportArtifacts(&context, request);
    v1::ExportArtifactsResponse response;
    ASSERT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.artifact().role(), "weights");
    EXPECT_FALSE(reader->Read(&response));
    EXPECT_TRUE(reader->Finish().ok());
  }
  {
    Context context;
    v1::ResultsResponse results;
    v1::ResultsRequest all;
    ASSERT_TRUE(experiments_->Results(&context, all, &results).ok());
    EXPECT_THAT(results.rows(), SizeIs(2));
  }
}

TEST_F(ServerTest, ServerIsStartedAgain_EverythingIsCached) {
  Start();
  PutAll();
  v1::SubmitResponse submitted;
  ASSERT_TRUE(Submit(TrainingExperiment("e", 2), &submitted).ok());
  Work();
  Start();
  ASSERT_TRUE(Submit(TrainingExperiment("e", 2), &submitted).ok());
  EXPECT_EQ(submitted.cached_jobs(), 3u);
  v1::FindCommittedRequest request;
  request.add_job_digests(Sha256("no job"));
  Context context;
  v1::FindCommittedResponse response;
  ASSERT_TRUE(experiments_->FindCommitted(&context, request, &response).ok());
  EXPECT_THAT(response.job_digests(), SizeIs(0));
}

TEST_F(ServerTest, UnknownExperimentsAreNotFound) {
  Start();
  v1::StatusRequest status;
  status.set_experiment("nobody");
  v1::StatusResponse response;
  Context context;
  EXPECT_EQ(experiments_->Status(&context, status, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  v1::WatchRequest watch;
  watch.set_experiment("nobody");
  Context watch_context;
  const auto watcher = experiments_->Watch(&watch_context, watch);
  EXPECT_FALSE(watcher->Read(&response));
  EXPECT_EQ(watcher->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
  v1::ExportRequest request;
  request.set_experiment("nobody");
  v1::ExportExamplesResponse examples;
  Context export_context;
  const auto reader = experiments_->ExportExamples(&export_context, request);
  EXPECT_FALSE(reader->Read(&examples));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(ServerTest, AddressIsWrittenForOthers) {
  Start();
  EXPECT_EQ(*DataDirectory(directory_).RunningAddress(), server_->address());
}

TEST_F(ServerTest, DirectoryHasAnotherCoordinator_IsRefused) {
  Start();
  EXPECT_THAT(CoordinatorServer::Start({.directory = directory_}),
              StatusIs(absl::StatusCode::kAborted, HasSubstr(server_->address())));
}

TEST_F(ServerTest, PortIsTaken_IsUnavailable) {
  Start();
  EXPECT_THAT(CoordinatorServer::Start({.directory = root_ / "other", .listen = server_->address()}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot listen")));
}

TEST_F(ServerTest, AddressThatOthersReachNeedsInsecure) {
  for (const std::string listen : {"0.0.0.0:0", "[::]:0", "example.org:1", "10.0.0.1:0"}) {
    EXPECT_THAT(CoordinatorServer::Start({.directory = directory_, .listen = listen}),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("--insecure")))
        << listen;
  }
  EXPECT_FALSE(std::filesystem::exists(directory_));
  EXPECT_OK(CoordinatorServer::Start({.directory = directory_, .listen = "0.0.0.0:0", .insecure = true}));
}

TEST_F(ServerTest, MalformedAddressIsRefused) {
  for (const std::string listen : {"", "localhost", "localhost:x", ":1", "127.0.0.1:70000"}) {
    EXPECT_THAT(CoordinatorServer::Start({.directory = directory_, .listen = listen}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")))
        << listen;
  }
}

TEST_F(ServerTest, DamagedStoreIsDataLoss) {
  std::filesystem::create_directories(directory_);
  std::ofstream(DataDirectory(directory_).StorePath()) << std::string(10'000, 'x');
  EXPECT_THAT(CoordinatorServer::Start({.directory = directory_}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("results.sqlite")));
}

TEST_F(ServerTest, ProposalsForKernelsOutOfBoundsAreRefused) {
  Start();
  v1::ChooseKernelsRequest good;
  good.set_device_kind("cpu");
  good.set_library_version("1");
  for (int i = 0; i < 1000; ++i) {
    v1::KernelOfSignature& proposal = *good.add_proposals();
    proposal.set_signature(absl::StrCat(std::string(190, 's'), i));
    proposal.set_kernel("direct");
  }
  const auto ask = [&](const v1::ChooseKernelsRequest& request) {
    Context context;
    v1::ChooseKernelsResponse response;
    const grpc::Status status = coordinator_->ChooseKernels(&context, request, &response);
    if (!status.ok()) return status.error_code();
    EXPECT_EQ(response.choices_size(), request.proposals_size());
    return status.error_code();
  };
  EXPECT_EQ(ask(good), grpc::StatusCode::OK);
  v1::ChooseKernelsRequest bad = good;
  bad.add_proposals()->CopyFrom(good.proposals(0));
  EXPECT_EQ(ask(bad), grpc::StatusCode::INVALID_ARGUMENT);
  bad = good;
  bad.clear_device_kind();
  EXPECT_EQ(ask(bad), grpc::StatusCode::INVALID_ARGUMENT);
  bad = good;
  bad.set_library_version(std::string(1001, 'v'));
  EXPECT_EQ(ask(bad), grpc::StatusCode::INVALID_ARGUMENT);
  bad = good;
  bad.mutable_proposals(999)->set_kernel("");
  EXPECT_EQ(ask(bad), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace tightrope
