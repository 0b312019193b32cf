// tightrope attacks: what an experiment file may have under `attacks`.
#include <unistd.h>

#include <iostream>

#include "cli/attacks_format.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/terminal.h"

namespace tightrope {

Action DefineAttacks(CLI::App&) {
  return [] {
    std::cout << AttacksTable(Terminal(STDOUT_FILENO).Style());
    return kExitDone;
  };
}

}  // namespace tightrope
