// The kernels that layers are computed with.
#include "absl/strings/str_cat.h"
#include "coordinator/store/sqlite_store.h"
#include "core/status_macros.h"

namespace tightrope {

absl::StatusOr<std::vector<v1::KernelOfSignature>> SqliteStore::ChooseKernels(
    const std::string& device_kind, const std::string& library_version,
    const std::vector<v1::KernelOfSignature>& proposals) {
  const absl::MutexLock lock(&write_mutex_);
  std::vector<v1::KernelOfSignature> choices = proposals;
  const absl::Status chosen = [&]() -> absl::Status {
    write_mutex_.AssertHeld();
    ABSL_RETURN_IF_ERROR(writer_->Execute("BEGIN IMMEDIATE"));
    for (v1::KernelOfSignature& choice : choices) {
      ABSL_RETURN_IF_ERROR(writer_->Prepare("INSERT INTO kernels VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
                               .Bind(device_kind)
                               .Bind(library_version)
                               .Bind(choice.signature())
                               .Bind(choice.kernel())
                               .Run());
      Query query = writer_->Prepare(
          "SELECT kernel FROM kernels WHERE device_kind = ? AND library_version = ? AND signature = ?");
      query.Bind(device_kind).Bind(library_version).Bind(choice.signature());
      ABSL_ASSIGN_OR_RETURN(const bool row, query.Next());
      if (!row) return absl::InternalError(absl::StrCat("a kernel that was just stored is gone: ", choice.signature()));
      choice.set_kernel(query.Text(0));
    }
    return writer_->Execute("COMMIT");
  }();
  if (chosen.ok()) return choices;
  writer_->Execute("ROLLBACK").IgnoreError();
  return chosen;
}

}  // namespace tightrope
