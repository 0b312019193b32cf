// The binary `tightrope`: parses the command line and hands over to the subcommand.
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/interrupt.h"
#include "cli/version.h"
#include "core/experiment/mistake.h"

namespace tightrope {
namespace {

struct Subcommand {
  const char* name;
  const char* summary;
  Action (*define)(CLI::App&);
};

constexpr std::array<Subcommand, 10> kSubcommands = {{
    {"run", "Run an experiment on this machine: coordinator, workers, progress, summary", DefineRun},
    {"plan", "Show what would run: grid, jobs, shards, what is cached; runs nothing", DefinePlan},
    {"attacks", "Print the attacks that an experiment can have, with their norms and what they need", DefineAttacks},
    {"results", "Print accuracies with intervals as a table, CSV or JSON", DefineResults},
    {"export", "Write per-example records, training metrics, or model and witness files", DefineExport},
    {"status", "Print how far experiments are and which workers there are", DefineStatus},
    {"watch", "Show progress until an experiment is finished", DefineWatch},
    {"submit", "Hand an experiment to a running coordinator", DefineSubmit},
    {"coordinator", "Serve experiments to workers on other machines", DefineCoordinator},
    {"worker", "Compute for a coordinator (starts tightrope-worker with the same arguments)", DefineWorker},
}};

constexpr char kDescription[] =
    "Tightrope measures how far a classifier walks between being too sensitive and too invariant:\n"
    "it trains, attacks and evaluates a grid of models on any number of workers and keeps every result.\n";

constexpr char kFooter[] =
    "\nStart with\n"
    "  tightrope run experiments/quickstart.yaml --workers 2\n"
    "  tightrope results quickstart\n"
    "\n'tightrope COMMAND --help' explains a command. Exit codes: 0 done, 1 some jobs failed, 2 wrong input\n"
    "(nothing was created), 3 coordinator or store can't be reached, 130 interrupted (state kept).";

// Exit code 2 with a suggestion where the first word is no subcommand.
bool RefuseUnknownCommand(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return false;
  std::vector<std::string> names;
  for (const Subcommand& subcommand : kSubcommands) names.emplace_back(subcommand.name);
  if (std::find(names.begin(), names.end(), argv[1]) != names.end()) return false;
  const std::string nearest = Nearest(argv[1], names);
  Report(absl::InvalidArgumentError(absl::StrCat("no such command: ", argv[1])),
         nearest.empty() ? "'tightrope --help' lists the commands" : absl::StrCat("did you mean '", nearest, "'?"));
  return true;
}

// True where standard output is a pipe that nobody reads any more: `| head` has seen enough.
bool ReaderLeft() {
  pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  return poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0;
}

int Main(int argc, char** argv) {
  if (RefuseUnknownCommand(argc, argv)) return kExitWrongInput;

  CLI::App app(kDescription, "tightrope");
  app.footer(kFooter);
  app.set_version_flag("--version", VersionText());
  app.get_formatter()->column_width(28);
  app.require_subcommand(0, 1);
  std::map<const CLI::App*, Action> actions;
  for (const Subcommand& subcommand : kSubcommands) {
    CLI::App* const defined = app.add_subcommand(subcommand.name, subcommand.summary);
    defined->get_formatter()->column_width(34);
    actions[defined] = subcommand.define(*defined);
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& call) {
    app.exit(call);
    return kExitDone;
  } catch (const CLI::CallForVersion& call) {
    app.exit(call);
    return kExitDone;
  } catch (const CLI::ParseError& error) {
    const std::vector<CLI::App*> chosen = app.get_subcommands();
    return Report(absl::InvalidArgumentError(error.what()),
                  absl::StrCat("'tightrope ", chosen.empty() ? "" : chosen[0]->get_name() + " ", "--help' explains"));
  }
  if (app.get_subcommands().empty()) {
    std::cerr << app.help();
    return kExitWrongInput;
  }
  CatchInterrupts();
  const int exit_code = actions.at(app.get_subcommands()[0])();
  return std::cout.flush() || ReaderLeft() || exit_code != kExitDone
             ? exit_code
             : Report(absl::UnavailableError("cannot write to standard output; what was printed is not complete"));
}

}  // namespace
}  // namespace tightrope

int main(int argc, char** argv) { return tightrope::Main(argc, argv); }
