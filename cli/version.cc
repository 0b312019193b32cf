#include "cli/version.h"

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"

namespace tightrope {

std::string VersionText() {
  return absl::StrCat("tightrope ", TIGHTROPE_VERSION, "\nbuilt with gRPC ", grpc::Version());
}

}  // namespace tightrope
