// The kernels that workers agree on, for ChooseKernels of the Coordinator service.
#pragma once

#include "absl/status/statusor.h"
#include "coordinator/store/result_store.h"
#include "tightrope/v1/coordinator.pb.h"

namespace tightrope {

// Errors: INVALID_ARGUMENT (a text that is empty or too long, too many proposals), and those of
// ResultStore.
absl::StatusOr<v1::ChooseKernelsResponse> ChooseKernels(const v1::ChooseKernelsRequest& request, ResultStore& store);

}  // namespace tightrope
