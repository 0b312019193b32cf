// Per-example records as `export --what examples` writes them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/record_writer.h"
#include "tightrope/v1/experiments.pb.h"

namespace tightrope {

// Columns of a row: one row per (model, threat model, example), or per (model, set, example) of invariance-based ones.
std::vector<std::string> ExampleColumns();

// Turns records of jobs into rows. Attacks on one model under one threat model are joined to one row an example: it is
// broken if any attack broke it, the witness is the nearest one, passes (of an attack's job, with all of its radii) are
// added up, nearest distances are the least. A model that nothing attacks has
// rows without a threat model. A set of invariance-based examples has rows of its own: of each model that is evaluated
// on it, and without a model where it is made. Holds the records of one model (and seed) at a time; not thread-safe.
class ExampleRows {
 public:
  // `writer` must outlive this.
  explicit ExampleRows(RecordWriter& writer) : writer_(writer) {}

  // REQUIRES: jobs of one model follow each other, as the coordinator sends them.
  void Add(const v1::ExportedExamples& job);
  // Writes what is held. REQUIRES: called once, last.
  void Finish();

 private:
  // Records of one threat model, by example.
  struct Row {
    v1::ExampleRecord record;
    std::string witness_attack;
  };
  struct ThreatModel {
    std::string norm;  // empty: none
    std::string set;   // of invariance-based examples; empty: of the data set's
    double epsilon = 0;
    std::vector<std::string> attacks;
    std::vector<Row> rows;  // ascending by index
  };

  void Flush();
  static void Join(const v1::ExportedExamples& job, ThreatModel& into);

  RecordWriter& writer_;
  std::string key_;  // of the model whose records are held
  v1::ExportedExamples head_;
  std::vector<ThreatModel> threat_models_;  // in order of first appearance
};

}  // namespace tightrope
