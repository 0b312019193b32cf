// Walks over what experiments have produced, a message at a time, so that no export is ever held in memory.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/store/result_store.h"
#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

// Not thread-safe. Each Next* returns nothing at the end; a walk uses one kind of Next*. Errors: NOT_FOUND (no such
// experiment), or the store's.
class ExportWalk {
 public:
  // Empty name: all experiments, by name. `store` must outlive this.
  ExportWalk(ResultStore* store, std::string experiment) : store_(store), experiment_(std::move(experiment)) {}

  // Records of one cell's job as they are at its radius, up to 2,000 at a time; training cells have none.
  absl::StatusOr<std::optional<v1::ExportExamplesResponse>> NextExamples();
  // All epochs of one training, under the first cell that names it.
  absl::StatusOr<std::optional<v1::ExportEpochsResponse>> NextEpochs();
  absl::StatusOr<std::optional<v1::ExportArtifactsResponse>> NextArtifact();
  // Anchors of one committed alignment, up to 2,000 at a time, with the last of them its triples and pairs. What is
  // held in memory is one alignment.
  absl::StatusOr<std::optional<v1::ExportAlignmentsResponse>> NextAlignment();

 private:
  struct OneCell {
    std::string experiment;
    v1::Cell cell;
    v1::JobSpec spec;
  };

  // Makes `cells_` hold the next cell; false at the end.
  absl::StatusOr<bool> AtCell();
  absl::Status LoadNames();
  void AddAlignment(const OneCell& at, const std::vector<v1::AlignmentResult>& shards);

  ResultStore* const store_;
  const std::string experiment_;
  std::optional<std::deque<std::string>> names_;  // experiments to come
  std::deque<OneCell> cells_;                     // of the experiment in hand
  uint64_t from_ = 0;                             // the next example of the cell in hand
  std::deque<v1::ExportArtifactsResponse> artifacts_;
  std::deque<v1::ExportAlignmentsResponse> alignments_;
};

}  // namespace tightrope
