// The coordinator as a command sees it: plain calls that return absl::Status. The only part of the command line that
// includes gRPC.
//
// Every call may return UNAVAILABLE (the coordinator does not answer) besides what is said below; messages of the
// coordinator are passed on as they are.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/experiment/experiment_file.h"
#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

// Statuses of one experiment as the coordinator streams them, taken in by a thread of its own. Thread-safe.
class StatusFeed {
 public:
  virtual ~StatusFeed() = default;  // ends the stream

  // The newest status since the last call; waits for one at most `limit`. Nothing new within it: DEADLINE_EXCEEDED.
  // Errors: those of the stream (NOT_FOUND, UNAVAILABLE …); OUT_OF_RANGE when it ended, the last status having been
  // taken.
  virtual absl::StatusOr<v1::StatusResponse> Next(absl::Duration limit) = 0;
};

class Client {
 public:
  // Errors: INVALID_ARGUMENT (not HOST:PORT), UNAVAILABLE (nothing answers there within `patience`).
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const std::string& address, absl::Duration patience);
  virtual ~Client() = default;

  // Puts the artifacts that the coordinator lacks, then submits; `uploading` is called before each with its size in
  // bytes. Errors: INVALID_ARGUMENT, FAILED_PRECONDITION; NOT_FOUND, DATA_LOSS (a TorchScript file went away or changed
  // since it was read).
  virtual absl::StatusOr<v1::SubmitResponse> Submit(const ExperimentFile& file,
                                                    const std::function<void(uint64_t)>& uploading) = 0;

  // An empty name means all experiments, here and below. Errors: NOT_FOUND (no such experiment).
  virtual absl::StatusOr<v1::StatusResponse> Status(const std::string& experiment) = 0;
  virtual std::unique_ptr<StatusFeed> Watch(const std::string& experiment, absl::Duration interval) = 0;
  virtual absl::StatusOr<std::vector<v1::MetricRow>> Results(const std::string& experiment) = 0;

  // Each calls `each` for every message of the stream, in order; an error that it returns ends the stream and is
  // returned.
  virtual absl::Status ExportExamples(const std::string& experiment,
                                      const std::function<absl::Status(const v1::ExportedExamples&)>& each) = 0;
  virtual absl::Status ExportEpochs(const std::string& experiment,
                                    const std::function<absl::Status(const v1::ExportEpochsResponse&)>& each) = 0;
  virtual absl::Status ExportArtifacts(const std::string& experiment,
                                       const std::function<absl::Status(const v1::ExportArtifactsResponse&)>& each) = 0;
  virtual absl::Status ExportAlignments(
      const std::string& experiment, const std::function<absl::Status(const v1::ExportAlignmentsResponse&)>& each) = 0;

  // Which of these job digests are committed.
  virtual absl::StatusOr<std::vector<std::string>> FindCommitted(const std::vector<std::string>& job_digests) = 0;

  // Writes an artifact to `path`, checked against its digest, whole or not at all.
  // Errors: NOT_FOUND, DATA_LOSS (the digest differs), PERMISSION_DENIED (`path` can't be written).
  virtual absl::Status Download(const std::string& sha256, const std::string& path) = 0;
};

}  // namespace tightrope
