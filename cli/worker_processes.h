// The worker processes of `tightrope run`: started, watched, started again when they die, ended. Each has its own
// process group (a ^C on the terminal is ours to handle), no standard input, and a log file for what it prints.
//
// A worker never outlives its starter: the kernel kills it, from its first moment on, when the *thread* that started it
// ends. So use this from the main thread. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace tightrope {

struct WorkerProcessesOptions {
  std::vector<std::string> command;  // path of the program and its arguments
  std::vector<std::string> logs;     // a path for each worker: their number is the number of workers
  // A worker that dies this often in a row, with no progress of the run in between, is not started again. One that
  // never got to work will not next time either; one that died at work may have met a shard that kills workers, and has
  // to be there until the coordinator has taken that shard out (CoordinatorOptions::max_losses).
  int max_deaths = 5;
  int max_deaths_at_work = 12;
  // How long a worker that died waits before it is started again, doubled for each death in a row.
  absl::Duration first_delay = absl::Milliseconds(500);
  absl::Duration longest_delay = absl::Seconds(30);
};

class WorkerProcesses {
 public:
  // `now` is the clock; it has to be usable as long as this object lives.
  WorkerProcesses(WorkerProcessesOptions options, std::function<absl::Time()> now);
  // Kills what still runs.
  ~WorkerProcesses();
  WorkerProcesses(const WorkerProcesses&) = delete;
  WorkerProcesses& operator=(const WorkerProcesses&) = delete;

  // Starts all workers. Errors: UNAVAILABLE (the program can't be executed, a log can't be written).
  absl::Status Start();

  // Notices deaths and starts again what is due; to be called a few times a second. What happened, in words, is
  // appended to `events`. Errors: UNAVAILABLE when no worker is left that would be started again; INVALID_ARGUMENT when
  // one that never got to work exited with the code for wrong input, since it would again. The message says how the
  // last one died, what it printed last and where its log is.
  absl::Status Watch(std::vector<std::string>& events);

  // The run got on: deaths so far don't count any more.
  void NoteProgress();
  // The coordinator has given work to the process `pid`; other ids than those of workers are ignored.
  void NoteAtWork(pid_t pid);

  // Waits at most `grace` for workers to end of their own accord, then the same again after SIGTERM, then kills them.
  void Stop(absl::Duration grace);
  // The same without waiting first: for an interrupted run.
  void Terminate(absl::Duration grace);

  // Process ids of the workers that run now.
  std::vector<pid_t> running() const;

 private:
  struct Worker {
    std::string log;
    pid_t pid = 0;  // 0: does not run
    bool ever_at_work = false;
    bool at_work = false;  // got work in this life or, while it does not run, in its last
    int deaths = 0;        // since the run last got on
    int short_lives = 0;   // in a row, for the delay; progress elsewhere does not make a broken device come back faster
    absl::Time started;
    absl::Time due;        // when it is to be started again
    std::string last_end;  // "exited with code 1", "was killed by signal 9 (Killed)"
  };

  absl::Status Spawn(Worker& worker);
  bool GivenUp(const Worker& worker) const;
  // Waits until no worker runs or `limit` has passed; true in the first case.
  bool AwaitEnd(absl::Duration limit);
  void Signal(int signal);

  const WorkerProcessesOptions options_;
  const std::function<absl::Time()> now_;
  std::vector<Worker> workers_;
};

}  // namespace tightrope
