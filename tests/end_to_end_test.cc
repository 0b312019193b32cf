// The two binaries as users run them: real processes, real gRPC, real store, a tiny synthetic data set.
#include <signal.h>
#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "core/artifact/npy.h"
#include "core/fault_point.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/idx_bytes.h"
#include "tests/process.h"
#include "tests/shared_data.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

void WriteFile(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// Ten classes of 28×28 images: a bright bar whose place is the class, on a noisy ground. Easy to learn, easy to attack.
void WriteSplit(const fs::path& directory, const std::string& stem, uint32_t count) {
  std::string pixels;
  std::string labels;
  uint32_t state = 12345 + count;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t label = i % 10;
    labels.push_back(static_cast<char>(label));
    for (uint32_t pixel = 0; pixel < 28 * 28; ++pixel) {
      state = state * 1664525u + 1013904223u;
      const uint32_t noise = state >> 26;
      const uint32_t column = pixel % 28;
      const bool bar = column >= 2 * label + 3 && column < 2 * label + 6;
      pixels.push_back(static_cast<char>((bar ? 120 : 40) + noise));
    }
  }
  WriteFile(directory / (stem + "-images-idx3-ubyte"), IdxImageBytes(count, 28, 28, pixels));
  WriteFile(directory / (stem + "-labels-idx1-ubyte"), IdxLabelBytes(labels));
}

constexpr char kExperiment[] = R"(name: tiny
dataset: mnist
examples: {start: 10, count: 90}
seeds: [1, 2]
models:
  - architecture: {mlp: {hidden: [32]}}
training:
  - {method: standard, epochs: 2, batch_size: 64}
  - {method: pgd, norm: linf, epsilon: 0.1, steps: 3, epochs: 3, batch_size: 64}
attacks:
  - {method: fgsm, norm: l2, epsilon: 1}
  - {method: pgd, norm: linf, epsilon: [0.05, 0.2], steps: 5, restarts: 2}
shard_size: 20
)";

struct Snapshot {
  std::string results;
  std::string examples;
  std::set<std::string> artifacts;  // digests
  bool operator==(const Snapshot&) const = default;
};

class EndToEndTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteSplit(root_ / "data/mnist", "train", 640);
    WriteSplit(root_ / "data/mnist", "t10k", 100);
    WriteFile(root_ / "tiny.yaml", kExperiment);
  }

  Process::Options Tightrope(std::vector<std::string> arguments, std::vector<std::string> environment = {}) const {
    arguments.insert(arguments.begin(), std::string(TIGHTROPE_BINARY_DIR) + "/tightrope");
    environment.push_back("TIGHTROPE_DATA=" + (root_ / "data").string());
    return {.arguments = arguments, .environment = environment, .directory = root_.string()};
  }

  ProcessResult Run(const std::string& dir, int workers, std::vector<std::string> environment = {}) const {
    return RunProcess(
        Tightrope({"run", "tiny.yaml", "--dir", dir, "--workers", std::to_string(workers)}, std::move(environment)));
  }

  // What an undisturbed run must equal, bit for bit.
  Snapshot Take(const std::string& dir, const std::string& name = "tiny") const {
    Snapshot snapshot;
    const ProcessResult results = RunProcess(Tightrope({"results", name, "--dir", dir, "--format", "json"}));
    EXPECT_EQ(results.exit_code, 0) << results.err;
    snapshot.results = results.out;
    const ProcessResult examples =
        RunProcess(Tightrope({"export", name, "--dir", dir, "--what", "examples", "--format", "csv"}));
    EXPECT_EQ(examples.exit_code, 0) << examples.err;
    snapshot.examples = examples.out;
    for (const auto& row : Query(dir, "SELECT sha256 FROM artifacts")) snapshot.artifacts.insert(row[0]);
    return snapshot;
  }

  // Empty where there is no such store or table yet.
  std::vector<std::vector<std::string>> Query(const std::string& dir, const std::string& sql) const {
    std::vector<std::vector<std::string>> rows;
    sqlite3* database = nullptr;
    if (sqlite3_open_v2((root_ / dir / "results.sqlite").c_str(), &database, SQLITE_OPEN_READWRITE, nullptr) ==
        SQLITE_OK) {
      sqlite3_busy_timeout(database, 10'000);
      sqlite3_exec(
          database, sql.c_str(),
          [](void* out, int columns, char** values, char**) {
            auto& row = static_cast<std::vector<std::vector<std::string>>*>(out)->emplace_back();
            for (int i = 0; i < columns; ++i) row.emplace_back(values[i] == nullptr ? "" : values[i]);
            return 0;
          },
          &rows, nullptr);
    }
    sqlite3_close(database);
    return rows;
  }

  // Committed shards with the fencing number they were committed under: a shard that ran again has another.
  std::set<std::string> Commits(const std::string& dir) const {
    std::set<std::string> commits;
    for (const auto& row : Query(dir, kCommitsSql)) commits.insert(row[0]);
    return commits;
  }

  // Polls another process's work, for at most a minute.
  template <typename Condition>
  static bool Eventually(const Condition& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return true;
  }

  static constexpr char kCommitsSql[] =
      "SELECT digest || ' ' || shard || ' ' || epoch FROM shards JOIN jobs ON jobs.id = shards.job "
      "WHERE result_digest IS NOT NULL";

  const TemporaryDirectory directory_;
  const fs::path root_ = directory_.path();
};

TEST_F(EndToEndTest, ResultsAreBitIdenticalWithOneTwoAndFourWorkers) {
  std::map<int, Snapshot> snapshots;
  for (const int workers : {1, 2, 4}) {
    const std::string dir = "workers-" + std::to_string(workers);
    const ProcessResult run = Run(dir, workers);
    ASSERT_EQ(run.exit_code, 0) << run.out << run.err;
    snapshots[workers] = Take(dir);
  }
  EXPECT_GT(snapshots[1].artifacts.size(), 4u);
  EXPECT_EQ(snapshots[1], snapshots[2]);
  EXPECT_EQ(snapshots[1], snapshots[4]);
}

TEST_F(EndToEndTest, BothSidesOfRobustnessAreTheSameWithOneWorkerAndThree) {
  WriteFile(root_ / "both.yaml", R"(name: both
dataset: mnist
examples: {start: 10, count: 40}
seeds: [1, 2]
models:
  - architecture: {mlp: {hidden: [16]}}
training:
  - {method: standard, epochs: 1, batch_size: 64}
attacks:
  - {method: pgd, norm: linf, epsilon: [0.05, 0.2], steps: 3}
invariance:
  - {name: moved, method: linf, epsilon: 0.2, shifts: 3, rotations: 3, shard_size: 7, oracle: nearest}
  - {name: few pixels, method: l0, transforms: 20, shard_size: 15, oracle: nearest}
  - {name: between, method: interpolate, norm: l2, epsilon: 2, oracle: {labels: votes.csv}}
  - {name: given, method: {file: {path: given.npy}}, sources: sources.npy, oracle: dataset}
alignment:
  - {norm: [l2, linf], shard_size: 100, radii: [0.5]}
shard_size: 20
)");
  std::string votes = "index,somebody\n";
  for (int i = 0; i < 40; ++i) votes += std::to_string(i) + "," + std::to_string(i % 3) + "\n";
  WriteFile(root_ / "votes.csv", votes);
  WriteFile(root_ / "given.npy", WriteNpy(std::vector<float>(2 * 28 * 28, 0.5f), {2, 28, 28}));
  WriteFile(root_ / "sources.npy", WriteIndexNpy({15, 12}));

  std::map<int, Snapshot> snapshots;
  for (const int workers : {1, 3}) {
    const std::string dir = "workers-" + std::to_string(workers);
    const ProcessResult run =
        RunProcess(Tightrope({"run", "both.yaml", "--dir", dir, "--workers", std::to_string(workers)}));
    ASSERT_EQ(run.exit_code, 0) << run.out << run.err;
    EXPECT_THAT(run.out, AllOf(HasSubstr("few pixels"), HasSubstr("linf")));
    snapshots[workers] = Take(dir, "both");
  }
  EXPECT_EQ(snapshots[1], snapshots[3]);

  std::map<std::string, std::set<std::string>> metrics;  // of each set and distance
  for (const nlohmann::json& row : nlohmann::json::parse(snapshots[1].results)) {
    if (row["attack"].is_string()) metrics[row["attack"]].insert(row["metric"].get<std::string>());
    if (row["metric"] == "changed" && row["attack"] == "given") {
      EXPECT_EQ(row["value"], 0);
      EXPECT_EQ(row["n"], row["seeds"].get<std::string>() == "1 2" ? 4 : 2);
    }
    if (row["metric"] == "misaligned_share") {
      EXPECT_EQ(row["n"], 640ull * 63 * 576);
    }
  }
  for (const char* set : {"moved", "few pixels", "between", "given"}) {
    EXPECT_THAT(metrics[set], IsSupersetOf({"changed", "agreement", "sensitivity_error"})) << set;
  }
  EXPECT_THAT(metrics["between"], IsSupersetOf({"keep_rate", "agreement_changed", "inside_robust_radius"}));
  for (const char* distance : {"l2", "linf"}) {
    EXPECT_THAT(metrics[distance], IsSupersetOf({"misaligned_share", "nearest_neighbour_error", "within_radius"}));
  }

  const ProcessResult again = RunProcess(Tightrope({"run", "both.yaml", "--dir", "workers-1", "--workers", "1"}));
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(Take("workers-1", "both"), snapshots[1]);
}

TEST_F(EndToEndTest, SecondRunFindsEverythingCachedAndPrintsTheSameBytes) {
  ASSERT_EQ(Run("data-dir", 1).exit_code, 0);
  const Snapshot first = Take("data-dir");
  const std::set<std::string> commits = Commits("data-dir");
  EXPECT_EQ(commits.size(), 4u + 4u * 5u + 8u * 5u);
  const ProcessResult again = Run("data-dir", 1);
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("cached"));
  EXPECT_EQ(Take("data-dir"), first);
  EXPECT_EQ(Commits("data-dir"), commits);
}

TEST_F(EndToEndTest, ResultsHaveTheColumnsThatScriptsDependOn) {
  ASSERT_EQ(Run("data-dir", 2).exit_code, 0);
  const nlohmann::json rows = nlohmann::json::parse(Take("data-dir").results);
  ASSERT_TRUE(rows.is_array());
  int over_seeds = 0;
  for (const nlohmann::json& row : rows) {
    for (const char* key : {"experiment", "model", "training", "dataset", "metric", "norm", "epsilon", "attack",
                            "value", "lower", "upper", "n", "seeds", "job_digest"}) {
      EXPECT_TRUE(row.contains(key)) << key;
    }
    for (const nlohmann::json& value : row) EXPECT_FALSE(value.is_structured()) << row;
    EXPECT_LE(row["lower"], row["value"]);
    EXPECT_LE(row["value"], row["upper"]);
    if (row["job_digest"].is_null()) ++over_seeds;
  }
  EXPECT_EQ(over_seeds, 2 * 4);                // two trainings × (clean, three attacks)
  EXPECT_EQ(rows.size(), 2u * 2 * 4 + 2 * 4);  // and each of two seeds
}

TEST_F(EndToEndTest, BrokenExperimentIsRefusedAndNothingIsCreated) {
  WriteFile(root_ / "broken.yaml", "name: broken\ndataset: mnist\nmodels: []\ncolour: red\n");
  const ProcessResult run = RunProcess(Tightrope({"run", "broken.yaml", "--dir", "never"}));
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_THAT(run.err, AllOf(HasSubstr("broken.yaml:3:"), HasSubstr("broken.yaml:4:1"), HasSubstr("colour")));
  EXPECT_FALSE(fs::exists(root_ / "never"));
}

TEST_F(EndToEndTest, ResultsWithoutAStoreSayWhereTheyLooked) {
  const ProcessResult results = RunProcess(Tightrope({"results", "--dir", "nowhere"}));
  EXPECT_EQ(results.exit_code, 3);
  EXPECT_THAT(results.err, HasSubstr("nowhere"));
  EXPECT_FALSE(fs::exists(root_ / "nowhere"));
}

TEST_F(EndToEndTest, InterruptedRunKeepsItsStateAndSaysHowToResume) {
  Process run(Tightrope({"run", "tiny.yaml", "--dir", "data-dir", "--workers", "1"}));
  ASSERT_TRUE(
      Eventually([&] { return fs::exists(root_ / "data-dir/results.sqlite") && !Commits("data-dir").empty(); }));
  run.Signal(SIGINT);
  const ProcessResult result = run.Wait();
  EXPECT_EQ(result.exit_code, 130) << result.out << result.err;
  EXPECT_THAT(result.out + result.err, HasSubstr("tightrope run tiny.yaml --dir data-dir"));
  EXPECT_EQ(Run("data-dir", 1).exit_code, 0);
}

TEST_F(EndToEndTest, GoldenTorchScriptModelsKeepTheirPublishedAccuracy) {
  TIGHTROPE_NEEDS_SHARED("golden/at03.pt");
  TIGHTROPE_NEEDS_SHARED("data/mnist");
  WriteFile(root_ / "clean.yaml",
            "name: clean\ndataset: mnist\nmodels:\n  - {name: at03, architecture: {torchscript: " + SharedDirectory() +
                "/golden/at03.pt}}\n  - {name: std, architecture: {torchscript: " + SharedDirectory() +
                "/golden/std.pt}}\n");
  std::ifstream in(root_ / "clean.yaml");
  std::ostringstream models;
  models << in.rdbuf();
  std::string attacked = models.str();
  attacked.replace(0, 11, "name: attacked");
  WriteFile(root_ / "attacked.yaml", attacked +
                                         "seeds: [1, 2, 3]\nexamples: {count: 1000}\nattacks: [{method: pgd, norm: "
                                         "linf, epsilon: 0.3, steps: 20, step_size: 0.03}]\n");
  std::map<std::string, double> value;
  for (const std::string name : {"clean", "attacked"}) {
    const ProcessResult run =
        RunProcess(Tightrope({"run", name + ".yaml", "--dir", "golden", "--data", SharedDirectory() + "/data"}));
    ASSERT_EQ(run.exit_code, 0) << run.out << run.err;
    const ProcessResult results = RunProcess(Tightrope({"results", name, "--dir", "golden", "--format", "json"}));
    // The last row of a metric is the one over seeds, where there are several.
    for (const nlohmann::json& row : nlohmann::json::parse(results.out)) {
      value[name + " " + row["model"].get<std::string>() + " " + row["metric"].get<std::string>()] = row["value"];
    }
  }
  EXPECT_NEAR(value.at("clean at03 clean_accuracy"), 0.9745, 1e-4);
  EXPECT_NEAR(value.at("clean std clean_accuracy"), 0.9819, 1e-4);
  EXPECT_NEAR(value.at("attacked at03 robust_accuracy"), 0.904, 0.007);
  EXPECT_EQ(value.at("attacked std robust_accuracy"), 0);
}

TEST_F(EndToEndTest, WorkerThatNeverReachesItsCoordinatorFails_AlsoOneThatMayLeaveWhenIdle) {
  const auto worker = [&](const std::string& give_up_after) {
    return RunProcess({.arguments = {std::string(TIGHTROPE_BINARY_DIR) + "/tightrope-worker", "--coordinator",
                                     "127.0.0.1:1", "--cache", (root_ / "cache").string(), "--executors", "1",
                                     "--idle-exit", "0.1", "--give-up-after", give_up_after},
                       .environment = {},
                       .directory = root_.string()});
  };
  const ProcessResult tried = worker("1");
  EXPECT_EQ(tried.exit_code, 3);
  EXPECT_THAT(tried.err, HasSubstr("127.0.0.1:1 cannot be reached"));
  const ProcessResult refused = worker("0");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("--give-up-after"));
}

// A coordinator and two workers started by hand, as on a cluster.
TEST_F(EndToEndTest, CoordinatorKilledAndRestartedMidwayFinishesWithItsWorkers) {
  ASSERT_EQ(Run("undisturbed", 1).exit_code, 0);
  auto coordinator =
      std::make_unique<Process>(Tightrope({"coordinator", "--dir", "central", "--listen", "127.0.0.1:0"}));
  ASSERT_TRUE(coordinator->WaitForOutput("127.0.0.1:"));
  const std::string printed = coordinator->Output();
  const size_t begin = printed.find("127.0.0.1:");
  const std::string address = printed.substr(begin, printed.find_first_not_of("0123456789.:", begin) - begin);

  const auto worker = [&](const std::string& name) {
    return std::make_unique<Process>(
        Tightrope({"worker", "--coordinator", address, "--cache", (root_ / name).string(), "--executors", "1"}));
  };
  const auto first = worker("cache-1");
  const auto second = worker("cache-2");
  const ProcessResult submitted = RunProcess(Tightrope({"submit", "tiny.yaml", "--coordinator", address}));
  ASSERT_EQ(submitted.exit_code, 0) << submitted.err;

  ASSERT_TRUE(Eventually([&] { return Commits("central").size() >= 5; }));
  coordinator->Signal(SIGKILL);
  EXPECT_EQ(coordinator->Wait().signal, SIGKILL);
  const std::set<std::string> before = Commits("central");
  coordinator = std::make_unique<Process>(Tightrope({"coordinator", "--dir", "central", "--listen", address}));
  ASSERT_TRUE(coordinator->WaitForOutput("127.0.0.1:")) << coordinator->Output();
  const ProcessResult watched = RunProcess(Tightrope({"watch", "tiny", "--coordinator", address}));
  EXPECT_EQ(watched.exit_code, 0) << watched.out << watched.err;
  EXPECT_THAT(Commits("central"), IsSupersetOf(before));
  coordinator->Signal(SIGTERM);
  EXPECT_EQ(coordinator->Wait().exit_code, 0);
  EXPECT_EQ(Take("central"), Take("undisturbed"));
}

// Every named moment at which a process may die: the run that is killed there, or its repetition, ends with the results
// of an undisturbed run, and no shard that was committed runs again.
class KillTest : public EndToEndTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(KillTest, RunEndsWithTheResultsOfAnUndisturbedOne) {
  ASSERT_EQ(Run("undisturbed", 2).exit_code, 0);
  const fs::path marker = root_ / "killed";
  std::string point = GetParam();
  const ProcessResult killed = Run("killed-dir", 2, {"TIGHTROPE_KILL_AT=" + point + "@" + marker.string()});
  ASSERT_TRUE(fs::exists(marker)) << "nobody died at " << point << "\n" << killed.out << killed.err;
  const std::set<std::string> before =
      fs::exists(root_ / "killed-dir/results.sqlite") ? Commits("killed-dir") : std::set<std::string>();
  if (point.rfind("worker.", 0) == 0) {
    EXPECT_EQ(killed.exit_code, 0) << "a run outlives its workers\n" << killed.out << killed.err;
  } else if (point.rfind("coordinator.", 0) == 0) {
    EXPECT_EQ(killed.signal, SIGKILL) << killed.out << killed.err;
  }
  const ProcessResult again = Run("killed-dir", 2);
  EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
  EXPECT_THAT(Commits("killed-dir"), IsSupersetOf(before));
  EXPECT_EQ(Take("killed-dir"), Take("undisturbed"));
}

// The point itself, and later hits of points that are reached many times.
std::vector<std::string> KillPoints() {
  std::vector<std::string> points = FaultPoints();
  for (const char* later : {"coordinator.commit.before-durable#9", "coordinator.commit.after-durable#20",
                            "coordinator.lease.after-grant#12", "worker.training.in-epoch#3", "worker.attack.in-step#7",
                            "worker.training.after-checkpoint#2", "artifact.before-rename#5"}) {
    points.push_back(later);
  }
  return points;
}

INSTANTIATE_TEST_SUITE_P(Points, KillTest, ::testing::ValuesIn(KillPoints()), [](const auto& point) {
  std::string name;
  for (const char c : point.param) name += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
});

}  // namespace
}  // namespace tightrope
