#include "coordinator/kernels.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

constexpr size_t kMaxTextBytes = 1000;
constexpr int kMaxProposals = 1000;

absl::Status CheckText(const char* what, const std::string& text) {
  if (!text.empty() && text.size() <= kMaxTextBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a ", what, " must have 1 to ", kMaxTextBytes, " bytes; it has ", text.size()));
}

}  // namespace

absl::StatusOr<v1::ChooseKernelsResponse> ChooseKernels(const v1::ChooseKernelsRequest& request, ResultStore& store) {
  if (request.proposals_size() > kMaxProposals) {
    return absl::InvalidArgumentError(
        absl::StrCat("one call may propose at most ", kMaxProposals, " kernels: ", request.proposals_size()));
  }
  ABSL_RETURN_IF_ERROR(CheckText("kind of device", request.device_kind()));
  ABSL_RETURN_IF_ERROR(CheckText("version of the libraries", request.library_version()));
  for (const v1::KernelOfSignature& proposal : request.proposals()) {
    ABSL_RETURN_IF_ERROR(CheckText("signature", proposal.signature()));
    ABSL_RETURN_IF_ERROR(CheckText("kernel", proposal.kernel()));
  }
  ABSL_ASSIGN_OR_RETURN(const std::vector<v1::KernelOfSignature> choices,
                        store.ChooseKernels(request.device_kind(), request.library_version(),
                                            {request.proposals().begin(), request.proposals().end()}));
  v1::ChooseKernelsResponse response;
  response.mutable_choices()->Add(choices.begin(), choices.end());
  return response;
}

}  // namespace tightrope
