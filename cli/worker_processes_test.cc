#include "cli/worker_processes.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/status_matchers.h"
#include "tests/temporary_directory.h"

namespace tightrope {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// Real processes (/bin/sh), and a clock that stands still unless the test moves it.
class WorkerProcessesTest : public ::testing::Test {
 protected:
  WorkerProcessesOptions Options(const std::string& script, int count = 1) const {
    WorkerProcessesOptions options;
    options.command = {"/bin/sh", "-c", script};
    for (int i = 0; i < count; ++i) options.logs.push_back(Log(i));
    return options;
  }
  std::string Log(int worker) const { return root_ / absl::StrCat("worker-", worker, ".log"); }
  std::string Read(const std::string& path) const {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  std::function<absl::Time()> ManualClock() {
    return [this] { return now_; };
  }
  // Watches until a death is noticed; returns what Watch said last.
  absl::Status AwaitDeath(WorkerProcesses& workers, std::vector<std::string>& events) {
    const size_t before = events.size();
    absl::Status status = absl::OkStatus();
    while (events.size() == before && status.ok()) status = workers.Watch(events);
    return status;
  }

  const TemporaryDirectory root_;
  absl::Time now_ = absl::FromUnixSeconds(1000);
};

TEST_F(WorkerProcessesTest, WorkerKilled_IsStartedAgainAfterItsDelay) {
  WorkerProcesses workers(Options("exec sleep 1000", 2), ManualClock());
  ASSERT_OK(workers.Start());
  const std::vector<pid_t> first = workers.running();
  ASSERT_THAT(first, SizeIs(2));
  kill(first[1], SIGKILL);
  std::vector<std::string> events;
  ASSERT_OK(AwaitDeath(workers, events));
  EXPECT_THAT(events, ElementsAre(AllOf(HasSubstr("worker 1 was killed by signal 9"), HasSubstr("started again"),
                                        HasSubstr(Log(1)))));
  EXPECT_THAT(workers.running(), ElementsAre(first[0]));
  ASSERT_OK(workers.Watch(events));
  EXPECT_THAT(workers.running(), SizeIs(1)) << "before its time";
  now_ += absl::Milliseconds(500);
  ASSERT_OK(workers.Watch(events));
  EXPECT_THAT(workers.running(), SizeIs(2));
  EXPECT_THAT(events, SizeIs(1));
}

TEST_F(WorkerProcessesTest, WorkerThatNeverGetsToWork_IsGivenUpAndItsLastWordsAreTold) {
  WorkerProcesses workers(Options("echo first; echo 'libtorch.so: not found' >&2; exit 7"), ManualClock());
  ASSERT_OK(workers.Start());
  std::vector<std::string> events;
  absl::Status status;
  while (status.ok()) {
    status = AwaitDeath(workers, events);
    now_ += absl::Minutes(1);
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable,
                               AllOf(HasSubstr("5 deaths in a row"), HasSubstr("exited with code 7"),
                                     HasSubstr("libtorch.so: not found"), HasSubstr(Log(0)))));
  EXPECT_THAT(events, SizeIs(5));
}

TEST_F(WorkerProcessesTest, WorkerThatRefusesItsInput_IsNotStartedAgain_AndItsReasonIsTold) {
  WorkerProcesses workers(Options("echo 'no such GPU: cuda:7' >&2; exit 2", 2), ManualClock());
  ASSERT_OK(workers.Start());
  std::vector<std::string> events;
  absl::Status status;
  while (status.ok()) status = workers.Watch(events);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("no such GPU: cuda:7"), HasSubstr(root_ / "worker-"))));
  EXPECT_TRUE(events.empty());
}

TEST_F(WorkerProcessesTest, RunThatGetsOn_ForgetsDeaths) {
  WorkerProcesses workers(Options("exit 1"), ManualClock());
  ASSERT_OK(workers.Start());
  std::vector<std::string> events;
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK(AwaitDeath(workers, events)) << i;
    workers.NoteProgress();
    now_ += absl::Minutes(1);
  }
}

TEST_F(WorkerProcessesTest, WorkerThatDiesAtWork_GetsMoreTriesThanOneThatNeverWorked) {
  WorkerProcesses workers(Options("exec sleep 1000"), ManualClock());
  ASSERT_OK(workers.Start());
  std::vector<std::string> events;
  absl::Status status;
  int deaths = 0;
  for (; status.ok(); ++deaths) {
    ASSERT_THAT(workers.running(), SizeIs(1));
    workers.NoteAtWork(workers.running()[0]);
    kill(workers.running()[0], SIGSEGV);
    status = AwaitDeath(workers, events);
    now_ += absl::Minutes(1);
    if (status.ok()) status = workers.Watch(events);
  }
  EXPECT_EQ(deaths, 12);
}

TEST_F(WorkerProcessesTest, WorkerThatDiesOnce_WorksOnInItsNextLife) {
  WorkerProcesses workers(Options("mkdir " + root_ / "first-dies" + " 2>/dev/null && exit 3; exec sleep 1000"),
                          ManualClock());
  ASSERT_OK(workers.Start());
  std::vector<std::string> events;
  ASSERT_OK(AwaitDeath(workers, events));
  now_ += absl::Seconds(1);
  ASSERT_OK(workers.Watch(events));
  ASSERT_OK(workers.Watch(events));
  EXPECT_THAT(workers.running(), SizeIs(1));
}

TEST_F(WorkerProcessesTest, StopLetsAWorkerFinish_TerminateAsks_AndWhoIgnoresItIsKilled) {
  // `trap '' TERM` ignores the signal; the loop is the shell's own, so that no child outlives it.
  WorkerProcesses willing(Options("trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.01; done"), &absl::Now);
  WorkerProcesses stubborn(Options("trap '' TERM; echo up; while :; do sleep 0.01; done"), &absl::Now);
  WorkerProcesses brief(Options("exit 0"), &absl::Now);
  ASSERT_OK(brief.Start());
  brief.Stop(absl::InfiniteDuration());
  EXPECT_TRUE(brief.running().empty());
  ASSERT_OK(willing.Start());
  while (Read(Log(0)).find("up") == std::string::npos) {
  }
  willing.Terminate(absl::InfiniteDuration());
  EXPECT_THAT(Read(Log(0)), HasSubstr("asked"));
  std::filesystem::remove(Log(0));
  ASSERT_OK(stubborn.Start());
  while (Read(Log(0)).find("up") == std::string::npos) {
  }
  const pid_t pid = stubborn.running()[0];
  stubborn.Terminate(absl::Milliseconds(50));
  EXPECT_TRUE(stubborn.running().empty());
  EXPECT_EQ(kill(pid, 0), -1) << "still there";
}

TEST_F(WorkerProcessesTest, WorkersInheritNothingButTheirLog) {
  const int ours = dup(STDERR_FILENO);
  ASSERT_GT(ours, 2);
  WorkerProcesses workers(Options("ls /proc/self/fd | tr '\\n' ' '; cat"), &absl::Now);
  ASSERT_OK(workers.Start());
  workers.Stop(absl::InfiniteDuration());
  close(ours);
  EXPECT_THAT(Read(Log(0)), testing::StartsWith("0 1 2 3 ")) << "3 is the listing itself";
  EXPECT_EQ(Read(Log(0)).find(" 4"), std::string::npos);
}

TEST_F(WorkerProcessesTest, StarterKilledAtOnce_TakesItsWorkersWithIt) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // the orphan becomes ours, so that we see how it ends
  std::array<int, 2> pids;
  ASSERT_EQ(pipe(pids.data()), 0);
  const pid_t starter = fork();
  if (starter == 0) {
    WorkerProcesses workers(Options("exec sleep 1000"), &absl::Now);
    if (!workers.Start().ok()) _exit(1);
    const pid_t started = workers.running()[0];
    if (write(pids[1], &started, sizeof(started)) != sizeof(started)) _exit(1);
    kill(getpid(), SIGKILL);
  }
  int how = 0;
  EXPECT_EQ(waitpid(starter, &how, 0), starter);
  EXPECT_TRUE(WIFSIGNALED(how));
  pid_t worker = 0;
  ASSERT_EQ(read(pids[0], &worker, sizeof(worker)), static_cast<ssize_t>(sizeof(worker)));
  EXPECT_EQ(waitpid(worker, &how, 0), worker);
  EXPECT_TRUE(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
  close(pids[0]);
  close(pids[1]);
}

TEST_F(WorkerProcessesTest, MissingProgramIsAnErrorThatNamesIt) {
  WorkerProcessesOptions options = Options("");
  options.command = {root_ / "tightrope-worker"};
  WorkerProcesses workers(options, &absl::Now);
  EXPECT_THAT(workers.Start(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(root_ / "tightrope-worker")));
}

}  // namespace
}  // namespace tightrope
