// How many inputs a model is asked about at once.
#pragma once

#include <cstddef>

#include "core/robustness/model/classifier.h"

namespace tightrope {

// Rows in one batch: enough to feed the device's cores and to pay for the fixed cost of a step, few enough that what a
// step keeps stays small and large models fit into memory. The same on all machines, because the rows of a batch decide
// the last bits of its logits. `rows` in all are spread evenly, so that none is left for a small batch that costs as
// much. At least 1. REQUIRES: `elements` of an input above 0. `surrogate`: asked in turn with the classifier.
size_t RowsPerBatch(size_t rows, size_t elements, const Classifier& classifier, const Classifier* surrogate = nullptr);

}  // namespace tightrope
