#include "cli/artifact_names.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/artifact/digest.h"

namespace tightrope {
namespace {

std::string Plain(const std::string& name) {
  std::string plain = name;
  for (char& c : plain) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '=' && c != '-' && c != '_') c = '_';
  }
  if (!plain.empty() && plain[0] == '.') plain[0] = '_';
  return plain;
}

// A long name as its beginning and a digest: three of them, an experiment's other marks and what a download adds have
// to fit the 255 bytes of a file name.
std::string Short(const std::string& name) {
  constexpr size_t kLongest = 52;
  constexpr size_t kDigest = 8;
  if (name.size() <= kLongest) return Plain(name);
  return absl::StrCat(Plain(name).substr(0, kLongest - kDigest - 1), "~", Sha256(name).substr(0, kDigest));
}

}  // namespace

std::string ArtifactFileName(const v1::ExportArtifactsResponse& artifact, const std::string& threat_model,
                             bool with_experiment) {
  const v1::Cell& cell = artifact.cell();
  const std::string& role = artifact.artifact().role();
  std::string name = with_experiment ? Plain(artifact.experiment()) + "/" : "";
  absl::StrAppend(&name, Short(cell.model().empty() ? cell.invariance() : cell.model()));
  if (!cell.training().empty()) absl::StrAppend(&name, "-", Short(cell.training()));
  absl::StrAppend(&name, "-seed", cell.seed());
  if (role == "weights") return absl::StrCat(name, ".safetensors");
  if (role == "checkpoint") return absl::StrCat(name, "-checkpoint.safetensors");
  if (role == "examples") return absl::StrCat(name, absl::StrFormat("-examples-shard%03u.npy", artifact.shard()));
  if (!cell.attack().empty()) absl::StrAppend(&name, "-", Short(cell.attack()));
  absl::StrAppend(&name, "-", Plain(threat_model.empty() ? cell.job_digest().substr(0, 8) : threat_model),
                  absl::StrFormat("-shard%03u", artifact.shard()));
  return role == "witnesses" ? absl::StrCat(name, ".npy") : absl::StrCat(name, "-", Plain(role));
}

}  // namespace tightrope
