// The attacks that there are, for people.
#pragma once

#include <string>

#include "cli/text_layout.h"

namespace tightrope {

// A line an attack: what it takes, what it needs, where it is from.
std::string AttacksTable(const TextStyle& style);

}  // namespace tightrope
