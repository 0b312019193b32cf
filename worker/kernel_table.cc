#include "worker/kernel_table.h"

#include "absl/strings/str_cat.h"
#include "core/status_macros.h"
#include "spdlog/spdlog.h"

namespace tightrope {

absl::StatusOr<KernelTable::Choice> KernelTable::Choose(
    const std::string& device_kind, const std::string& library_version, const std::vector<std::string>& signatures,
    const std::function<Choice(const std::vector<std::string>& unknown)>& propose, const Cancellation& cancellation) {
  const std::pair<std::string, std::string> key = {device_kind, library_version};
  Choice choice;
  // Moves what is known to `choice`; the rest.
  const auto unknown = [&] {
    const absl::MutexLock lock(&mutex_);
    const Choice& known = known_[key];
    std::vector<std::string> missing;
    for (const std::string& signature : signatures) {
      const auto found = known.find(signature);
      if (found == known.end()) missing.push_back(signature);
      if (found != known.end()) choice.insert(*found);
    }
    return missing;
  };
  if (unknown().empty()) return choice;

  v1::ChooseKernelsRequest request;
  request.set_device_kind(device_kind);
  request.set_library_version(library_version);
  {
    const absl::MutexLock lock(&proposing_);
    const std::vector<std::string> missing = unknown();
    if (missing.empty()) return choice;  // another executor has asked meanwhile
    for (const auto& [signature, kernel] : propose(missing)) {
      v1::KernelOfSignature& proposal = *request.add_proposals();
      proposal.set_signature(signature);
      proposal.set_kernel(kernel);
    }
  }
  RetryPause pause(options_);
  absl::StatusOr<v1::ChooseKernelsResponse> response;
  while (true) {
    if (cancellation.cancelled()) return Cancelled();
    response = exchange_.ChooseKernels(request);
    if (response.ok()) break;
    if (absl::IsUnimplemented(response.status())) {
      return absl::FailedPreconditionError("the coordinator does not choose kernels; update the coordinator");
    }
    if (!IsAway(response.status())) return Annotate(response.status(), "cannot choose kernels");
    ABSL_RETURN_IF_ERROR(pause.Wait(response.status(), cancellation));
  }
  {
    const absl::MutexLock lock(&mutex_);
    for (const v1::KernelOfSignature& chosen : response->choices()) {
      if (known_[key].emplace(chosen.signature(), chosen.kernel()).second) {
        spdlog::debug("{}: {}", chosen.signature(), chosen.kernel());
      }
    }
  }
  if (const std::vector<std::string> missing = unknown(); !missing.empty()) {
    return absl::InternalError(absl::StrCat("the coordinator chose no kernel for ", missing.front()));
  }
  return choice;
}

}  // namespace tightrope
