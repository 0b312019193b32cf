// The rows of `results` for people and for scripts.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "cli/record_writer.h"
#include "cli/text_layout.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

// Every row, in the order given, with every column: the contract of `results --format json|csv`.
void WriteResults(const std::vector<v1::MetricRow>& rows, RecordFormat format, std::ostream& out);

struct ResultsTableOptions {
  TextStyle style;
  // Also the rows of single seeds for which there is a row over seeds.
  bool each_seed = false;
};

// For each experiment and data set: accuracies, percent with interval, grouped by model and training; tables of what
// models make of sets of invariance-based examples; tables of distances. Then what the intervals are, and a paragraph
// for each doubt about the accuracies shown. Says so where there are no results.
std::string ResultsTable(const std::vector<v1::MetricRow>& rows, const ResultsTableOptions& options);

// "linf" → "ℓ∞", "l2" → "ℓ2" (l1 and l0 likewise) where the style allows; anything else as it is.
std::string NormName(const std::string& norm, const TextStyle& style);

}  // namespace tightrope
