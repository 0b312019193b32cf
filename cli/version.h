// What `tightrope --version` prints.
#pragma once

#include <string>

namespace tightrope {

// "tightrope 0.1.0" and, on a second line, what it was built with.
std::string VersionText();

}  // namespace tightrope
