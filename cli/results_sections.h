// The parts of ResultsTable. Each takes the rows of one experiment and data set that it is about, in the order given,
// and adds what intervals it shows to `intervals`; without rows it is empty.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "cli/results_format.h"
#include "tightrope/v1/results.pb.h"

namespace tightrope {

using RowPointers = std::vector<const v1::MetricRow*>;

// Rows on sets of invariance-based examples, and on distances; any other row is an accuracy.
bool IsOnASet(const v1::MetricRow& row);
bool IsOnADistance(const v1::MetricRow& row);

// For each set a table of what models make of it, and beside each other the errors of both kinds on the same examples.
std::string InvarianceSection(const RowPointers& rows, const ResultsTableOptions& options,
                              std::set<std::string>& intervals);

// A line a distance, and one for each radius within which other classes were looked for.
std::string AlignmentSection(const RowPointers& rows, const TextStyle& style, std::set<std::string>& intervals);

// "[88.00, 91.00]"
std::string IntervalText(const v1::MetricRow& row);

}  // namespace tightrope
