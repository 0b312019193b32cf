// tightrope status: how far experiments are, and who works on them.
#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/session.h"
#include "cli/status_format.h"
#include "cli/terminal.h"
#include "core/status_macros.h"

namespace tightrope {
namespace {

struct StatusOptions {
  std::string experiment;
  Target target;
  std::string format = "table";
};

std::string StatusJson(const v1::StatusResponse& status) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  (void)google::protobuf::util::MessageToJsonString(status, &json, options);  // fails only on unknown Any types
  return json;
}

int ShowStatus(const StatusOptions& options) {
  v1::StatusResponse response;
  bool embedded = false;
  const absl::Status status = WithSession(options.target, [&](Session& session) -> absl::Status {
    ABSL_ASSIGN_OR_RETURN(response, session.client().Status(options.experiment));
    embedded = session.embedded();
    return absl::OkStatus();
  });
  if (!status.ok()) return Report(status);
  if (options.format == "json") {
    std::cout << StatusJson(response);
  } else {
    std::cout << StatusTable(response, embedded, Terminal(STDOUT_FILENO).Style());
  }
  return kExitDone;
}

}  // namespace

Action DefineStatus(CLI::App& app) {
  const auto options = std::make_shared<StatusOptions>();
  app.add_option("EXPERIMENT", options->experiment, "Name of an experiment; all where it is left out");
  AddTargetOptions(app, options->target);
  app.add_option("--format", options->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  return [options] { return ShowStatus(*options); };
}

}  // namespace tightrope
