// A real coordinator and real workers in one process, over loopback gRPC, on a data set small enough to take seconds.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/server.h"
#include "core/artifact/file.h"
#include "core/artifact/safetensors.h"
#include "core/robustness/torch.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/idx_bytes.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"
#include "tightrope/v1/experiments.grpc.pb.h"
#include "worker/worker.h"

namespace tightrope {
namespace {

using ::testing::_;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr uint32_t kSide = 8;
constexpr uint32_t kClasses = 3;
constexpr uint32_t kTestExamples = 60;

// Class c is bright in its third of the rows, over noise: easy to learn, not free of errors under attack.
struct IdxFiles {
  std::string images;
  std::string labels;
};
IdxFiles MakeImages(uint32_t count, uint32_t seed) {
  std::string pixels;
  std::string labels;
  uint32_t state = seed;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t label = i % kClasses;
    labels += static_cast<char>(label);
    for (uint32_t pixel = 0; pixel < kSide * kSide; ++pixel) {
      state = state * 1664525 + 1013904223;
      const bool bright = pixel / kSide * kClasses / kSide == label;
      pixels += static_cast<char>((state >> 24) % 120 + (bright ? 80 : 0));
    }
  }
  return {.images = IdxImageBytes(count, kSide, kSide, pixels), .labels = IdxLabelBytes(labels)};
}

v1::Experiment SmallExperiment() {
  v1::Experiment experiment;
  experiment.set_name("small");
  experiment.set_dataset("mnist");
  experiment.mutable_examples()->set_count(kTestExamples);
  experiment.add_seeds(1);
  experiment.add_seeds(2);
  experiment.set_shard_size(16);
  v1::Model& model = *experiment.add_models();
  model.set_name("mlp");
  model.mutable_architecture()->mutable_mlp()->add_hidden(16);
  v1::Training& training = *experiment.add_training();
  training.set_name("standard");
  training.mutable_standard();
  training.set_epochs(6);
  training.set_batch_size(16);
  training.set_optimizer(v1::OPTIMIZER_ADAM);
  training.set_learning_rate(0.01);
  training.set_schedule(v1::SCHEDULE_CONSTANT);
  training.set_decay(0.1);
  training.set_examples(300);
  v1::Attack& attack = *experiment.add_attacks();
  attack.set_name("pgd");
  attack.set_norm(v1::NORM_LINF);
  attack.set_epsilon(0.1);
  attack.set_protocol(v1::RADIUS_PROTOCOL_SHARED);
  attack.mutable_pgd()->set_loss(v1::ATTACK_LOSS_CE);
  attack.mutable_pgd()->set_steps(5);
  attack.mutable_pgd()->set_step_size(0.05);
  attack.mutable_pgd()->set_restarts(2);
  attack.mutable_pgd()->set_random_start(true);
  return experiment;
}

// Everything that a user can see of an experiment, in one order.
struct Outcome {
  std::vector<v1::MetricRow> metrics;
  std::vector<std::string> records;    // ExampleRecord with its job
  std::vector<std::string> artifacts;  // job, shard, role, digest
  std::vector<std::string> epochs;     // EpochMetrics with its job
};

void ExpectSame(const Outcome& outcome, const Outcome& expected) {
  ASSERT_EQ(outcome.metrics.size(), expected.metrics.size());
  for (size_t i = 0; i < expected.metrics.size(); ++i) {
    EXPECT_EQ(outcome.metrics[i].SerializeAsString(), expected.metrics[i].SerializeAsString())
        << outcome.metrics[i].ShortDebugString() << "\ninstead of\n"
        << expected.metrics[i].ShortDebugString();
  }
  EXPECT_EQ(outcome.records, expected.records);
  EXPECT_EQ(outcome.artifacts, expected.artifacts);
  EXPECT_EQ(outcome.epochs, expected.epochs);
}

v1::Experiment ConvolutionalExperiment() {
  v1::Experiment experiment = SmallExperiment();
  experiment.mutable_models(0)->mutable_architecture()->mutable_small_cnn();
  experiment.clear_seeds();
  experiment.add_seeds(1);
  v1::PgdTraining& pgd = *experiment.mutable_training(0)->mutable_pgd();
  pgd.set_norm(v1::NORM_LINF);
  pgd.set_epsilon(0.05);
  pgd.set_steps(2);
  pgd.set_step_size(0.02);
  pgd.set_random_start(true);
  return experiment;
}

// The layers that there are kernels to choose for in that experiment's model.
std::vector<std::string> SignaturesOfSmallCnn() {
  std::vector<std::string> signatures;
  for (const char* way : {"forward", "gradient"}) {
    for (const char* rest : {" 16x1x4x4 stride 2x2 pad 1x1 dil 1x1 groups 1 on 1x8x8",
                             " 32x16x4x4 stride 2x2 pad 1x1 dil 1x1 groups 1 on 16x4x4"}) {
      signatures.push_back(absl::StrCat("conv2d ", way, rest));
    }
  }
  return signatures;
}

// What the coordinator says to a worker that would take `proposal` for each of them.
std::map<std::string, std::string> AskForKernels(const std::string& coordinator, const std::string& proposal) {
  const std::unique_ptr<CoordinatorConnection> connection = ConnectToCoordinator(coordinator);
  KernelTable table(connection->kernels());
  const auto propose = [&](const std::vector<std::string>& unknown) {
    KernelTable::Choice proposals;
    for (const std::string& signature : unknown) proposals[signature] = proposal;
    return proposals;
  };
  const Cancellation never;
  const absl::StatusOr<KernelTable::Choice> choice =
      table.Choose(DeviceKind(torch::kCPU), LibTorchVersion(), SignaturesOfSmallCnn(), propose, never);
  EXPECT_OK(choice);
  return choice.value_or(KernelTable::Choice());
}

// A worker on a thread of its own.
class RunningWorker {
 public:
  RunningWorker(const std::string& coordinator, const std::string& cache, int executors,
                Worker::RunnerFactory make_runner) {
    WorkerOptions options = {.coordinator = coordinator,
                             .cache_directory = cache,
                             .devices = std::vector<std::string>(executors, "cpu"),
                             .version = "test",
                             .loop = {.give_up_after = absl::Minutes(2)}};
    absl::StatusOr<std::unique_ptr<Worker>> worker = Worker::Create(options, std::move(make_runner));
    EXPECT_OK(worker);
    worker_ = *std::move(worker);
    thread_ = std::thread([this] {
      const absl::StatusOr<LeaseLoop::End> end = worker_->Run();
      EXPECT_OK(end);
      end_ = end.value_or(LeaseLoop::End::kUnreachable);
    });
  }
  ~RunningWorker() {
    if (!thread_.joinable()) return;
    worker_->Drain();
    thread_.join();
  }
  RunningWorker(const RunningWorker&) = delete;
  RunningWorker& operator=(const RunningWorker&) = delete;

  void Drain() { worker_->Drain(); }
  LeaseLoop::End Join() {
    thread_.join();
    return end_;
  }

 private:
  std::unique_ptr<Worker> worker_;
  LeaseLoop::End end_ = LeaseLoop::End::kUnreachable;
  std::thread thread_;
};

// Computes one epoch of a training and then waits until it is stopped; anything else as it should.
class StuckAfterOneEpoch final : public ShardRunner {
 public:
  StuckAfterOneEpoch(const std::string& device, ArtifactCache& artifacts, DatasetCache& datasets, KernelTable& kernels)
      : runner_(MakeTorchShardRunner(device, artifacts, datasets, kernels)) {}

  absl::StatusOr<v1::ShardResult> Run(const v1::Lease& lease, const Cancellation& cancellation,
                                      ShardObserver& observer) override {
    Observer stuck(cancellation, observer);
    return runner_->Run(lease, cancellation, stuck);
  }

 private:
  class Observer final : public ShardObserver {
   public:
    Observer(const Cancellation& cancellation, ShardObserver& observer)
        : cancellation_(cancellation), observer_(observer) {}
    void Progress(double fraction, uint64_t examples_done) override { observer_.Progress(fraction, examples_done); }
    void EpochsDone(const std::vector<v1::EpochMetrics>& epochs, const v1::Artifact& checkpoint) override {
      observer_.EpochsDone(epochs, checkpoint);
      cancellation_.WaitFor(absl::InfiniteDuration());
    }

   private:
    const Cancellation& cancellation_;
    ShardObserver& observer_;
  };

  const std::unique_ptr<ShardRunner> runner_;
};

// Checkpoints among the files below `directory`.
int CountCheckpoints(const std::string& directory) {
  int checkpoints = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
    if (!entry.is_regular_file()) continue;
    const absl::StatusOr<std::string> bytes = ReadFile(entry.path().string(), 1 << 24);
    EXPECT_OK(bytes);
    const absl::StatusOr<SafeTensors> file = ParseSafeTensors(bytes.value_or(""));
    if (file.ok() && file->metadata.contains("format") && file->metadata.at("format") == "tightrope checkpoint 1") {
      ++checkpoints;
    }
  }
  return checkpoints;
}

class Cluster {
 public:
  Cluster() { StartCoordinator("127.0.0.1:0"); }

  void StartCoordinator(const std::string& listen) {
    absl::StatusOr<std::unique_ptr<CoordinatorServer>> server =
        CoordinatorServer::Start({.directory = directory_ / "data", .listen = listen, .lease = absl::Seconds(10)});
    ASSERT_OK(server);
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
    stub_ = v1::Experiments::NewStub(channel_);
  }

  void RestartCoordinator() {
    const std::string address = server_->address();
    server_.reset();
    StartCoordinator(address);
  }

  CoordinatorServer& server() { return *server_; }

  // Workers share a cache unless they are given one of their own.
  std::unique_ptr<RunningWorker> AddWorker(int executors, const std::string& cache = "cache",
                                           Worker::RunnerFactory make_runner = MakeTorchShardRunner) {
    return std::make_unique<RunningWorker>(server_->address(), directory_ / cache, executors, std::move(make_runner));
  }
  std::string Path(const std::string& name) const { return directory_ / name; }

  void Submit(const v1::Experiment& experiment) {
    v1::SubmitRequest request;
    *request.mutable_experiment() = experiment;
    PutSplit(v1::SPLIT_TRAIN, MakeImages(300, /*seed=*/1), 300, *request.mutable_inputs()->mutable_train());
    PutSplit(v1::SPLIT_TEST, MakeImages(kTestExamples, /*seed=*/2), kTestExamples,
             *request.mutable_inputs()->mutable_test());
    grpc::ClientContext context;
    v1::SubmitResponse response;
    const grpc::Status status = stub_->Submit(&context, request, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  // Reads statuses until `enough` is content with one.
  template <typename Enough>
  v1::ExperimentStatus Await(Enough enough) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2));
    v1::WatchRequest request;
    request.set_experiment("small");
    const auto reader = stub_->Watch(&context, request);
    v1::StatusResponse response;
    while (reader->Read(&response)) {
      if (response.experiments_size() == 1 && enough(response.experiments(0))) {
        context.TryCancel();
        return response.experiments(0);
      }
    }
    ADD_FAILURE() << "the experiment ended, or two minutes passed: " << response.ShortDebugString();
    return {};
  }
  v1::ExperimentStatus AwaitFinished() {
    return Await([](const v1::ExperimentStatus& status) { return status.finished(); });
  }

  Outcome Read() {
    Outcome outcome;
    grpc::ClientContext context;
    v1::ResultsResponse results;
    const grpc::Status status = stub_->Results(&context, v1::ResultsRequest(), &results);
    EXPECT_TRUE(status.ok()) << status.error_message();
    outcome.metrics.assign(results.rows().begin(), results.rows().end());
    ForEach<v1::ExportExamplesResponse>(&v1::Experiments::Stub::ExportExamples, [&](const auto& part) {
      for (const v1::ExportedExamples& job : part.jobs()) {
        for (const v1::ExampleRecord& record : job.records()) {
          outcome.records.push_back(absl::StrCat(job.cell().job_digest(), " ", record.ShortDebugString()));
        }
      }
    });
    ForEach<v1::ExportArtifactsResponse>(&v1::Experiments::Stub::ExportArtifacts, [&](const auto& part) {
      outcome.artifacts.push_back(absl::StrCat(part.cell().job_digest(), " ", part.shard(), " ", part.artifact().role(),
                                               " ", part.artifact().sha256()));
    });
    ForEach<v1::ExportEpochsResponse>(&v1::Experiments::Stub::ExportEpochs, [&](const auto& part) {
      for (const v1::EpochMetrics& epoch : part.epochs()) {
        outcome.epochs.push_back(absl::StrCat(part.cell().job_digest(), " ", epoch.ShortDebugString()));
      }
    });
    std::sort(outcome.artifacts.begin(), outcome.artifacts.end());
    return outcome;
  }

 private:
  void PutSplit(v1::Split split, const IdxFiles& files, uint64_t count, v1::DatasetRef& ref) {
    absl::StatusOr<BlobStore> store = BlobStore::Open(directory_ / "submit");
    ASSERT_OK(store);
    const std::unique_ptr<CoordinatorConnection> connection = ConnectToCoordinator(server_->address());
    ArtifactCache cache(*std::move(store), connection->artifacts());
    const Cancellation never;
    const absl::StatusOr<std::string> images = cache.Put(files.images, never);
    const absl::StatusOr<std::string> labels = cache.Put(files.labels, never);
    ASSERT_OK(images);
    ASSERT_OK(labels);
    ref.set_name("mnist");
    ref.set_split(split);
    ref.set_images_sha256(*images);
    ref.set_labels_sha256(*labels);
    ref.set_count(count);
    ref.set_channels(1);
    ref.set_height(kSide);
    ref.set_width(kSide);
    ref.set_classes(kClasses);
  }

  template <typename Response, typename Call, typename Visit>
  void ForEach(Call call, Visit visit) {
    grpc::ClientContext context;
    const auto reader = (stub_.get()->*call)(&context, v1::ExportRequest());
    Response part;
    while (reader->Read(&part)) visit(part);
    EXPECT_TRUE(reader->Finish().ok());
  }

  TemporaryDirectory directory_;
  std::unique_ptr<CoordinatorServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Experiments::Stub> stub_;
};

Outcome RunUndisturbed(int executors) {
  Cluster cluster;
  const std::unique_ptr<RunningWorker> worker = cluster.AddWorker(executors);
  cluster.Submit(SmallExperiment());
  const v1::ExperimentStatus status = cluster.AwaitFinished();
  EXPECT_THAT(status.failures(), IsEmpty()) << status.ShortDebugString();
  EXPECT_EQ(status.nondeterministic_shards(), 0);
  cluster.server().ReleaseWorkers();
  EXPECT_EQ(worker->Join(), LeaseLoop::End::kDone);
  return cluster.Read();
}

// What all other runs must equal.
const Outcome& Reference() {
  static const Outcome outcome = RunUndisturbed(1);
  return outcome;
}

v1::MetricRow Row(const Outcome& outcome, const std::string& metric) {
  for (const v1::MetricRow& row : outcome.metrics) {
    if (row.metric() == metric) return row;
  }
  ADD_FAILURE() << "no row of " << metric;
  return {};
}

TEST(WorkerIntegrationTest, TrainsEvaluatesAndAttacks_EverythingIsCommitted) {
  const Outcome& outcome = Reference();
  const v1::MetricRow clean = Row(outcome, "clean_accuracy");
  const v1::MetricRow robust = Row(outcome, "robust_accuracy");
  EXPECT_EQ(clean.n(), kTestExamples);
  EXPECT_EQ(robust.n(), kTestExamples);
  EXPECT_GT(clean.value(), 0.9);
  EXPECT_LT(robust.value(), clean.value());
  // Two seeds, clean and attacked.
  EXPECT_THAT(outcome.records, SizeIs(2 * 2 * kTestExamples));
  EXPECT_THAT(outcome.epochs, SizeIs(2 * 6));
  EXPECT_THAT(outcome.artifacts, Contains(HasSubstr(" weights ")).Times(2));
  EXPECT_THAT(outcome.artifacts, Contains(HasSubstr(" witnesses ")));
}

TEST(WorkerIntegrationTest, ResultsAreBitIdenticalWithTwoAndFourExecutors) {
  ExpectSame(RunUndisturbed(2), Reference());
  ExpectSame(RunUndisturbed(4), Reference());
}

TEST(WorkerIntegrationTest, TwoWorkersShareTheWork_SameBits) {
  Cluster cluster;
  const std::unique_ptr<RunningWorker> first = cluster.AddWorker(1);
  const std::unique_ptr<RunningWorker> second = cluster.AddWorker(1);
  cluster.Submit(SmallExperiment());
  cluster.AwaitFinished();
  ExpectSame(cluster.Read(), Reference());
}

TEST(WorkerIntegrationTest, WorkerLeavesInMidTraining_AnotherGoesOnFromTheCheckpoint_SameBits) {
  Cluster cluster;
  std::unique_ptr<RunningWorker> first = cluster.AddWorker(
      1, "first",
      [](const std::string& device, ArtifactCache& artifacts, DatasetCache& datasets, KernelTable& kernels) {
        return std::make_unique<StuckAfterOneEpoch>(device, artifacts, datasets, kernels);
      });
  cluster.Submit(SmallExperiment());
  cluster.Await([&](const v1::ExperimentStatus&) { return !cluster.Read().epochs.empty(); });
  EXPECT_THAT(cluster.Read().epochs, SizeIs(1));
  first->Drain();
  EXPECT_EQ(first->Join(), LeaseLoop::End::kDrained);
  const std::unique_ptr<RunningWorker> second = cluster.AddWorker(1, "second");
  cluster.AwaitFinished();
  ExpectSame(cluster.Read(), Reference());
  // A worker puts checkpoints straight to the coordinator; one in its cache was fetched, to go on from it.
  EXPECT_EQ(CountCheckpoints(cluster.Path("second")), 1);
}

TEST(WorkerIntegrationTest, CoordinatorRestartsWhileWorkIsInFlight_TheWorkerOffersIt_SameBits) {
  Cluster cluster;
  const std::unique_ptr<RunningWorker> worker = cluster.AddWorker(2);
  cluster.Submit(SmallExperiment());
  cluster.Await([](const v1::ExperimentStatus& status) { return status.shards().leased() > 0; });
  cluster.RestartCoordinator();
  cluster.Await([](const v1::ExperimentStatus& status) { return status.shards().committed() > 2; });
  cluster.RestartCoordinator();
  cluster.AwaitFinished();
  ExpectSame(cluster.Read(), Reference());
}

TEST(WorkerIntegrationTest, WorkerComesBeforeTheCoordinator) {
  Cluster cluster;
  const std::string address = cluster.server().address();
  cluster.Submit(SmallExperiment());
  std::unique_ptr<RunningWorker> worker;
  {
    // Nobody listens while the worker starts.
    cluster.server().Shutdown();
    worker = cluster.AddWorker(2);
  }
  cluster.RestartCoordinator();
  cluster.AwaitFinished();
  ExpectSame(cluster.Read(), Reference());
}

TEST(WorkerIntegrationTest, KernelsAreChosenByTheFirstWorker_TheSecondTakesThem_AlsoAfterARestart) {
  Cluster cluster;
  const std::unique_ptr<RunningWorker> worker = cluster.AddWorker(2);
  cluster.Submit(ConvolutionalExperiment());
  EXPECT_THAT(cluster.AwaitFinished().failures(), IsEmpty());
  const std::map<std::string, std::string> chosen = AskForKernels(cluster.server().address(), "of another worker");
  EXPECT_THAT(chosen, SizeIs(4));
  EXPECT_THAT(chosen, Each(Pair(_, Not("of another worker"))));
  cluster.RestartCoordinator();
  EXPECT_EQ(AskForKernels(cluster.server().address(), "of a third worker"), chosen);
}

TEST(WorkerIntegrationTest, KernelsThatAWorkerDoesNotHave_ItRefusesRatherThanRoundDifferently) {
  Cluster cluster;
  EXPECT_THAT(AskForKernels(cluster.server().address(), "of tomorrow"), Each(Pair(_, "of tomorrow")));
  const std::unique_ptr<RunningWorker> worker = cluster.AddWorker(1);
  cluster.Submit(ConvolutionalExperiment());
  const v1::ExperimentStatus status = cluster.AwaitFinished();
  ASSERT_FALSE(status.failures().empty());
  EXPECT_THAT(status.failures(0).message(), HasSubstr("update the worker: of tomorrow"));
}

}  // namespace
}  // namespace tightrope
